// x87 values to integers, singles and doubles: x87-round.ts says what such functions take and answer.

import type { Subroutine } from '../stage/builder.ts';
import {
  BIAS,
  both,
  exponentOf,
  inexact,
  isInRange,
  isOrdinary,
  MAX_EXPONENT,
  results,
  roundsUp,
  SIGN,
  SLOW,
  signOf,
  TOP,
} from './x87-round.ts';

/** (a, word): the magnitude rounded to an integer, and PE and C1. From 2^63 up it is refused. */
export const ROUND_TO_INTEGER: Subroutine = {
  slot: 4,
  sem(b, [sig, se, word]) {
    const r = results(b);
    const e = exponentOf(b, se);
    b.if(b.and(isOrdinary(b, sig, se), b.ltU(e, b.k(BIAS + 63))), () => {
      // Bits after the point: 1 at least. Beyond 64 what is cut off is below a half whatever it is.
      const cut = b.sub(b.k(BIAS + 63), e);
      const some = b.ltU(cut, b.k(64));
      const kept = b.select(some, b.shr(sig, cut), b.k(0));
      const far = b.select(b.eq(cut, b.k(64)), sig, b.ne(sig, b.k(0)));
      const tail = b.select(some, b.shl(sig, b.sub(b.k(64), cut)), far);
      const up = roundsUp(b, word, signOf(b, se), b.and(kept, b.k(1)), tail);
      r.sig.set(b.add(kept, up));
      r.status.set(inexact(b, tail, up));
    });
    return both(r);
  },
};

/** (a, word): the pattern of a single or double, and PE and C1. Infinity stays one; what would be denormal or overflow is refused. */
const narrow = (slot: number, fraction: number, bias: number): Subroutine => ({
  slot,
  sem(b, [sig, se, word]) {
    const r = results(b);
    const width = fraction === 52 ? 64 : 32;
    const maxExponent = 2 * bias + 1;
    const sign = b.shl(b.shr(b.and(se, b.k(SIGN)), b.k(15)), b.k(width - 1));
    const e = exponentOf(b, se);
    b.if(
      b.and(isInRange(b, e), b.ltS(sig, b.k(0))),
      () => {
        const cut = 63 - fraction;
        const tail = b.shl(sig, b.k(64 - cut));
        const kept = b.shr(sig, b.k(cut));
        const up = roundsUp(b, word, signOf(b, se), b.and(kept, b.k(1)), tail);
        // A carry out of the fraction goes on into the exponent, which the integer bit adds one to as well.
        const field = b.sub(e, b.k(BIAS - bias + 1));
        const bits = b.add(b.add(b.shl(field, b.k(fraction)), kept), up);
        r.sig.set(b.or(sign, b.and(bits, b.k((1n << BigInt(width - 1)) - 1n))));
        const fits = b.and(b.ltU(field, b.k(maxExponent - 1)), b.ltU(b.shr(bits, b.k(fraction)), b.k(maxExponent)));
        r.status.set(b.select(fits, inexact(b, tail, up), b.k(SLOW)));
      },
      () => {
        r.sig.set(b.or(sign, b.select(e, b.k(BigInt(maxExponent) << BigInt(fraction)), b.k(0))));
        const isZero = b.eqz(b.or(e, sig));
        const isInfinity = b.and(b.eq(e, b.k(MAX_EXPONENT)), b.eq(sig, b.k(TOP)));
        r.status.set(b.select(b.or(isZero, isInfinity), b.k(0), b.k(SLOW)));
      },
    );
    return both(r);
  },
});
export const TO_SINGLE: Subroutine = narrow(5, 23, 127);
export const TO_DOUBLE: Subroutine = narrow(6, 52, 1023);
