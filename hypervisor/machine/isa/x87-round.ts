// Double extended-precision values (SDM Vol 1, 4.2.2, 4.8) in staged arithmetic, and how results are rounded. The operations
// (x87-float.ts, x87-divide.ts, x87-convert.ts) are pure functions that the handlers of x87 instructions call. Rounding control and
// precision control are followed; NaNs, denormals, and what over- or underflows are refused, which is the second result's SLOW bit:
// TypeScript (system/x87/) then does the instruction.
//
// A value is its significand and its sign and exponent word (15 bits of biased exponent, sign in bit 15). The second result holds the
// sign and exponent word and, where they are in the CPU's x87 word (x87-word.ts), PE and the condition codes.

import type { Builder, Var } from '../stage/builder.ts';
import { C1, PE, PRECISION_SHIFT, ROUNDING_SHIFT } from './x87-word.ts';

/** The operation is not one of these functions' cases. */
export const SLOW = 1n << 63n;

export const MAX_EXPONENT = 0x7fff;
export const BIAS = 0x3fff;
export const SIGN = 0x8000;
export const TOP = 1n << 63n;
/** Rounding to nearest, of all 64 bits, in the control word's two fields; the mask of both. */
const ORDINARY = 0x300;
const CONTROLS = 0xf00;
export const RC = { down: 1, up: 2 } as const;

export const exponentOf = <V>(b: Builder<V>, se: V): V => b.and(se, b.k(MAX_EXPONENT));
export const signOf = <V>(b: Builder<V>, se: V): V => b.and(se, b.k(SIGN));
export const roundingControl = <V>(b: Builder<V>, word: V): V => b.and(b.shr(word, b.k(ROUNDING_SHIFT)), b.k(3));
export const isInRange = <V>(b: Builder<V>, exponent: V): V => b.ltU(b.sub(exponent, b.k(1)), b.k(MAX_EXPONENT - 1));

/** Zero or normal; 0 or 1. */
export const isOrdinary = <V>(b: Builder<V>, sig: V, se: V): V => {
  const e = exponentOf(b, se);
  return b.or(b.and(isInRange(b, e), b.ltS(sig, b.k(0))), b.eqz(b.or(e, sig)));
};

export const isInfinite = <V>(b: Builder<V>, sig: V, se: V): V => b.and(b.eq(exponentOf(b, se), b.k(MAX_EXPONENT)), b.eq(sig, b.k(TOP)));

/** Of two operands, which are infinite; `usable`: one at least, and the other ordinary or infinite too. */
export function infinities<V>(
  b: Builder<V>,
  aSig: V,
  aSe: V,
  bSig: V,
  bSe: V,
): { readonly first: V; readonly second: V; readonly usable: V } {
  const first = isInfinite(b, aSig, aSe);
  const second = isInfinite(b, bSig, bSe);
  const ordinary = b.or(b.and(first, isOrdinary(b, bSig, bSe)), b.and(isOrdinary(b, aSig, aSe), second));
  return { first, second, usable: b.or(ordinary, b.and(first, second)) };
}

export interface Result<V> {
  readonly sig: Var<V>;
  readonly status: Var<V>;
}
export const results = <V>(b: Builder<V>): Result<V> => ({ sig: b.var(b.k(0)), status: b.var(b.k(SLOW)) });
export const both = <V>(r: Result<V>): readonly [V, V] => [r.sig.get(), r.status.get()];

/** Whether a value cut between two bits goes up in magnitude: `tail` is what was cut off, as a fraction of 2^64; `odd` the last bit kept. */
export function roundsUp<V>(b: Builder<V>, word: V, sign: V, odd: V, tail: V): V {
  const rc = roundingControl(b, word);
  const half = b.shr(tail, b.k(63));
  const nearest = b.and(half, b.or(b.ne(b.shl(tail, b.k(1)), b.k(0)), odd));
  const away = b.eq(rc, b.select(sign, b.k(RC.down), b.k(RC.up)));
  return b.select(rc, b.and(away, b.ne(tail, b.k(0))), nearest);
}

export const inexact = <V>(b: Builder<V>, tail: V, up: V): V => b.or(b.select(tail, b.k(PE), b.k(0)), b.select(up, b.k(C1), b.k(0)));

/** Rounds hi:lo * 2^(exponent - BIAS - 127), the top bit of hi set, as the control word asks, and puts it together. */
export function round<V>(b: Builder<V>, r: Result<V>, sign: V, exponent: V, hi: V, lo: V, word: V): void {
  const kept = b.var(hi);
  const tail = b.var(lo);
  const up = b.var(b.k(0));
  const sum = b.var(b.k(0));
  b.if(
    b.eq(b.and(word, b.k(CONTROLS)), b.k(ORDINARY)),
    () => {
      const twice = b.shl(lo, b.k(1));
      up.set(b.and(b.shr(lo, b.k(63)), b.or(b.ne(twice, b.k(0)), b.and(hi, b.k(1)))));
      sum.set(b.add(hi, up.get()));
    },
    () => {
      // 53 or 24 bits of precision: 11 or 40 of hi's are cut off too. 1, which is reserved, counts as 64.
      const pc = b.and(b.shr(word, b.k(PRECISION_SHIFT)), b.k(3));
      const cut = b.select(b.eqz(pc), b.k(40), b.select(b.eq(pc, b.k(2)), b.k(11), b.k(0)));
      const unit = b.shl(b.k(1), cut);
      kept.set(b.and(hi, b.sub(b.k(0), unit)));
      const sticky = b.ne(lo, b.k(0));
      const cutTail = b.or(b.shl(hi, b.sub(b.k(64), cut)), sticky);
      tail.set(b.select(cut, cutTail, lo));
      up.set(roundsUp(b, word, sign, b.and(b.shr(hi, cut), b.k(1)), tail.get()));
      sum.set(b.select(up.get(), b.add(kept.get(), unit), kept.get()));
    },
  );
  const s = sum.get();
  const carried = b.eqz(s);
  const e = b.add(exponent, carried);
  r.sig.set(b.select(carried, b.k(TOP), s));
  const status = b.or(b.or(b.and(e, b.k(0xffff)), sign), inexact(b, tail.get(), up.get()));
  r.status.set(b.select(isInRange(b, e), status, b.k(SLOW)));
}
