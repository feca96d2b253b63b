// One instruction to bytes: prefixes, REX, opcode, ModRM, SIB, displacement, immediates (SDM Vol 2A, chapter 2). What depends on
// labels is left zero and returned as fixups.
import type { Form, OperandSpec } from './forms.ts';
import { fits, fitsSigned, matchForm, type Operand, type OperandSize } from './match.ts';
import { addr, type Far, type Imm, isSym, type Mem, type Short, type Sym } from './operands.ts';
import type { Mode, Reg, Xmm } from './registers.ts';

export class AsmError extends Error {}

export interface Fixup {
  readonly at: number;
  readonly size: 1 | 2 | 4 | 8;
  readonly sym: Sym;
  /** The value is a distance from here (the end of the instruction); undefined: it is absolute. */
  readonly next: number | undefined;
  /** Sign-extended by the CPU, so only the signed range will do. */
  readonly signed: boolean;
}

export interface Encoded {
  readonly bytes: readonly number[];
  readonly fixups: readonly Fixup[];
}

/** Segment override prefixes by segment register number. */
const SEGMENT_PREFIX = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65] as const;

const REX_W = 8;
const REX_R = 4;
const REX_X = 2;
const REX_B = 1;

type Pending = Omit<Fixup, 'next'> & { readonly relative: boolean };

class Encoding {
  readonly mode: Mode;
  readonly legacy: number[] = [];
  readonly body: number[] = [];
  readonly tail: number[] = [];
  readonly pending: { readonly inTail: boolean; readonly fixup: Pending }[] = [];
  rex = 0;
  needsRex = false;
  forbidsRex = false;

  constructor(mode: Mode) {
    this.mode = mode;
  }

  value(to: 'body' | 'tail', value: Imm, size: 1 | 2 | 4 | 8, options: { relative?: boolean; signed?: boolean } = {}): void {
    const out = this[to];
    const { relative = false, signed = false } = options;
    if (isSym(value)) this.pending.push({ inTail: to === 'tail', fixup: { at: out.length, size, sym: value, signed, relative } });
    let v = isSym(value) ? 0n : BigInt.asUintN(64, BigInt(value));
    for (let i = 0; i < size; i++) {
      out.push(Number(v & 0xffn));
      v >>= 8n;
    }
  }

  /** Notes what a register number asks of REX, and returns its low three bits. */
  register(reg: Reg | Xmm | { readonly nr: number; readonly kind: 'cr' | 'dr' | 'seg' }, bit: number): number {
    if (reg.kind === 'reg') {
      if (reg.needsRex) this.needsRex = true;
      if (reg.high) this.forbidsRex = true;
    }
    if (reg.nr >= 8) this.rex |= bit;
    return reg.nr & 7;
  }

  finish(opcode: readonly number[]): Encoded {
    if (this.rex !== 0) this.needsRex = true;
    if (this.needsRex && this.mode !== 64) throw new AsmError('a register that exists in 64-bit code only');
    if (this.needsRex && this.forbidsRex) throw new AsmError('AH, BH, CH and DH cannot stand beside a register that needs a REX prefix');
    const head = [...this.legacy, ...(this.needsRex ? [0x40 | this.rex] : []), ...opcode];
    const bytes = [...head, ...this.body, ...this.tail];
    const fixups = this.pending.map(({ inTail, fixup: { at, size, sym, signed, relative } }) => ({
      at: head.length + (inTail ? this.body.length : 0) + at,
      size,
      sym,
      signed,
      next: relative ? bytes.length : undefined,
    }));
    return { bytes, fixups };
  }
}

const BASE16: Readonly<Record<string, number>> = { '3,6': 0, '3,7': 1, '5,6': 2, '5,7': 3, '6,': 4, '7,': 5, '5,': 6, '3,': 7 };

function memory16(e: Encoding, mem: Mem, reg: number): void {
  if (mem.base === undefined && mem.index === undefined) {
    e.body.push((reg << 3) | 6);
    e.value('body', mem.disp, 2);
    return;
  }
  const rm = BASE16[`${mem.base?.nr ?? ''},${mem.index?.nr ?? ''}`];
  if (rm === undefined || mem.scale !== 1) throw new AsmError('16-bit addresses are made of BX or BP, and SI or DI');
  const disp = isSym(mem.disp) ? undefined : BigInt(mem.disp);
  const short = disp !== undefined && fitsSigned(disp, 8);
  const mod = disp === 0n && rm !== 6 ? 0 : short ? 1 : 2;
  e.body.push((mod << 6) | (reg << 3) | rm);
  if (mod !== 0) e.value('body', mem.disp, mod === 1 ? 1 : 2);
}

function memoryWide(e: Encoding, mem: Mem, reg: number, addressSize: 32 | 64): void {
  const signed = addressSize === 64;
  const disp = isSym(mem.disp) ? undefined : BigInt(mem.disp);
  if (disp !== undefined && !(signed ? fitsSigned(disp, 32) || fitsSigned(BigInt.asIntN(64, disp), 32) : fits(disp, 32)))
    throw new AsmError(`displacement ${disp} does not fit 32 bits`);
  const { base, index } = mem;
  if (base === undefined && index === undefined) {
    if (mem.relative && e.mode === 64) {
      e.body.push((reg << 3) | 5);
      e.value('body', mem.disp, 4, { relative: true, signed: true });
    } else {
      // In 64-bit code, mod 0 rm 5 is RIP-relative: an absolute address needs a SIB byte without base and index.
      if (e.mode === 64) e.body.push((reg << 3) | 4, 0x25);
      else e.body.push((reg << 3) | 5);
      e.value('body', mem.disp, 4, { signed });
    }
    return;
  }
  if (index !== undefined && index.nr === 4) throw new AsmError('the stack pointer cannot be an index');
  const baseBits = base === undefined ? 5 : e.register(base, REX_B);
  const indexBits = index === undefined ? 4 : e.register(index, REX_X);
  const sib = index !== undefined || base === undefined || baseBits === 4;
  const mod = base === undefined ? 0 : disp === 0n && baseBits !== 5 ? 0 : disp !== undefined && fitsSigned(disp, 8) ? 1 : 2;
  e.body.push((mod << 6) | (reg << 3) | (sib ? 4 : baseBits));
  if (sib) e.body.push((Math.log2(mem.scale) << 6) | (indexBits << 3) | baseBits);
  if (mod === 1) e.value('body', mem.disp, 1);
  else if (mod === 2 || base === undefined) e.value('body', mem.disp, 4, { signed });
}

const widthOf = (reg: Reg, mode: Mode): number => (reg.width === 'word' ? mode : reg.width);

function addressSizeOf(mem: Mem, mode: Mode): 16 | 32 | 64 {
  const widths = [mem.base, mem.index].filter((r) => r !== undefined).map((r) => widthOf(r, mode));
  if (widths.length === 2 && widths[0] !== widths[1]) throw new AsmError('base and index differ in width');
  const width = (widths[0] ?? mode) as 16 | 32 | 64;
  if (width === 64 && mode !== 64) throw new AsmError('a 64-bit address in code that is not 64-bit');
  if (width === 16 && mode === 64) throw new AsmError('a 16-bit address in 64-bit code');
  return width;
}

function modrm(e: Encoding, rm: Operand, reg: number): void {
  const place = rm as Reg | Mem | Xmm;
  if (place.kind !== 'mem') {
    e.body.push(0xc0 | (reg << 3) | e.register(place, REX_B));
    return;
  }
  if (place.seg !== undefined) e.legacy.push(SEGMENT_PREFIX[place.seg.nr]!);
  const size = addressSizeOf(place, e.mode);
  if (size !== e.mode) e.legacy.push(0x67);
  if (size === 16) memory16(e, place, reg);
  else memoryWide(e, place, reg, size);
}

const immediateBytes = (spec: OperandSpec, size: OperandSize): 1 | 2 | 4 | 8 => {
  if (spec.size === 'b') return 1;
  if (spec.size === 'w') return 2;
  if (spec.size === 'v' && size === 64) return 8;
  return size === 16 ? 2 : 4;
};

function tailOperand(e: Encoding, spec: OperandSpec, operand: Operand, size: OperandSize, sized: boolean): void {
  switch (spec.letter) {
    case 'I':
    case 'sI':
    case 'NI':
      // Extended to 64 bits: by the operand size, or (PUSH) by the stack's.
      e.value('tail', operand as Imm, immediateBytes(spec, size), {
        signed: spec.size === 'z' && (size === 64 || (e.mode === 64 && !sized)),
      });
      break;
    case 'J':
      e.value('tail', addr(operand as string), e.mode === 16 ? 2 : 4, { relative: true, signed: true });
      break;
    case 'Jb':
      e.value('tail', addr((operand as Short).label), 1, { relative: true, signed: true });
      break;
    case 'A': {
      const { selector, offset, width } = operand as Far;
      e.value('tail', offset, (width ?? e.mode) === 16 ? 2 : 4);
      e.value('tail', selector, 2);
      break;
    }
    default:
  }
}

/** The bytes of one form. `size` is what matchForm found. */
export function encodeForm(form: Form, operands: readonly Operand[], size: OperandSize, mode: Mode): Encoded {
  const e = new Encoding(mode);
  const farWidth = (operands.find((_, i) => form.operands[i]!.letter === 'A') as Far | undefined)?.width;
  const operandSize = form.sized ? size : (farWidth ?? mode);
  if (form.address !== undefined && form.address !== mode) e.legacy.push(0x67);
  if (operandSize !== 64 && (operandSize === 16) !== (mode === 16)) e.legacy.push(0x66);
  if (form.wide && size === 64) e.rex |= REX_W;

  const opcode = [...form.opcode];
  let reg = typeof form.modrm === 'number' ? form.modrm : 0;
  let rm: Operand | undefined;
  for (const [i, spec] of form.operands.entries()) {
    const operand = operands[i]!;
    if (spec.place === 'reg') reg = e.register(operand as Reg, REX_R);
    else if (spec.place === 'rm') rm = operand;
    else if (spec.place === 'opcode') opcode[opcode.length - 1]! += e.register(operand as Reg, REX_B);
  }
  if (form.modrm !== undefined) {
    if (rm === undefined) throw new Error(`${form.text}: ModRM without an operand for it`);
    modrm(e, rm, reg);
  }
  for (const [i, spec] of form.operands.entries()) if (spec.place === 'tail') tailOperand(e, spec, operands[i]!, size, form.sized);
  if (form.prefix !== undefined) e.legacy.push(form.prefix);
  return e.finish(opcode);
}

const describe = (operand: Operand): string => {
  if (typeof operand === 'string') return `'${operand}'`;
  if (typeof operand !== 'object') return String(operand);
  if (operand.kind === 'reg') return `${operand.width}-bit register ${operand.nr}`;
  if (operand.kind === 'mem') return `${operand.size === 'any' ? '' : `${operand.size}-bit `}memory`;
  return operand.kind;
};

/** The first form that fits. Throws AsmError when none does. */
export function encode(mnemonic: string, forms: readonly Form[], operands: readonly Operand[], mode: Mode): Encoded {
  try {
    for (const form of forms) {
      const size = matchForm(form, operands, mode);
      if (size !== undefined) return encodeForm(form, operands, size, mode);
    }
  } catch (error) {
    if (error instanceof AsmError) throw new AsmError(`${mnemonic}: ${error.message}`);
    throw error;
  }
  const known = forms.map((f) => f.text || 'no operands').join(' | ');
  throw new AsmError(`${mnemonic} ${operands.map(describe).join(', ')}: no such form in ${mode}-bit code (there are: ${known})`);
}
