// Which form of an instruction fits the operands that were passed, and with which operand size. A form fits or does not; why none
// fitted is told to the user as the list of forms that there are.
import type { Form, OperandSpec, SizeLetter } from './forms.ts';
import { type Far, type Imm, isSym, type Mem, type Short } from './operands.ts';
import type { ControlReg, DebugReg, Mode, Reg, SegReg, StReg, Width, Xmm } from './registers.ts';

export type Operand = Reg | SegReg | ControlReg | DebugReg | Xmm | StReg | Mem | Imm | Short | Far | string;
export type OperandSize = 16 | 32 | 64;

/** 'word' made concrete. */
export const widthIn = (mode: Mode, width: Width | 80 | 128 | 512 | 'any'): number | 'any' => (width === 'word' ? mode : width);

const EXACT: Partial<Record<SizeLetter, number>> = { b: 8, w: 16, d: 32, q: 64, t: 80, o: 128 };

/** The widths that a size letter admits in a mode. */
function admits(size: SizeLetter, width: number, mode: Mode): boolean {
  const exact = EXACT[size];
  if (exact !== undefined) return width === exact && (width !== 64 || size === 'q');
  if (width === 64 && mode !== 64) return false;
  switch (size) {
    case 'v':
      return width === 16 || width === 32 || width === 64;
    case 's':
      return width === 16 || width === (mode === 64 ? 64 : 32);
    case 'f':
      return mode === 64 ? width === 64 : width === 16 || width === 32;
    case 'y':
      return width === 32 || width === 64;
    case 'n':
      return width === (mode === 64 ? 64 : 32);
    default:
      return true;
  }
}

const isVariable = (size: SizeLetter): boolean => size === 'v' || size === 's' || size === 'f' || size === 'y';

/** The value fits `bits` bits, read as signed or as unsigned. */
export const fits = (value: bigint, bits: number): boolean => value >= -(1n << BigInt(bits - 1)) && value < 1n << BigInt(bits);
export const fitsSigned = (value: bigint, bits: number): boolean => BigInt.asIntN(bits, value) === value;

function immediateFits(spec: OperandSpec, value: Imm, width: number): boolean {
  if (isSym(value)) return spec.letter === 'I';
  const v = BigInt(value);
  if (spec.letter === 'sI') return fits(v, width) && fitsSigned(BigInt.asIntN(width, v), 8);
  switch (spec.size) {
    case 'b':
      return fits(v, 8);
    case 'w':
      return fits(v, 16);
    case 'z':
      return fits(v, width) && (width < 64 || fitsSigned(BigInt.asIntN(64, v), 32));
    default:
      return fits(v, width);
  }
}

const FIXED_GPR: Readonly<Record<string, readonly [width: number, nr: number]>> = {
  AL: [8, 0],
  CL: [8, 1],
  DX: [16, 2],
  AX: [16, 0],
  eAX: [32, 0],
};
const FIXED_SEG: Readonly<Record<string, number>> = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5 };

const hasKind = (operand: Operand, kind: string): boolean => typeof operand === 'object' && operand.kind === kind;
const isImmediate = (operand: Operand): operand is Imm => typeof operand === 'number' || typeof operand === 'bigint' || isSym(operand);

/** The operand size under which the form takes the operands; undefined when it does not. */
export function matchForm(form: Form, operands: readonly Operand[], mode: Mode): OperandSize | undefined {
  if (form.operands.length !== operands.length || (form.only64 && mode !== 64) || (form.not64 && mode === 64)) return undefined;
  let size: number | undefined = form.implied;
  // Operands with a width first: immediates are judged by it.
  for (const [i, spec] of form.operands.entries()) {
    const width = widthOfOperand(spec, operands[i]!, mode);
    if (width === undefined) return undefined;
    if (width === 0) continue;
    if (size !== undefined && size !== width) return undefined;
    size = width;
  }
  if (size === 16 && form.no16) return undefined;
  for (const [i, spec] of form.operands.entries()) {
    const operand = operands[i]!;
    if (isImmediate(operand) && spec.letter.endsWith('I') && !immediateFits(spec, operand, size ?? mode)) return undefined;
  }
  // SAFE: `admits` lets only these three through.
  return (size ?? (mode === 16 ? 16 : 32)) as OperandSize;
}

const when = (yes: boolean): 0 | undefined => (yes ? 0 : undefined);

/** 0: the operand fits and says nothing about the operand size. undefined: it does not fit. */
function widthOfOperand(spec: OperandSpec, operand: Operand, mode: Mode): number | undefined {
  const { letter, size } = spec;
  switch (letter) {
    case 'E':
    case 'G':
    case 'Z':
    case 'R':
    case 'M': {
      if (!hasKind(operand, 'reg') && !hasKind(operand, 'mem')) return undefined;
      const place = operand as Reg | Mem;
      if (place.kind === 'mem' && letter !== 'E' && letter !== 'M') return undefined;
      if (place.kind === 'reg' && letter === 'M') return undefined;
      const isMem = place.kind === 'mem';
      const width = widthIn(mode, isMem ? place.size : place.width);
      if (width === 'any') return when(spec.loose);
      if (size === '') return 0;
      if (!admits(size, width, mode)) return undefined;
      return isVariable(size) ? width : 0;
    }
    case 'rAX': {
      if (!hasKind(operand, 'reg') || (operand as Reg).nr !== 0) return undefined;
      const width = widthIn(mode, (operand as Reg).width) as number;
      return width !== 8 && admits('v', width, mode) ? width : undefined;
    }
    case 'I':
    case 'sI':
    case 'NI':
      return when(isImmediate(operand));
    case 'One':
      return when(operand === 1 || operand === 1n);
    case 'Three':
      return when(operand === 3 || operand === 3n);
    case 'J':
      return when(typeof operand === 'string');
    case 'Jb':
      return when(hasKind(operand, 'short'));
    case 'A':
      return when(hasKind(operand, 'far'));
    case 'Sw':
      return when(hasKind(operand, 'seg'));
    case 'C':
      return when(hasKind(operand, 'cr'));
    case 'D':
      return when(hasKind(operand, 'dr'));
    case 'V':
      return when(hasKind(operand, 'xmm'));
    case 'W':
      return when(hasKind(operand, 'xmm') || hasKind(operand, 'mem'));
    case 'ST':
      return when(hasKind(operand, 'st'));
    default: {
      const segment = FIXED_SEG[letter];
      if (segment !== undefined) return when(hasKind(operand, 'seg') && (operand as SegReg).nr === segment);
      const fixed = FIXED_GPR[letter];
      if (fixed === undefined) throw new Error(`no such operand letter: ${letter}`);
      const reg = operand as Reg;
      return when(hasKind(operand, 'reg') && reg.nr === fixed[1] && !reg.high && widthIn(mode, reg.width) === fixed[0]);
    }
  }
}
