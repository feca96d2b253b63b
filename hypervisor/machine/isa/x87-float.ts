// Double extended-precision arithmetic (SDM Vol 1, 4.2.2, 4.8) on ordinary operands, staged: pure functions on significands and
// exponents that the handlers of x87 instructions call. Rounding control and precision control are followed; NaNs, denormals, and what
// over- or underflows are refused, which is the second result's SLOW bit: TypeScript (system/x87/) then does the instruction.
//
// A value is its significand and its sign and exponent word (15 bits of biased exponent, sign in bit 15). The second result holds the
// sign and exponent word and, where they are in the CPU's x87 word (x87-stack.ts), PE and C1.

import type { Builder, Subroutine, Var } from '../stage/builder.ts';
import { C1, PE, PRECISION_SHIFT, ROUNDING_SHIFT } from './x87-word.ts';

/** The operation is not one of these functions' cases. */
export const SLOW = 1n << 63n;

const MAX_EXPONENT = 0x7fff;
const BIAS = 0x3fff;
const SIGN = 0x8000;
const TOP = 1n << 63n;
/** Rounding to nearest, of all 64 bits, in the control word's two fields; the mask of both. */
const ORDINARY = 0x300;
const CONTROLS = 0xf00;
const RC = { down: 1, up: 2 } as const;

const exponentOf = <V>(b: Builder<V>, se: V): V => b.and(se, b.k(MAX_EXPONENT));
const signOf = <V>(b: Builder<V>, se: V): V => b.and(se, b.k(SIGN));
const roundingControl = <V>(b: Builder<V>, word: V): V => b.and(b.shr(word, b.k(ROUNDING_SHIFT)), b.k(3));
const isInRange = <V>(b: Builder<V>, exponent: V): V => b.ltU(b.sub(exponent, b.k(1)), b.k(MAX_EXPONENT - 1));

/** Zero or normal; 0 or 1. */
const isOrdinary = <V>(b: Builder<V>, sig: V, se: V): V => {
  const e = exponentOf(b, se);
  return b.or(b.and(isInRange(b, e), b.ltS(sig, b.k(0))), b.eqz(b.or(e, sig)));
};

interface Result<V> {
  readonly sig: Var<V>;
  readonly status: Var<V>;
}
const results = <V>(b: Builder<V>): Result<V> => ({ sig: b.var(b.k(0)), status: b.var(b.k(SLOW)) });
const both = <V>(r: Result<V>): readonly [V, V] => [r.sig.get(), r.status.get()];

/** Whether a value cut between two bits goes up in magnitude: `tail` is what was cut off, as a fraction of 2^64; `odd` the last bit kept. */
function roundsUp<V>(b: Builder<V>, word: V, sign: V, odd: V, tail: V): V {
  const rc = roundingControl(b, word);
  const half = b.shr(tail, b.k(63));
  const nearest = b.and(half, b.or(b.ne(b.shl(tail, b.k(1)), b.k(0)), odd));
  const away = b.eq(rc, b.select(sign, b.k(RC.down), b.k(RC.up)));
  return b.select(rc, b.and(away, b.ne(tail, b.k(0))), nearest);
}

const inexact = <V>(b: Builder<V>, tail: V, up: V): V => b.or(b.select(tail, b.k(PE), b.k(0)), b.select(up, b.k(C1), b.k(0)));

/** Rounds hi:lo * 2^(exponent - BIAS - 127), the top bit of hi set, as the control word asks, and puts it together. */
function round<V>(b: Builder<V>, r: Result<V>, sign: V, exponent: V, hi: V, lo: V, word: V): void {
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

/** (a, b, word): a + b. */
export const ADD: Subroutine = {
  slot: 0,
  sem(b, [aSig, aSe, bSig, bSe, word]) {
    const r = results(b);
    b.if(b.and(isOrdinary(b, aSig, aSe), isOrdinary(b, bSig, bSe)), () => {
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
    });
    return both(r);
  },
};

/** (a, b, word): a * b. */
export const MULTIPLY: Subroutine = {
  slot: 1,
  sem(b, [aSig, aSe, bSig, bSe, word]) {
    const r = results(b);
    b.if(b.and(isOrdinary(b, aSig, aSe), isOrdinary(b, bSig, bSe)), () => {
      const sign = signOf(b, b.xor(aSe, bSe));
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
    });
    return both(r);
  },
};

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

/** A tail for rounding of a quotient or root: `rest`, of which 2 * `rest` is compared with `whole`; never equal unless both are 0. */
const tailOf = <V>(b: Builder<V>, rest: V, aboveHalf: V): V => b.select(rest, b.select(aboveHalf, b.k(TOP | 1n), b.k(1)), b.k(0));

/** (a, b, word): a / b. Division by zero is refused. */
export const DIVIDE: Subroutine = {
  slot: 2,
  sem(b, [aSig, aSe, bSig, bSe, word]) {
    const r = results(b);
    const ordinary = b.and(isOrdinary(b, aSig, aSe), isOrdinary(b, bSig, bSe));
    b.if(b.and(ordinary, b.ne(bSig, b.k(0))), () => {
      const sign = signOf(b, b.xor(aSe, bSe));
      b.if(
        aSig,
        () => {
          // The quotient of the significands is to have its top bit set: 2^63 * a / b, or 2^64 * a / b where a is less.
          const less = b.ltU(aSig, bSig);
          const high = b.select(less, aSig, b.shr(aSig, b.k(1)));
          const low = b.select(less, b.k(0), b.shl(aSig, b.k(63)));
          const nextHi = b.shr(low, b.k(32));
          const q1 = digit(b, high, nextHi, bSig);
          const middle = b.sub(b.or(b.shl(high, b.k(32)), nextHi), b.mul(q1, bSig));
          const q0 = digit(b, middle, b.k(0), bSig);
          const rest = b.sub(b.shl(middle, b.k(32)), b.mul(q0, bSig));
          const quotient = b.or(b.shl(q1, b.k(32)), q0);
          // Half of the divisor is no remainder: with b odd there is none, and an even one would give a quotient of 65 bits.
          const aboveHalf = b.ltU(b.sub(bSig, rest), rest);
          const e = b.sub(b.add(b.sub(exponentOf(b, aSe), exponentOf(b, bSe)), b.k(BIAS)), less);
          round(b, r, sign, e, quotient, tailOf(b, rest, aboveHalf), word);
        },
        () => r.status.set(sign),
      );
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

/** (a, b): whether a is less, whether they are equal with SLOW where they cannot be told so easily. */
export const COMPARE: Subroutine = {
  slot: 7,
  sem<V, X>(b: Builder<V, X>, [aSig, aSe, bSig, bSe]: readonly [V, V, V, V, V]) {
    const known = (sig: V, se: V): V =>
      b.or(isOrdinary(b, sig, se), b.and(b.eq(exponentOf(b, se), b.k(MAX_EXPONENT)), b.eq(sig, b.k(TOP))));
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

export const SUBROUTINES: readonly Subroutine[] = [ADD, MULTIPLY, DIVIDE, SQUARE_ROOT, ROUND_TO_INTEGER, TO_SINGLE, TO_DOUBLE, COMPARE];
