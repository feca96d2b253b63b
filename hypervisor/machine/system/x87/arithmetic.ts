// Arithmetic on register values: add, subtract, multiply, divide, square root, remainder, scale, rounding, comparison. Each function
// answers the masked result and leaves the exceptions in env.flags; the unit decides what unmasked ones do (SDM Vol 1, 4.8.3.5, 8.5).

import type { Exact, F80, Kind } from './float80.ts';
import { BIAS, bitLength, exact, expOf, f80, INDEFINITE, infinity, isNaNKind, kindOf, quieted, signOf, withSign, zero } from './float80.ts';
import type { Env, Unrounded } from './round.ts';
import { EX, RC, roundAt, roundF80 } from './round.ts';

/** An invalid operation reports nothing else, not even a denormal operand. */
export function invalid(env: Env): F80 {
  env.flags = (env.flags & ~EX.DE) | EX.IE;
  return INDEFINITE;
}

/** NaN operands (SDM Vol 1, Table 4-7): a QNaN beats an SNaN, the larger significand wins; an SNaN or unsupported operand is invalid. */
export function propagate(a: F80, b: F80, env: Env): F80 | undefined {
  const ka = kindOf(a);
  const kb = kindOf(b);
  if (ka === 'unsupported' || kb === 'unsupported') return invalid(env);
  if (!isNaNKind(ka) && !isNaNKind(kb)) return undefined;
  env.flags &= ~EX.DE;
  if (ka === 'snan' || kb === 'snan') env.flags |= EX.IE;
  if (!isNaNKind(ka)) return quieted(b);
  if (!isNaNKind(kb)) return quieted(a);
  if (ka !== kb) return ka === 'qnan' ? a : b;
  if (a.sig !== b.sig) return quieted(a.sig > b.sig ? a : b);
  return quieted(signOf(a) === 0 ? a : b);
}

/** One operand: its NaN answer, or undefined. */
export function propagateOne(a: F80, env: Env): F80 | undefined {
  const k = kindOf(a);
  if (k === 'unsupported') return invalid(env);
  if (k === 'snan') env.flags |= EX.IE;
  return isNaNKind(k) ? quieted(a) : undefined;
}

const noteDenormal = (env: Env, ...kinds: Kind[]): void => {
  if (kinds.includes('denormal')) env.flags |= EX.DE;
};

/** Beyond this distance an addend is only a tail. */
const FAR = 140;

/** Sum of two nonzero exact values. */
function sum(x: Exact, y: Exact): Unrounded {
  const [big, small] = x.e + bitLength(x.m) >= y.e + bitLength(y.m) ? [x, y] : [y, x];
  const distance = big.e - small.e;
  if (distance > FAR) {
    const m = (big.m << BigInt(FAR)) + (big.sign === small.sign ? 1n : -1n);
    return { sign: big.sign, m, e: big.e - FAR, sticky: false };
  }
  const e = Math.min(x.e, y.e);
  const signed = (v: Exact) => (v.m << BigInt(v.e - e)) * (v.sign ? -1n : 1n);
  const total = signed(x) + signed(y);
  return { sign: total < 0n ? 1 : 0, m: total < 0n ? -total : total, e, sticky: false };
}

export function add(a: F80, b: F80, env: Env): F80 {
  const nan = propagate(a, b, env);
  if (nan) return nan;
  const ka = kindOf(a);
  const kb = kindOf(b);
  if (ka === 'infinity' && kb === 'infinity' && signOf(a) !== signOf(b)) return invalid(env);
  noteDenormal(env, ka, kb);
  if (ka === 'infinity') return a;
  if (kb === 'infinity') return b;
  // Exact zero sums are positive, but negative when rounding down (SDM Vol 1, 4.8.3.1).
  const zeroSign = env.rc === RC.down ? 1 : 0;
  if (ka === 'zero' && kb === 'zero') return zero(signOf(a) === signOf(b) ? signOf(a) : zeroSign);
  if (ka === 'zero') return roundF80({ ...exact(b), sticky: false }, env);
  if (kb === 'zero') return roundF80({ ...exact(a), sticky: false }, env);
  const s = sum(exact(a), exact(b));
  return s.m === 0n ? zero(zeroSign) : roundF80(s, env);
}

/** The sign of a NaN operand is not turned: only a number's. */
export const subtract = (a: F80, b: F80, env: Env): F80 => {
  const kb = kindOf(b);
  return add(a, isNaNKind(kb) || kb === 'unsupported' ? b : withSign(b, 1 - signOf(b)), env);
};

export function multiply(a: F80, b: F80, env: Env): F80 {
  const nan = propagate(a, b, env);
  if (nan) return nan;
  const ka = kindOf(a);
  const kb = kindOf(b);
  const sign = signOf(a) ^ signOf(b);
  if ((ka === 'infinity' && kb === 'zero') || (ka === 'zero' && kb === 'infinity')) return invalid(env);
  noteDenormal(env, ka, kb);
  if (ka === 'infinity' || kb === 'infinity') return infinity(sign);
  if (ka === 'zero' || kb === 'zero') return zero(sign);
  const x = exact(a);
  const y = exact(b);
  return roundF80({ sign, m: x.m * y.m, e: x.e + y.e, sticky: false }, env);
}

export function divide(a: F80, b: F80, env: Env): F80 {
  const nan = propagate(a, b, env);
  if (nan) return nan;
  const ka = kindOf(a);
  const kb = kindOf(b);
  const sign = signOf(a) ^ signOf(b);
  if ((ka === 'infinity' && kb === 'infinity') || (ka === 'zero' && kb === 'zero')) return invalid(env);
  if (ka === 'infinity') {
    noteDenormal(env, kb);
    return infinity(sign);
  }
  if (kb === 'zero') {
    // A division by zero reports no denormal operand, not even one that came from memory.
    env.flags = (env.flags & ~EX.DE) | EX.ZE;
    return infinity(sign);
  }
  noteDenormal(env, ka, kb);
  if (kb === 'infinity' || ka === 'zero') return zero(sign);
  const x = exact(a);
  const y = exact(b);
  // At least 66 quotient bits, whatever the lengths of the operands.
  const shift = 66 + Math.max(0, bitLength(y.m) - bitLength(x.m)) + 2;
  const n = x.m << BigInt(shift);
  const q = n / y.m;
  return roundF80({ sign, m: q, e: x.e - y.e - shift, sticky: q * y.m !== n }, env);
}

export function integerSqrt(n: bigint): bigint {
  if (n < 2n) return n;
  let x = 1n << BigInt((bitLength(n) + 1) >> 1);
  for (;;) {
    const y = (x + n / x) >> 1n;
    if (y >= x) return x;
    x = y;
  }
}

export function squareRoot(a: F80, env: Env): F80 {
  const nan = propagateOne(a, env);
  if (nan) return nan;
  const k = kindOf(a);
  if (k === 'zero') return a;
  if (signOf(a)) return invalid(env);
  noteDenormal(env, k);
  if (k === 'infinity') return a;
  const x = exact(a);
  // An even exponent, and enough bits for 66 in the root.
  const shift = 134 - bitLength(x.m) + ((x.e - 134 + bitLength(x.m)) & 1);
  const n = x.m << BigInt(shift);
  const root = integerSqrt(n);
  return roundF80({ sign: 0, m: root, e: (x.e - shift) / 2, sticky: root * root !== n }, env);
}

/** -1, 0, 1, or undefined when unordered. `quiet`: a QNaN is not invalid (FUCOM). */
export function compare(a: F80, b: F80, quiet: boolean, env: Env): -1 | 0 | 1 | undefined {
  const ka = kindOf(a);
  const kb = kindOf(b);
  const bad = (k: Kind) => k === 'snan' || k === 'unsupported' || (!quiet && k === 'qnan');
  if (bad(ka) || bad(kb)) invalid(env);
  if (bad(ka) || bad(kb) || isNaNKind(ka) || isNaNKind(kb)) {
    env.flags &= ~EX.DE;
    return undefined;
  }
  noteDenormal(env, ka, kb);
  if (ka === 'zero' && kb === 'zero') return 0;
  const rank = (v: F80, k: Kind) => {
    // Denormals have the exponent 1 too: a pseudo-denormal may be larger than a normal number.
    const magnitude = k === 'zero' ? 0n : (BigInt(Math.max(expOf(v), 1)) << 64n) | v.sig;
    return signOf(v) ? -magnitude : magnitude;
  };
  const x = rank(a, ka);
  const y = rank(b, kb);
  return x < y ? -1 : x > y ? 1 : 0;
}

/** FRNDINT. */
export function roundToInteger(a: F80, env: Env): F80 {
  const nan = propagateOne(a, env);
  if (nan) return nan;
  const k = kindOf(a);
  if (k === 'infinity' || k === 'zero') return a;
  noteDenormal(env, k);
  const x = exact(a);
  if (x.e >= 0) return a;
  const r = roundAt({ ...x, sticky: false }, 0, env.rc);
  if (r.inexact) {
    env.flags |= EX.PE;
    env.up = r.up;
  }
  return r.r === 0n ? zero(x.sign) : fromInteger(r.r, x.sign);
}

/** A positive integer below 2^64, exactly. */
export function fromInteger(n: bigint, sign: number): F80 {
  if (n === 0n) return zero(sign);
  const length = bitLength(n);
  return f80((sign << 15) | (BIAS + length - 1), n << BigInt(64 - length));
}

/** FSCALE: a * 2^trunc(b). Precision control does not apply. */
export function scale(a: F80, b: F80, env: Env): F80 {
  const nan = propagate(a, b, env);
  if (nan) return nan;
  const ka = kindOf(a);
  const kb = kindOf(b);
  if (kb === 'infinity') {
    const grows = signOf(b) === 0;
    if ((ka === 'zero' && grows) || (ka === 'infinity' && !grows)) return invalid(env);
    noteDenormal(env, ka);
    return grows ? (ka === 'zero' ? a : infinity(signOf(a))) : zero(signOf(a));
  }
  noteDenormal(env, ka, kb);
  if (ka === 'infinity' || ka === 'zero') return a;
  const y = exact(b);
  // More than 2^16 either way overflows or underflows whatever a is.
  const n = y.m === 0n ? 0n : y.e >= 0 ? 0x20000n : y.m >> BigInt(Math.min(-y.e, 128));
  const by = Number(n > 0x20000n ? 0x20000n : n) * (y.sign ? -1 : 1);
  const x = exact(a);
  return roundF80({ ...x, e: x.e + by, sticky: false }, env, 64);
}

/** FXTRACT: [exponent, significand]. */
export function extract(a: F80, env: Env): [F80, F80] {
  const nan = propagateOne(a, env);
  if (nan) return [nan, nan];
  const k = kindOf(a);
  if (k === 'infinity') return [infinity(0), a];
  if (k === 'zero') {
    env.flags |= EX.ZE;
    return [infinity(1), a];
  }
  noteDenormal(env, k);
  const x = exact(a);
  const length = bitLength(x.m);
  const e = x.e + length - 1;
  return [fromInteger(BigInt(Math.abs(e)), e < 0 ? 1 : 0), f80((x.sign << 15) | BIAS, x.m << BigInt(64 - length))];
}

export interface Remainder {
  readonly value: F80;
  /** Low bits of the quotient when it is complete; undefined where the operands have no remainder. */
  readonly quotient: number | undefined;
  readonly complete: boolean;
}

/** FPREM (truncating) and FPREM1 (to nearest even, as IEEE 754 remainder). */
export function remainder(a: F80, b: F80, nearest: boolean, env: Env): Remainder {
  // An operand that is its own remainder: a pseudo-denormal comes back as the normal number that it is, a denormal underflows unmasked.
  const done = (v: F80): Remainder => ({ value: roundF80({ ...exact(v), sticky: false }, env, 64), quotient: 0, complete: true });
  const none = (value: F80): Remainder => ({ value, quotient: undefined, complete: true });
  const nan = propagate(a, b, env);
  if (nan) return none(nan);
  const ka = kindOf(a);
  const kb = kindOf(b);
  if (ka === 'infinity' || kb === 'zero') return none(invalid(env));
  noteDenormal(env, ka, kb);
  if (ka === 'zero' || kb === 'infinity') return done(a);
  const x = exact(a);
  const y = exact(b);
  const distance = x.e + bitLength(x.m) - (y.e + bitLength(y.m));
  if (distance < 0 && !(nearest && distance === -1)) return done(a);
  const e = Math.min(x.e, y.e);
  const n = x.m << BigInt(x.e - e);
  const d = y.m << BigInt(y.e - e);
  if (distance >= 64) {
    // Only some of the quotient at once: bits that bring the distance down by 32 to 63 (SDM Vol 2A, FPREM).
    const by = BigInt(distance - ((distance & 31) | 32));
    const rest = n % (d << by);
    return { value: roundF80({ sign: x.sign, m: rest, e, sticky: false }, env, 64), quotient: 0, complete: false };
  }
  let q = n / d;
  let rest = n - q * d;
  let { sign } = x;
  if (nearest && (2n * rest > d || (2n * rest === d && q & 1n))) {
    q += 1n;
    rest = d - rest;
    sign ^= 1;
  }
  return {
    value: roundF80({ sign: rest === 0n ? x.sign : sign, m: rest, e, sticky: false }, env, 64),
    quotient: Number(q & 7n),
    complete: true,
  };
}
