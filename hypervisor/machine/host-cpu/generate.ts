// Cases for every form of an instruction: operand sizes, register and memory operands, prefixes; registers, flags and memory at random,
// with a hand here and there so that the interesting paths are met often (a division that succeeds, a comparison that is equal).

import { decode } from '../exec/decode.ts';
import type { Decoded } from '../isa/decoded.ts';
import { type Form, formsOf } from '../isa/forms.ts';
import type { AnyInsn } from '../isa/insn.ts';
import { FS, GS } from '../state.ts';
import { type Bits, type Case, dataBase, FS_BASE, GS_BASE, initialFxsave, startOf, WINDOW, WINDOW_SIZE } from './case.ts';
import { type Encoded, encode, pickTarget } from './encode.ts';
import { floatFxsave, floatWindow, randomMxcsr, takesFloats, takesSingles } from './float-operands.ts';
import type { Random } from './random.ts';
import { arrangeStrings, comparesStrings } from './string-operands.ts';

export interface Generated {
  readonly case: Case;
  readonly form: Form;
  readonly decoded: Decoded;
  /** ModRM names memory. */
  readonly memory: boolean;
}

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const RBP = 5;
/** IF is set for any process; bit 1 always. DF and the arithmetic flags are free. */
export const FIXED_FLAGS = 0x202n;
export const FREE_FLAGS = 0x8d5n;
const DF = 0x400n;

export function randomWindow(random: Random): Uint8Array {
  const window = new Uint8Array(WINDOW_SIZE);
  const view = new DataView(window.buffer);
  for (let i = 0; i < WINDOW_SIZE; i += 8) view.setBigUint64(i, random.value(), true);
  return window;
}

/** XMM and x87 registers at random, bit patterns of anything, and some MXCSR. */
export function randomFxsave(random: Random): Uint8Array {
  const image = initialFxsave();
  const view = new DataView(image.buffer);
  for (let i = 0; i < 32; i++) view.setBigUint64(160 + i * 8, random.value(), true);
  for (let i = 0; i < 8; i++) {
    view.setBigUint64(32 + i * 16, random.value(), true);
    view.setUint16(40 + i * 16, random.below(0x10000), true);
  }
  // TOP anywhere, some registers empty; at times an invalid operation that is pending: IE and ES, and IM clear.
  const pending = random.chance(0.02);
  view.setUint16(2, (random.below(8) << 11) | (pending ? 0x8081 : 0), true);
  if (pending) view.setUint16(0, 0x037e, true);
  view.setUint8(4, random.below(256));
  view.setUint32(24, randomMxcsr(random), true);
  return image;
}

interface Draft {
  readonly gpr: bigint[];
  readonly window: Uint8Array;
  readonly bits: Bits;
}

const readWindow = (d: Draft, at: bigint, size: number): bigint => {
  let v = 0n;
  for (let i = size - 1; i >= 0; i--) v = (v << 8n) | BigInt(d.window[Number(at - WINDOW) + i] ?? 0);
  return v;
};
const low = (old: bigint, v: bigint, size: number): bigint => (old & ~((1n << BigInt(size * 8)) - 1n)) | BigInt.asUintN(size * 8, v);

const segmentBase = (seg: number, bits: Bits): bigint => (seg === FS ? FS_BASE : seg === GS && bits === 64 ? GS_BASE : dataBase(bits));

/** What particular instructions need to do something of interest. */
function arrange(random: Random, mnemonic: string, e: Encoded, decoded: Decoded, d: Draft): void {
  const { gpr } = d;
  const size = decoded.opSize;
  const set = (n: number, v: bigint, s: number = size): void => {
    gpr[n] = low(gpr[n] ?? 0n, v, s);
  };
  const memory = e.target !== undefined;
  const [first, second] = decoded.operands;
  const implicit = decoded.operands.filter((o) => o.kind === 'mem' && o.index < 0 && !memory);
  for (const o of implicit) {
    if (o.kind !== 'mem' || mnemonic === 'XLAT') continue;
    set(o.base, pickTarget(random, o.size) - segmentBase(o.seg, d.bits), decoded.addrSize);
  }
  if (implicit.length > 0 && decoded.rep !== 0) {
    // Now and then more than one execution of the instruction does (string.ts, CHUNK).
    set(RCX, BigInt(random.chance(0.05) ? 1000 + random.below(600) : random.below(20)), decoded.addrSize);
  }
  switch (mnemonic) {
    case 'DIV':
    case 'IDIV':
      if (size !== 1 && random.chance(0.7)) set(RDX, random.chance(0.5) ? BigInt(random.below(3)) : random.chance(0.5) ? -1n : 0n);
      else if (random.chance(0.7)) set(RAX, BigInt(random.below(400) - 200), 2);
      return;
    case 'CMPXCHG':
      if (!random.chance(0.5)) return;
      if (memory) set(RAX, readWindow(d, e.target ?? 0n, size));
      else if (first?.kind === 'reg') set(RAX, (gpr[first.index] ?? 0n) >> (first.high ? 8n : 0n));
      return;
    case 'CMPXCHG8B':
    case 'CMPXCHG16B': {
      if (!random.chance(0.7) || e.target === undefined) return;
      const half = mnemonic === 'CMPXCHG8B' ? 4 : 8;
      set(RAX, readWindow(d, e.target, half), half);
      set(RDX, readWindow(d, e.target + BigInt(half), half), half);
      return;
    }
    case 'BT':
    case 'BTS':
    case 'BTR':
    case 'BTC':
      if (memory && second?.kind === 'reg' && random.chance(0.8)) set(second.index, BigInt(random.below(1600) - 800));
      return;
    case 'XLAT':
      for (const o of implicit)
        if (o.kind === 'mem') set(RBX, pickTarget(random, 1) - segmentBase(o.seg, d.bits) - ((gpr[RAX] ?? 0n) & 0xffn), decoded.addrSize);
      return;
    case 'JCXZ':
    case 'LOOP':
    case 'LOOPE':
    case 'LOOPNE':
      if (random.chance(0.6)) set(RCX, BigInt(random.below(3)), decoded.addrSize);
      return;
    case 'LEAVE':
      if (random.chance(0.8)) gpr[RBP] = WINDOW - dataBase(d.bits) + BigInt(8 * random.below(60));
      return;
    case 'ENTER':
      if (random.chance(0.8)) gpr[RBP] = WINDOW - dataBase(d.bits) + BigInt(200 + 8 * random.below(30));
      return;
    case 'JMP':
    case 'CALL':
    case 'RET': {
      const target = startOf(d.bits) - 100n + BigInt(random.below(80));
      if (mnemonic === 'RET') writeWindow(d, (gpr[RSP] ?? 0n) + dataBase(d.bits), target);
      else if (memory) writeWindow(d, e.target ?? 0n, target);
      else if (first?.kind === 'reg' && first.index !== RSP) gpr[first.index] = target;
      return;
    }
    case 'BOUND':
      if (first?.kind === 'reg' && e.target !== undefined) {
        const i = BigInt.asIntN(32, gpr[first.index] ?? 0n);
        if (random.chance(0.7))
          writeWindow(d, e.target, BigInt.asUintN(size * 8, i - BigInt(random.below(3))) | ((i + 1n) << BigInt(size * 8)), size * 2);
      }
      return;
    default:
  }
}

function writeWindow(d: Draft, at: bigint, v: bigint, size = d.bits === 64 ? 8 : 4): void {
  const offset = Number(at - WINDOW);
  if (offset < 0 || offset + size > WINDOW_SIZE) return;
  for (let i = 0; i < size; i++) d.window[offset + i] = Number((v >> BigInt(i * 8)) & 0xffn);
}

/** One case for a form; undefined where form and choice do not go together. */
function generate(random: Random, form: Form, bits: Bits, opSize: 1 | 2 | 4 | 8, memory: boolean): Generated | undefined {
  const width = bits === 64 ? 64 : 32;
  const gpr = Array.from({ length: 16 }, (_, i) => (bits !== 64 && i >= 8 ? 0n : BigInt.asUintN(width, random.value())));
  gpr[RSP] = WINDOW - dataBase(bits) + BigInt(128 + 8 * random.below(24) + (random.chance(0.2) ? random.below(8) : 0));
  // A stack that ends in a page that is not there, or may not be written.
  if (random.chance(0.05)) gpr[RSP] = pickTarget(random, 8) - dataBase(bits);
  const isString = form.operands.some((o) => 'XY'.includes(o.letter));
  const rep = isString ? random.pick([0, 0xf2, 0xf3] as const) : 0;
  const e = encode(random, form, { bits, opSize, memory, rep }, gpr);
  if (e === undefined || e.code.length > 15) return undefined;
  const decoded = decode(e.code, 0, e.code.length, { bits });
  // Some choices come out as another form or instruction (XCHG as NOP): that one has its own cases.
  if (typeof decoded === 'string' || decoded.insn !== form.insn || decoded.form !== form.index || decoded.length !== e.code.length)
    return undefined;
  const { mnemonic } = form.insn;
  const floats = takesFloats(mnemonic) && random.chance(0.9);
  const window = floats ? floatWindow(random, takesSingles(mnemonic)) : randomWindow(random);
  const fxsave = floats ? floatFxsave(random, takesSingles(mnemonic)) : randomFxsave(random);
  if (comparesStrings(mnemonic)) arrangeStrings(random, decoded, fxsave, window, gpr);
  const draft: Draft = { gpr, window, bits };
  arrange(random, mnemonic, e, decoded, draft);
  const rflags = FIXED_FLAGS | (random.u64() & FREE_FLAGS) | (isString && random.chance(0.3) ? DF : 0n);
  return {
    form,
    decoded,
    memory,
    case: { bits, code: e.code, gpr: gpr.map((v) => BigInt.asUintN(width, v)), rflags, fxsave, window: draft.window },
  };
}

/** About `n` cases for each combination of form, operand size and kind of operand. */
export function casesFor(random: Random, insn: AnyInsn, bits: Bits, n: number): Generated[] {
  const all: Generated[] = [];
  for (const form of formsOf(insn)) {
    const sizes = form.byte ? ([1] as const) : bits === 64 ? ([2, 4, 8] as const) : ([2, 4] as const);
    for (const opSize of sizes) {
      for (const memory of [false, true]) {
        for (let i = 0; i < n; i++) {
          const g = generate(random, form, bits, opSize, memory);
          if (g !== undefined) all.push(g);
        }
      }
    }
  }
  return all;
}
