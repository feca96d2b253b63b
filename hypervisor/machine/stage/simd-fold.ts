// 128-bit operations whose operands are known when code is compiled: JIT code knows immediates, and with them the indices and masks that
// semantics make of them. A shuffle by constant indices is then often one instruction of the host's.

/** Low and high half. */
export type Constant = readonly [bigint, bigint];

const MASK = (1n << 64n) - 1n;
export const ZERO: Constant = [0n, 0n];
const isAll = ([lo, hi]: Constant, half: bigint): boolean => lo === half && hi === half;
export const isZero = (c: Constant): boolean => isAll(c, 0n);
export const isOnes = (c: Constant): boolean => isAll(c, MASK);

export const bytesOf = (c: Constant): number[] =>
  c.flatMap((half) => [0, 8, 16, 24, 32, 40, 48, 56].map((n) => Number((half >> BigInt(n)) & 0xffn)));
const fromBytes = (bytes: readonly number[]): Constant => {
  const half = (at: number): bigint => bytes.slice(at, at + 8).reduceRight((v, x) => (v << 8n) | BigInt(x & 0xff), 0n);
  return [half(0), half(8)];
};

const BITWISE: Readonly<Record<string, (a: bigint, b: bigint) => bigint>> = {
  'v128.and': (a, b) => a & b,
  'v128.or': (a, b) => a | b,
  'v128.xor': (a, b) => a ^ b,
  'v128.andnot': (a, b) => a & ~b & MASK,
};
const BYTEWISE: Readonly<Record<string, (a: number, b: number) => number>> = {
  'i8x16.add': (a, b) => a + b,
  'i8x16.sub': (a, b) => a - b,
  'i8x16.eq': (a, b) => (a === b ? 0xff : 0),
};

/** The result, or undefined for an operation that is left to the machine. */
export function foldVectors(name: string, a: Constant, b: Constant): Constant | undefined {
  const bitwise = BITWISE[name];
  if (bitwise !== undefined) return [bitwise(a[0], b[0]), bitwise(a[1], b[1])];
  const bytewise = BYTEWISE[name];
  if (bytewise === undefined) return undefined;
  const y = bytesOf(b);
  return fromBytes(bytesOf(a).map((x, i) => bytewise(x, y[i] ?? 0)));
}

/** What an operation with a known second operand (or first: both ways where that is the same) comes to, if not to an operation. */
export function identity(name: string, known: Constant, isSecond: boolean): 'other' | 'zero' | undefined {
  switch (name) {
    case 'v128.and':
      return isOnes(known) ? 'other' : isZero(known) ? 'zero' : undefined;
    case 'v128.or':
    case 'v128.xor':
      return isZero(known) ? 'other' : undefined;
    case 'v128.andnot':
      return isSecond ? (isZero(known) ? 'other' : isOnes(known) ? 'zero' : undefined) : isZero(known) ? 'zero' : undefined;
    default:
      return undefined;
  }
}

/** The lanes of a shuffle that does what a swizzle by these indices does; undefined where some index asks for zero. */
export function shuffleOf(indices: Constant): readonly number[] | undefined {
  const lanes = bytesOf(indices);
  return lanes.every((i) => i < 16) ? lanes : undefined;
}
