// Double extended-precision values (SDM Vol 1, 4.2.2): one bit of sign, 15 of exponent, 64 of significand with its integer bit explicit.
//
// A value is its bit pattern; arithmetic takes it apart into an exact integer times a power of two. BigInt throughout: the aim here is
// that each rule of the manual can be seen, and x87 code is rare in 64-bit software.

export interface F80 {
  /** Sign in bit 15, biased exponent below. */
  readonly se: number;
  readonly sig: bigint;
}

export const BIAS = 16383;
export const MAX_EXP = 0x7fff;
export const INTEGER_BIT = 1n << 63n;
const QUIET_BIT = 1n << 62n;

export const f80 = (se: number, sig: bigint): F80 => ({ se, sig });
export const signOf = (a: F80): number => a.se >>> 15;
export const expOf = (a: F80): number => a.se & MAX_EXP;
export const withSign = (a: F80, sign: number): F80 => f80((a.se & MAX_EXP) | (sign << 15), a.sig);

export const zero = (sign: number): F80 => f80(sign << 15, 0n);
export const infinity = (sign: number): F80 => f80((sign << 15) | MAX_EXP, INTEGER_BIT);
export const ONE: F80 = f80(BIAS, INTEGER_BIT);
/** The QNaN floating-point indefinite (SDM Vol 1, Table 4-3): the masked answer to invalid operations. */
export const INDEFINITE: F80 = f80(0xffff, INTEGER_BIT | QUIET_BIT);

export type Kind = 'zero' | 'denormal' | 'normal' | 'infinity' | 'qnan' | 'snan' | 'unsupported';

/** Pseudo-NaNs, pseudo-infinities and unnormals are 'unsupported'; a pseudo-denormal counts as denormal (SDM Vol 1, 8.2.2). */
export function kindOf(a: F80): Kind {
  const e = expOf(a);
  if (e === 0) return a.sig === 0n ? 'zero' : 'denormal';
  if (!(a.sig & INTEGER_BIT)) return 'unsupported';
  if (e !== MAX_EXP) return 'normal';
  if (a.sig === INTEGER_BIT) return 'infinity';
  return a.sig & QUIET_BIT ? 'qnan' : 'snan';
}

export const isNaNKind = (k: Kind): boolean => k === 'qnan' || k === 'snan';
export const quieted = (a: F80): F80 => f80(a.se, a.sig | QUIET_BIT);

/** A finite value as (-1)^sign * m * 2^e; m is 0 for zeros. */
export interface Exact {
  readonly sign: number;
  readonly m: bigint;
  readonly e: number;
}

/** Denormals have the exponent of the smallest normal. */
export const exact = (a: F80): Exact => ({ sign: signOf(a), m: a.sig, e: Math.max(expOf(a), 1) - BIAS - 63 });

export const bitLength = (m: bigint): number => (m === 0n ? 0 : m.toString(16).length * 4 - leadingZeros(m));
const leadingZeros = (m: bigint): number => {
  const top = Number.parseInt(m.toString(16)[0]!, 16);
  return Math.clz32(top) - 28;
};
