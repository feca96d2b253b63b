// Operands that are not registers: memory, values that only linking knows (addresses of labels, distances between them), branch
// targets and far pointers. Plain numbers and bigints are immediates.
import type { Reg, SegReg, Width } from './registers.ts';

/** A value known when the image is linked: the address of a label, or the distance between two, plus a constant. */
export interface Sym {
  readonly kind: 'sym';
  readonly label: string;
  readonly minus: string | undefined;
  readonly offset: bigint;
  plus(bytes: number | bigint): Sym;
}

const sym = (label: string, minus: string | undefined, offset: bigint): Sym => ({
  kind: 'sym',
  label,
  minus,
  offset,
  plus: (bytes) => sym(label, minus, offset + BigInt(bytes)),
});

/** The address of a label. */
export const addr = (label: string, plus: number | bigint = 0): Sym => sym(label, undefined, BigInt(plus));
/** Bytes from label `from` to label `to`. */
export const distance = (from: string, to: string): Sym => sym(to, from, 0n);

export type Imm = number | bigint | Sym;

export type Scale = 1 | 2 | 4 | 8;
export type Size = Width | 80 | 128 | 512;
type AddressReg = Reg<16 | 32 | 64 | 'word'>;

export interface MemParts {
  readonly index?: AddressReg;
  readonly scale?: Scale;
  /** A number, or the absolute address of a label (which must then fit the displacement). */
  readonly disp?: Imm;
  readonly seg?: SegReg;
}

/** Memory. S is its size, 'any' where another operand or the instruction tells. */
export interface Mem<S extends Size | 'any' = Size | 'any'> {
  readonly kind: 'mem';
  readonly size: S;
  readonly base: AddressReg | undefined;
  readonly index: AddressReg | undefined;
  readonly scale: Scale;
  readonly disp: Imm;
  readonly seg: SegReg | undefined;
  /** Relative to the next instruction, where the mode can do that; absolute otherwise. */
  readonly relative: boolean;
}

type Where = AddressReg | Imm | null;

const place = <S extends Size | 'any'>(size: S, where: Where, parts: MemParts): Mem<S> => {
  const base = where !== null && typeof where === 'object' && where.kind === 'reg' ? where : undefined;
  const disp = where !== null && base === undefined ? (where as Imm) : (parts.disp ?? 0);
  return { kind: 'mem', size, base, index: parts.index, scale: parts.scale ?? 1, disp, seg: parts.seg, relative: false };
};
const sized =
  <S extends Size | 'any'>(size: S) =>
  (where: Where, parts: MemParts = {}): Mem<S> =>
    place(size, where, parts);

/** Memory of the size that the other operand has: mem(rbx), mem(rbx, { disp: 8 }), mem(null, { index: rcx, scale: 8 }), mem(0x400). */
export const mem = sized('any');
export const mem8 = sized(8);
export const mem16 = sized(16);
export const mem32 = sized(32);
export const mem64 = sized(64);
export const mem80 = sized(80);
export const mem128 = sized(128);
export const memw = sized('word');

const relative = <S extends Size | 'any'>(size: S, label: string, plus: number | bigint): Mem<S> => ({
  ...place(size, addr(label, plus), {}),
  relative: true,
});
/** What stands at a label: RIP-relative in 64-bit code, absolute elsewhere. */
export const at = (label: string, plus: number | bigint = 0): Mem<'any'> => relative('any', label, plus);
export const at8 = (label: string, plus: number | bigint = 0): Mem<8> => relative(8, label, plus);
export const at16 = (label: string, plus: number | bigint = 0): Mem<16> => relative(16, label, plus);
export const at32 = (label: string, plus: number | bigint = 0): Mem<32> => relative(32, label, plus);
export const at64 = (label: string, plus: number | bigint = 0): Mem<64> => relative(64, label, plus);
export const atw = (label: string, plus: number | bigint = 0): Mem<'word'> => relative('word', label, plus);

/** A branch that must be encoded with an 8-bit displacement: refused when the label is farther. */
export interface Short {
  readonly kind: 'short';
  readonly label: string;
}
export const short = (label: string): Short => ({ kind: 'short', label });

/** selector:offset. The offset has the width of the code around it unless told otherwise. */
export interface Far {
  readonly kind: 'far';
  readonly selector: number;
  readonly offset: Imm;
  readonly width: 16 | 32 | undefined;
}
export const far = (selector: number, offset: Imm | string, width?: 16 | 32): Far => ({
  kind: 'far',
  selector,
  offset: typeof offset === 'string' ? addr(offset) : offset,
  width,
});

export const isSym = (value: unknown): value is Sym => typeof value === 'object' && value !== null && (value as Sym).kind === 'sym';
