// Bytes of an instruction from one of its forms, with operands chosen at random: the tests' encoder. It follows the declarations and
// knows nothing of the decoder, which is made to read the bytes back.

import type { Form, OperandSpec } from '../isa/forms.ts';
import { PREFIX } from '../isa/forms.ts';
import { ABSENT_PAGE, type Bits, CODE_START, dataBase, FS_BASE, GS_BASE, READ_ONLY_PAGE, WINDOW, WINDOW_SIZE } from './case.ts';
import type { Random } from './random.ts';

export interface Encoded {
  readonly code: Uint8Array;
  /** Linear address that the memory operand is meant to have, if there is one and it can be steered. */
  readonly target: bigint | undefined;
  /** Size of the memory operand. */
  readonly memSize: number;
  /** Register in ModRM.reg and, for register forms, in ModRM.rm. */
  readonly reg: number;
  readonly rm: number;
}

export interface Wish {
  /** Leave registers as they are, and make the displacement bring the address to its target. */
  readonly keepRegisters?: boolean;
  readonly bits: Bits;
  readonly opSize: 1 | 2 | 4 | 8;
  readonly memory: boolean;
  readonly rep: 0 | 0xf2 | 0xf3;
}

const sizeIndex = (opSize: number): 0 | 1 | 2 => (opSize <= 2 ? 0 : opSize === 4 ? 1 : 2);

/** Mostly in the window, at times across a page's end, in the read-only page or in none. */
export function pickTarget(random: Random, size: number): bigint {
  const inWindow = WINDOW + BigInt(64 + random.below(WINDOW_SIZE - 128));
  switch (random.below(24)) {
    case 0:
      return READ_ONLY_PAGE + BigInt(random.below(64));
    case 1:
      return READ_ONLY_PAGE - BigInt(random.below(size + 1));
    case 2:
      return ABSENT_PAGE - BigInt(random.below(size + 1));
    case 3:
      return GS_BASE - BigInt(random.below(size + 1));
    case 4:
    case 5:
    case 6:
      return inWindow;
    default:
      return inWindow & ~15n;
  }
}

const little = (v: bigint, size: number): number[] => Array.from({ length: size }, (_, i) => Number((v >> BigInt(i * 8)) & 0xffn));

/** `short`: with a prefix for the other address size. */
const addressSize = (bits: Bits, short: boolean): 2 | 4 | 8 => (bits === 64 ? (short ? 4 : 8) : (bits === 32) !== short ? 4 : 2);

const OVERRIDES = { es: 0x26, cs: 0x2e, ss: 0x36, ds: 0x3e, fs: 0x64, gs: 0x65 } as const;
/** FS and GS have bases of their own in 64-bit code, where the others do nothing; elsewhere GS is null and CS is read-only. */
function pickOverride(random: Random, bits: Bits): keyof typeof OVERRIDES | undefined {
  const n = random.below(20);
  if (n === 0) return bits === 64 ? 'gs' : random.pick(['es', 'ss', 'ds', 'cs', 'gs']);
  if (n === 1) return bits === 64 ? random.pick(['gs', 'es', 'cs', 'ss', 'ds']) : 'fs';
  return n < 4 ? 'fs' : undefined;
}

interface Memory {
  readonly mod: number;
  readonly rm: number;
  readonly sib: number | undefined;
  readonly disp: (length: number) => number[];
  readonly rexX: number;
  readonly rexB: number;
}

const BASE16 = [3, 3, 5, 5, 6, 7, 5, 3] as const;
const INDEX16 = [6, 7, 6, 7, -1, -1, -1, -1] as const;

/** 16-bit addressing (SDM Vol 2A, table 2-1). With `free` the base register is set, else the displacement makes up for it. */
function memory16(random: Random, target: bigint, gpr: bigint[] | readonly bigint[], free: boolean): Memory {
  const rm = random.below(8);
  const base = BASE16[rm] ?? 3;
  const index = INDEX16[rm] ?? -1;
  const indexed = index < 0 ? 0n : (gpr[index] ?? 0n);
  const none = { sib: undefined, rexX: 0, rexB: 0 };
  if (rm === 6 && random.chance(0.3)) return { ...none, mod: 0, rm, disp: () => little(target, 2) };
  if (!free) return { ...none, mod: 2, rm, disp: () => little(target - indexed - (gpr[base] ?? 0n), 2) };
  const mod = rm === 6 ? 1 + random.below(2) : random.below(3);
  const disp = mod === 0 ? 0n : mod === 1 ? BigInt(random.below(256) - 128) : random.u64() & 0xffffn;
  (gpr as bigint[])[base] = ((gpr[base] ?? 0n) & ~0xffffn) | BigInt.asUintN(16, target - indexed - disp);
  return { ...none, mod, rm, disp: () => little(disp, mod) };
}

/** A ModRM memory operand for `target` with the registers as they are: where no displacement leads there, without registers. */
function memoryWith(random: Random, bits: Bits, short: boolean, target: bigint, gpr: readonly bigint[]): Memory {
  if (addressSize(bits, short) === 2) return memory16(random, target, gpr, false);
  const registers = bits === 64 ? 16 : 8;
  const width = bits === 64 && !short ? 64 : 32;
  const base = random.below(registers);
  const index = random.chance(0.5) ? random.below(registers) : 4;
  const scale = random.below(4);
  const scaled = index === 4 ? 0n : (gpr[index] ?? 0n) << BigInt(scale);
  const disp = BigInt.asIntN(width, target - scaled - (gpr[base] ?? 0n));
  if (BigInt.asIntN(32, disp) !== disp) {
    return { mod: 0, rm: 4, sib: 0x25, rexX: 0, rexB: 0, disp: () => little(target, 4) };
  }
  const small = BigInt.asIntN(8, disp) === disp;
  return {
    mod: small ? 1 : 2,
    rm: 4,
    sib: (scale << 6) | ((index & 7) << 3) | (base & 7),
    rexX: index >> 3,
    rexB: base >> 3,
    disp: () => little(disp, small ? 1 : 4),
  };
}

/** A ModRM memory operand for `target` (an offset); sets the registers that it uses. */
function memoryFor(random: Random, bits: Bits, short: boolean, target: bigint, gpr: bigint[]): Memory {
  if (addressSize(bits, short) === 2) return memory16(random, target, gpr, true);
  const registers = bits === 64 ? 16 : 8;
  const cut = (v: bigint, old: bigint): bigint =>
    short && bits === 64 ? (old & ~0xffffffffn) | BigInt.asUintN(32, v) : BigInt.asUintN(bits === 64 ? 64 : 32, v);
  const kind = random.below(bits === 64 ? 5 : 4);
  if (kind === 4) {
    return { mod: 0, rm: 5, sib: undefined, rexX: 0, rexB: 0, disp: (length) => little(target - CODE_START - BigInt(length), 4) };
  }
  const dispSize = random.pick([0, 1, 4]);
  const disp = dispSize === 0 ? 0n : dispSize === 1 ? BigInt(random.below(256) - 128) : BigInt(random.below(4000) - 2000);
  const base = random.below(registers);
  if (kind === 3) {
    // No base: a displacement of 32 bits, and perhaps an index.
    const index = random.below(registers);
    const scale = random.below(4);
    if (index !== 4) gpr[index] = cut(BigInt(random.below(1000)), gpr[index] ?? 0n);
    const scaled = index === 4 ? 0n : BigInt.asUintN(short ? 32 : 64, gpr[index] ?? 0n) << BigInt(scale);
    return { mod: 0, rm: 4, sib: (scale << 6) | ((index & 7) << 3) | 5, rexX: index >> 3, rexB: 0, disp: () => little(target - scaled, 4) };
  }
  // Base 5 and 13 always have a displacement; base 4 and 12 always a SIB byte.
  const size = dispSize === 0 && (base & 7) === 5 ? 1 : dispSize;
  const mod = size === 0 ? 0 : size === 1 ? 1 : 2;
  if (kind === 2 || (base & 7) === 4) {
    const index = kind === 2 ? random.below(registers) : 4;
    const scale = random.below(4);
    if (index !== 4 && index === base) {
      // One register twice: the address is what it is.
    } else {
      const scaled = index === 4 ? 0n : (gpr[index] ?? 0n) << BigInt(scale);
      gpr[base] = cut(target - scaled - disp, gpr[base] ?? 0n);
    }
    return {
      mod,
      rm: 4,
      sib: (scale << 6) | ((index & 7) << 3) | (base & 7),
      rexX: index >> 3,
      rexB: base >> 3,
      disp: () => little(disp, size),
    };
  }
  gpr[base] = cut(target - disp, gpr[base] ?? 0n);
  return { mod, rm: base & 7, sib: undefined, rexX: 0, rexB: base >> 3, disp: () => little(disp, size) };
}

/** A displacement that stays among the INT3s around the code, and is not one to the instruction itself. */
function branch(random: Random, size: number): bigint {
  const far = size === 1 ? 100 : 1000;
  const d = 24 + random.below(far - 24);
  return BigInt(random.chance(0.5) ? d : -d);
}

function immediate(random: Random, o: OperandSpec, size: number): number[] {
  if (o.letter === 'J') return little(branch(random, size), size);
  return little(random.value(), size);
}

/** The three bytes of a VEX prefix (SDM Vol 2A, figure 2-9), vvvv at random where it is an operand. */
function vexPrefix(random: Random, form: Form, rex: number, registers: number): number[] {
  const pp = form.prefix === PREFIX.p66 ? 1 : form.prefix === PREFIX.f3 ? 2 : form.prefix === PREFIX.f2 ? 3 : 0;
  const vvvv = form.operands.some((o) => o.letter === 'B') ? random.below(registers) : 0;
  return [0xc4, ((~rex & 7) << 5) | form.map, ((rex & 8) << 4) | ((~vvvv & 15) << 3) | pp];
}

/** Undefined where the wish and the form do not go together. `gpr` is changed to make the memory operand's address. */
export function encode(random: Random, form: Form, wish: Wish, gpr: bigint[]): Encoded | undefined {
  const { bits, opSize, memory, rep } = wish;
  const long = bits === 64;
  const has = (c: Parameters<typeof form.conditions.has>[0]) => form.conditions.has(c);
  if (long ? has('i64') : has('o64')) return undefined;
  const k = sizeIndex(opSize);
  if ((has('o16') && k !== 0) || (has('o32') && k !== 1) || (has('oq') && k !== 2)) return undefined;
  const rmOperand = form.operands.find((o) => 'EMRWQUN'.includes(o.letter));
  if (form.modrm === 'no' ? memory : memory ? form.regOnly : form.memOnly) return undefined;

  const prefixes: number[] = [];
  const long64 = long && (has('d64') || has('f64'));
  // Intel ignores an operand-size prefix of near branches in 64-bit mode, AMD honours it.
  if (long && has('f64') && opSize === 2) return undefined;
  // VEX forms have no operand of 16 bits, and their mandatory prefix inside.
  if (form.vex && opSize === 2) return undefined;
  const otherSize = bits === 16 ? opSize >= 4 : opSize === 2;
  if (!form.vex) {
    if (form.prefix === PREFIX.p66 || (otherSize && form.prefix !== PREFIX.none)) prefixes.push(0x66);
    if (form.prefix === PREFIX.f2) prefixes.push(0xf2);
    if (form.prefix === PREFIX.f3) prefixes.push(0xf3);
  }
  if (rep !== 0) prefixes.push(rep);
  const implicitMemory = form.operands.some((o) => 'XY()'.includes(o.letter));
  const moffs = form.operands.some((o) => o.letter === 'O');
  const override = memory || moffs || implicitMemory ? pickOverride(random, bits) : undefined;
  if (override !== undefined) prefixes.push(OVERRIDES[override]);
  // In 32-bit code 16-bit addresses lead to the case's pages only from a base that lies there.
  const canShorten = bits !== 32 || (override === 'fs' && !form.operands.some((o) => o.letter === 'Y'));
  const short = (memory || implicitMemory || moffs) && canShorten && random.chance(long ? 0.2 : 0.4);
  if (short) prefixes.push(0x67);
  const memSize = rmOperand?.sizes[k] ?? 0;
  const target = memory || moffs ? pickTarget(random, memSize) : undefined;
  const lockable = form.insn.lock === true && target !== undefined && (target & 15n) === 0n && /^[EM]/.test(form.operands[0]?.text ?? '');
  if (lockable && random.chance(0.1)) prefixes.push(0xf0);
  const base = override === 'fs' ? FS_BASE : override === 'gs' ? GS_BASE : dataBase(bits);
  const offset = target === undefined ? 0n : target - base;
  if (short && offset < 0n) return undefined;

  const rexBits = long && !has('b0');
  const byteOperand = form.operands.some((o) => o.regSizes[k] === 1);
  const registers = long ? 16 : 8;
  const reg = random.below(registers);
  const rm = random.below(registers);
  const low = has('b0') ? 0 : random.below(registers);
  const tail: number[] = [];
  let rexX = 0;
  let rexB = 0;
  let rexR = 0;
  let dispBytes: (length: number) => number[] = () => [];
  if (form.modrm !== 'no') {
    if (typeof form.modrm === 'number' && form.modrm >= 0xc0) tail.push(form.modrm);
    else {
      const field = form.modrm === 'r' ? reg & 7 : form.modrm;
      if (form.modrm === 'r') rexR = reg >> 3;
      if (memory) {
        const m = (wish.keepRegisters ? memoryWith : memoryFor)(random, bits, short, offset, gpr);
        tail.push((m.mod << 6) | (field << 3) | m.rm);
        if (m.sib !== undefined) tail.push(m.sib);
        rexX = m.rexX;
        rexB = m.rexB;
        dispBytes = m.disp;
      } else {
        tail.push(0xc0 | (field << 3) | (rm & 7));
        rexB = rm >> 3;
      }
    }
  }
  if (form.low === 'r') rexB = low >> 3;
  const w = opSize === 8 && !long64 ? 1 : has('w1') ? 1 : 0;
  if (has('w0') && w === 1) return undefined;
  if (w === 1 && !long) return undefined;
  const rex = (w << 3) | (rexR << 2) | (rexX << 1) | rexB;
  const bytes = [...prefixes];
  if (form.vex) bytes.push(...vexPrefix(random, form, rex, registers));
  else {
    if (rexBits ? rex !== 0 || (byteOperand && random.chance(0.5)) : rex !== 0) bytes.push(0x40 | rex);
    if (form.map >= 1) bytes.push(0x0f);
    if (form.map === 2) bytes.push(0x38);
    if (form.map === 3) bytes.push(0x3a);
  }
  bytes.push(form.opcode + (form.low === 'r' ? low & 7 : form.low === 'cc' ? random.below(16) : 0));
  bytes.push(...tail);
  const immediates: number[] = [];
  for (const o of form.operands) {
    if ('I sI J'.split(' ').includes(o.letter)) immediates.push(...immediate(random, o, o.sizes[long64 ? (opSize === 2 ? 0 : 2) : k]));
    if (o.letter === 'O') immediates.push(...little(offset, addressSize(bits, short)));
  }
  const total = bytes.length + dispBytes(0).length + immediates.length;
  bytes.push(...dispBytes(total), ...immediates);
  return { code: Uint8Array.from(bytes), target, memSize, reg, rm };
}
