// Quotient, square root, remainder and scaling of x87 values: x87-round.ts says what such functions take and answer.

import type { Builder, Subroutine } from '../stage/builder.ts';
import {
  BIAS,
  both,
  exponentOf,
  infinities,
  isInfinite,
  isInRange,
  isOrdinary,
  MAX_EXPONENT,
  results,
  round,
  SIGN,
  SLOW,
  signOf,
  TOP,
} from './x87-round.ts';
import { C0, C1, C3 } from './x87-word.ts';

/** One digit of a division by v, whose top bit is set (Knuth, TAOCP Vol 2, 4.3.1, algorithm D): (u * 2^32 + next) / v. */
function digit<V>(b: Builder<V>, u: V, next: V, v: V): V {
  const vHi = b.shr(v, b.k(32));
  const vLo = b.zext(v, 4);
  const q = b.var(b.divU(u, vHi));
  const rest = b.var(b.sub(u, b.mul(q.get(), vHi)));
  // The first guess is too large by two at most.
  const correct = (then: () => void): void => {
    const digitFits = b.eqz(b.shr(q.get(), b.k(32)));
    const small = b.leU(b.mul(q.get(), vLo), b.or(b.shl(rest.get(), b.k(32)), next));
    b.if(b.eqz(b.or(b.shr(rest.get(), b.k(32)), b.and(digitFits, small))), () => {
      q.set(b.sub(q.get(), b.k(1)));
      rest.set(b.add(rest.get(), vHi));
      then();
    });
  };
  correct(() => correct(() => {}));
  return q.get();
}

/** high:low / v for high below v, whose top bit is set: quotient and rest. */
function divide128<V, X>(b: Builder<V, X>, high: V, low: V, v: V): readonly [quotient: V, rest: V] {
  const lowHi = b.shr(low, b.k(32));
  const lowLo = b.zext(low, 4);
  const q1 = digit(b, high, lowHi, v);
  const middle = b.sub(b.or(b.shl(high, b.k(32)), lowHi), b.mul(q1, v));
  const q0 = digit(b, middle, lowLo, v);
  const rest = b.sub(b.or(b.shl(middle, b.k(32)), lowLo), b.mul(q0, v));
  return [b.or(b.shl(q1, b.k(32)), q0), rest];
}

/** A tail for rounding of a quotient or root: `rest`, of which 2 * `rest` is compared with `whole`; never equal unless both are 0. */
const tailOf = <V>(b: Builder<V>, rest: V, aboveHalf: V): V => b.select(rest, b.select(aboveHalf, b.k(TOP | 1n), b.k(1)), b.k(0));

/** (a, b, word): a / b. Division by zero is refused. */
export const DIVIDE: Subroutine = {
  slot: 2,
  sem(b, [aSig, aSe, bSig, bSe, word]) {
    const r = results(b);
    const ordinary = b.and(isOrdinary(b, aSig, aSe), isOrdinary(b, bSig, bSe));
    const sign = signOf(b, b.xor(aSe, bSe));
    const finite = () => {
      b.if(
        aSig,
        () => {
          // The quotient of the significands is to have its top bit set: 2^63 * a / b, or 2^64 * a / b where a is less.
          const less = b.ltU(aSig, bSig);
          const high = b.select(less, aSig, b.shr(aSig, b.k(1)));
          const low = b.select(less, b.k(0), b.shl(aSig, b.k(63)));
          const [quotient, rest] = divide128(b, high, low, bSig);
          // Half of the divisor is no remainder: with b odd there is none, and an even one would give a quotient of 65 bits.
          const aboveHalf = b.ltU(b.sub(bSig, rest), rest);
          const e = b.sub(b.add(b.sub(exponentOf(b, aSe), exponentOf(b, bSe)), b.k(BIAS)), less);
          round(b, r, sign, e, quotient, tailOf(b, rest, aboveHalf), word);
        },
        () => r.status.set(sign),
      );
    };
    b.if(b.and(ordinary, b.ne(bSig, b.k(0))), finite, () => {
      // Infinity by infinity is invalid; a quotient is infinite or zero.
      const { first, second, usable } = infinities(b, aSig, aSe, bSig, bSe);
      r.sig.set(b.select(first, b.k(TOP), b.k(0)));
      const value = b.or(b.select(first, b.k(MAX_EXPONENT), b.k(0)), sign);
      r.status.set(b.select(b.and(usable, b.xor(first, second)), value, b.k(SLOW)));
    });
    return both(r);
  },
};

const doubleView = new DataView(new ArrayBuffer(8));
const double = (v: number): bigint => {
  doubleView.setFloat64(0, v);
  return doubleView.getBigUint64(0);
};

/** (a, word): the square root. */
export const SQUARE_ROOT: Subroutine = {
  slot: 3,
  sem<V, X>(b: Builder<V, X>, [aSig, aSe, word]: readonly [V, V, V, V, V]) {
    const r = results(b);
    const positive = b.eqz(signOf(b, aSe));
    b.if(b.eqz(b.or(aSig, exponentOf(b, aSe))), () => r.status.set(aSe));
    b.if(b.and(b.and(positive, isInRange(b, aSe)), b.ltS(aSig, b.k(0))), () => {
      // The root of n = hi:lo, a number of 127 or 128 bits, has 64.
      const odd = b.xor(b.and(aSe, b.k(1)), b.k(1));
      const hi = b.select(odd, aSig, b.shr(aSig, b.k(1)));
      const lo = b.select(odd, b.k(0), b.shl(aSig, b.k(63)));
      /** n - v^2, of 128 bits. */
      const rest = (v: V): readonly [V, V] => {
        const low = b.mul(v, v);
        return [b.sub(b.sub(hi, b.mulHighU(v, v)), b.ltU(lo, low)), b.sub(lo, low)];
      };
      // A root of 52 good bits in floating point, and one step of Newton's: what is missing is below 2^13.
      const { x } = b;
      const n = x.f64('mul', x.convert('f64.from.s64', b.shr(hi, b.k(1))), b.k(double(2)));
      const half = x.f64('mul', x.f64('sqrt', n), b.k(double(2 ** 31)));
      const first = b.shl(x.convert('s64.trunc.f64', half), b.k(1));
      const [restHi, restLo] = rest(first);
      const scaled = x.convert('f64.from.s64', b.or(b.shl(restHi, b.k(48)), b.shr(restLo, b.k(16))));
      const step = x.f64('div', x.f64('mul', scaled, b.k(double(2 ** 14))), half);
      const root = b.var(b.add(first, x.convert('s64.trunc.f64', x.convert('f64.floor', step))));
      const [h, l] = rest(root.get());
      const dHi = b.var(h);
      const dLo = b.var(l);
      // The step may have ended one beside it.
      b.if(b.ltS(dHi.get(), b.k(0)), () => {
        root.set(b.sub(root.get(), b.k(1)));
        const [h1, l1] = rest(root.get());
        dHi.set(h1);
        dLo.set(l1);
      });
      const twiceHi = b.shr(root.get(), b.k(63));
      const twiceLo = b.shl(root.get(), b.k(1));
      const more = b.or(b.ltU(twiceHi, dHi.get()), b.and(b.eq(twiceHi, dHi.get()), b.ltU(twiceLo, dLo.get())));
      b.if(more, () => {
        root.set(b.add(root.get(), b.k(1)));
        const [h1, l1] = rest(root.get());
        dHi.set(h1);
        dLo.set(l1);
      });
      const aboveHalf = b.or(b.ne(dHi.get(), b.k(0)), b.ltU(root.get(), dLo.get()));
      const tail = tailOf(b, b.or(dHi.get(), dLo.get()), aboveHalf);
      // Half of the unbiased exponent, rounded down.
      const e = b.shr(b.sub(b.add(aSe, b.k(BIAS)), odd), b.k(1));
      round(b, r, b.k(0), e, root.get(), tail, word);
    });
    return both(r);
  },
};

/** (a, b): a * 2^b, b rounded toward zero. */
export const SCALE: Subroutine = {
  slot: 8,
  sem(b, [aSig, aSe, bSig, bSe]) {
    const r = results(b);
    b.if(b.and(b.or(isOrdinary(b, aSig, aSe), isInfinite(b, aSig, aSe)), isOrdinary(b, bSig, bSe)), () => {
      const eb = exponentOf(b, bSe);
      const some = b.leU(b.k(BIAS), eb);
      const n = b.select(some, b.shr(bSig, b.sub(b.k(BIAS + 63), eb)), b.k(0));
      const e = exponentOf(b, aSe);
      const scaled = b.select(signOf(b, bSe), b.sub(e, n), b.add(e, n));
      const fits = b.and(isInRange(b, scaled), b.ltU(eb, b.k(BIAS + 16)));
      r.sig.set(aSig);
      // Zero and infinity stay what they are.
      r.status.set(b.select(isInRange(b, e), b.select(fits, b.or(scaled, signOf(b, aSe)), b.k(SLOW)), aSe));
    });
    return both(r);
  },
};

/** C0, C3 and C1 from bits 2, 1 and 0 of a quotient (SDM Vol 2A, FPREM). */
const quotientCodes = <V, X>(b: Builder<V, X>, q: V): V => {
  const code = (bit: number, flag: bigint): V => b.select(b.and(q, b.k(bit)), b.k(flag), b.k(0));
  return b.or(b.or(code(4, C0), code(2, C3)), code(1, C1));
};

/** (a, b, nearest): what a / b leaves, the quotient rounded toward zero or, if `nearest` is not zero, to nearest; and C0, C1 and C3. */
export const REMAINDER: Subroutine = {
  slot: 9,
  sem<V, X>(b: Builder<V, X>, [aSig, aSe, bSig, bSe, nearest]: readonly [V, V, V, V, V]) {
    const r = results(b);
    const ordinary = b.and(isOrdinary(b, aSig, aSe), isOrdinary(b, bSig, bSe));
    const distance = b.sub(exponentOf(b, aSe), exponentOf(b, bSe));
    b.if(b.and(b.and(ordinary, b.ne(bSig, b.k(0))), b.ltS(distance, b.k(64))), () => {
      const sign = b.var(signOf(b, aSe));
      const q = b.var(b.k(0));
      const rest = b.var(aSig);
      // rest * 2^(e - BIAS - 63) is what is left.
      const e = b.var(exponentOf(b, aSe));
      const turn = (whole: V): void => {
        q.set(b.add(q.get(), b.k(1)));
        rest.set(b.sub(whole, rest.get()));
        sign.set(b.xor(sign.get(), b.k(SIGN)));
      };
      b.if(
        b.leS(b.k(0), distance),
        () => {
          const high = b.shr(b.shr(aSig, b.k(1)), b.sub(b.k(63), distance));
          const [quotient, left] = divide128(b, high, b.shl(aSig, distance), bSig);
          q.set(quotient);
          rest.set(left);
          e.set(exponentOf(b, bSe));
          const other = b.sub(bSig, left);
          const above = b.or(b.ltU(other, left), b.and(b.eq(other, left), b.and(quotient, b.k(1))));
          b.if(b.and(b.ne(nearest, b.k(0)), above), () => turn(bSig));
        },
        () => {
          // Less than the divisor, but perhaps more than half of it.
          const above = b.and(b.eq(distance, b.k(-1)), b.ltU(bSig, aSig));
          b.if(b.and(b.ne(nearest, b.k(0)), above), () => turn(b.shl(bSig, b.k(1))));
        },
      );
      const n = b.clz(rest.get());
      const exponent = b.sub(e.get(), n);
      r.sig.set(b.shl(rest.get(), n));
      const value = b.select(rest.get(), b.select(isInRange(b, exponent), exponent, b.k(SLOW)), b.k(0));
      r.status.set(b.or(b.or(value, sign.get()), quotientCodes(b, q.get())));
    });
    return both(r);
  },
};
