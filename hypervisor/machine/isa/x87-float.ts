// Sum, product and comparison of x87 values: x87-round.ts says what such functions take and answer.

import type { Builder, Subroutine } from '../stage/builder.ts';
import {
  BIAS,
  both,
  exponentOf,
  infinities,
  isInfinite,
  isOrdinary,
  MAX_EXPONENT,
  RC,
  results,
  round,
  roundingControl,
  SIGN,
  SLOW,
  signOf,
  TOP,
} from './x87-round.ts';

/** (a, b, word): a + b. */
export const ADD: Subroutine = {
  slot: 0,
  sem(b, [aSig, aSe, bSig, bSe, word]) {
    const r = results(b);
    const finite = () => {
      const ea = exponentOf(b, aSe);
      const eb = exponentOf(b, bSe);
      const swap = b.or(b.ltU(ea, eb), b.and(b.eq(ea, eb), b.ltU(aSig, bSig)));
      // x is the larger in magnitude, y comes to its exponent as a number of 128 bits.
      const x = b.select(swap, bSig, aSig);
      const xe = b.select(swap, eb, ea);
      const y = b.select(swap, aSig, bSig);
      const sign = signOf(b, b.select(swap, bSe, aSe));
      const distance = b.sub(xe, b.select(swap, ea, eb));
      const yHi = b.var(b.k(0));
      const yLo = b.var(b.k(0));
      b.if(
        b.ltU(distance, b.k(64)),
        () => {
          yHi.set(b.shr(y, distance));
          yLo.set(b.shl(b.shl(y, b.k(1)), b.sub(b.k(63), distance)));
        },
        () => {
          const n = b.sub(distance, b.k(64));
          const near = b.ltU(n, b.k(64));
          const lost = b.and(y, b.select(near, b.sub(b.shl(b.k(1), n), b.k(1)), b.k(-1)));
          yLo.set(b.or(b.select(near, b.shr(y, n), b.k(0)), b.ne(lost, b.k(0))));
        },
      );
      const hi = b.var(b.k(0));
      const lo = b.var(b.k(0));
      const e = b.var(xe);
      b.if(
        b.and(b.xor(aSe, bSe), b.k(SIGN)),
        () => {
          lo.set(b.sub(b.k(0), yLo.get()));
          hi.set(b.sub(b.sub(x, yHi.get()), b.ne(yLo.get(), b.k(0))));
          b.if(b.eqz(hi.get()), () => {
            hi.set(lo.get());
            lo.set(b.k(0));
            e.set(b.sub(e.get(), b.k(64)));
          });
          const n = b.clz(hi.get());
          hi.set(b.or(b.shl(hi.get(), n), b.shr(b.shr(lo.get(), b.k(1)), b.sub(b.k(63), n))));
          lo.set(b.shl(lo.get(), n));
          e.set(b.sub(e.get(), n));
        },
        () => {
          const sum = b.add(x, yHi.get());
          hi.set(sum);
          lo.set(yLo.get());
          b.if(b.ltU(sum, x), () => {
            const low = yLo.get();
            lo.set(b.or(b.or(b.shl(sum, b.k(63)), b.shr(low, b.k(1))), b.and(low, b.k(1))));
            hi.set(b.or(b.shr(sum, b.k(1)), b.k(TOP)));
            e.set(b.add(xe, b.k(1)));
          });
        },
      );
      b.if(
        hi.get(),
        () => round(b, r, sign, e.get(), hi.get(), lo.get(), word),
        () => {
          // Sums that are exactly zero are positive, but negative when rounding down; zeros of one sign keep it (SDM Vol 1, 4.8.3.1).
          const down = b.eq(roundingControl(b, word), b.k(RC.down));
          const differ = b.and(b.xor(aSe, bSe), b.k(SIGN));
          r.status.set(b.select(differ, b.select(down, b.k(SIGN), b.k(0)), sign));
        },
      );
    };
    b.if(b.and(isOrdinary(b, aSig, aSe), isOrdinary(b, bSig, bSe)), finite, () => {
      // Infinity less infinity is invalid.
      const { first, second, usable } = infinities(b, aSig, aSe, bSig, bSe);
      const differ = b.ne(signOf(b, b.xor(aSe, bSe)), b.k(0));
      const invalid = b.and(b.and(first, second), differ);
      r.sig.set(b.k(TOP));
      r.status.set(b.select(b.and(usable, b.eqz(invalid)), b.select(first, aSe, bSe), b.k(SLOW)));
    });
    return both(r);
  },
};

/** (a, b, word): a * b. */
export const MULTIPLY: Subroutine = {
  slot: 1,
  sem(b, [aSig, aSe, bSig, bSe, word]) {
    const r = results(b);
    const sign = signOf(b, b.xor(aSe, bSe));
    const finite = () => {
      const hi = b.mulHighU(aSig, bSig);
      const lo = b.mul(aSig, bSig);
      b.if(
        hi,
        () => {
          // The product of two numbers from 1 up to 2 is below 4: its top bit is bit 127 or 126.
          const short = b.xor(b.shr(hi, b.k(63)), b.k(1));
          const e = b.sub(b.add(exponentOf(b, aSe), exponentOf(b, bSe)), b.add(b.k(BIAS - 1), short));
          const h = b.select(short, b.or(b.shl(hi, b.k(1)), b.shr(lo, b.k(63))), hi);
          round(b, r, sign, e, h, b.shl(lo, short), word);
        },
        () => r.status.set(sign),
      );
    };
    b.if(b.and(isOrdinary(b, aSig, aSe), isOrdinary(b, bSig, bSe)), finite, () => {
      // Infinity times zero is invalid.
      const { usable } = infinities(b, aSig, aSe, bSig, bSe);
      r.sig.set(b.k(TOP));
      const valid = b.and(usable, b.and(b.ne(aSig, b.k(0)), b.ne(bSig, b.k(0))));
      r.status.set(b.select(valid, b.or(b.k(MAX_EXPONENT), sign), b.k(SLOW)));
    });
    return both(r);
  },
};

/** (a, b): whether a is less, whether they are equal with SLOW where they cannot be told so easily. */
export const COMPARE: Subroutine = {
  slot: 7,
  sem<V, X>(b: Builder<V, X>, [aSig, aSe, bSig, bSe]: readonly [V, V, V, V, V]) {
    const known = (sig: V, se: V): V => b.or(isOrdinary(b, sig, se), isInfinite(b, sig, se));
    const ea = exponentOf(b, aSe);
    const eb = exponentOf(b, bSe);
    const sameExponent = b.eq(ea, eb);
    const sameMagnitude = b.and(sameExponent, b.eq(aSig, bSig));
    const smaller = b.or(b.ltU(ea, eb), b.and(sameExponent, b.ltU(aSig, bSig)));
    const negative = b.ne(signOf(b, aSe), b.k(0));
    const differ = b.ne(signOf(b, b.xor(aSe, bSe)), b.k(0));
    const bothZero = b.eqz(b.or(aSig, bSig));
    const equal = b.or(bothZero, b.and(sameMagnitude, b.eqz(differ)));
    // With one sign: smaller in magnitude, for negative numbers larger. With two: the negative one, whatever the magnitudes.
    const lessAlike = b.xor(smaller, negative);
    const less = b.and(b.select(differ, negative, lessAlike), b.eqz(equal));
    return [less, b.select(b.and(known(aSig, aSe), known(bSig, bSe)), equal, b.k(SLOW))];
  },
};
