// SSE arithmetic on patterns, exactly: results, and the exceptions that come of them (SDM Vol 1, 11.5.2 and 4.8.3.5).

import {
  bitLength,
  type Exact,
  exact,
  type Format,
  isDenormal,
  isInfinite,
  isNan,
  isNegative,
  isSignaling,
  isZero,
  magnitude,
  round,
  roundAt,
  signed,
} from './format.ts';
import { DOWN, FLAG, type FloatEnv, type Rounding } from './mxcsr.ts';

/** DAZ: denormal operands are zeros, and no exception. */
const seen = (env: FloatEnv, f: Format, v: bigint): bigint => (env.denormalsAreZero && isDenormal(f, v) ? v & f.sign : v);
const invalid = (env: FloatEnv, f: Format): bigint => {
  env.raise(FLAG.IE);
  return f.indefinite;
};
const noteDenormal = (env: FloatEnv, f: Format, ...values: readonly bigint[]): void => {
  if (values.some((v) => isDenormal(f, v))) env.raise(FLAG.DE);
};

/** The first operand's NaN, else the second's, made quiet (SDM Vol 1, Table 4-7: SSE takes the first source even before a signaling second). */
function propagate(env: FloatEnv, f: Format, a: bigint, b: bigint): bigint | undefined {
  if (!isNan(f, a) && !isNan(f, b)) return undefined;
  if (isSignaling(f, a) || isSignaling(f, b)) env.raise(FLAG.IE);
  return (isNan(f, a) ? a : b) | f.quiet;
}

export type Binary = (env: FloatEnv, f: Format, a: bigint, b: bigint) => bigint;

export const add: Binary = (env, f, first, second) => {
  const a = seen(env, f, first);
  const b = seen(env, f, second);
  const nan = propagate(env, f, a, b);
  if (nan !== undefined) return nan;
  if (isInfinite(f, a) || isInfinite(f, b)) {
    if (isInfinite(f, a) && isInfinite(f, b) && a !== b) return invalid(env, f);
    noteDenormal(env, f, a, b);
    return isInfinite(f, a) ? a : b;
  }
  noteDenormal(env, f, a, b);
  const x = exact(f, a);
  const y = exact(f, b);
  const e = Math.min(x.e, y.e);
  const term = (v: Exact): bigint => (v.negative ? -v.m : v.m) << BigInt(v.e - e);
  const sum = term(x) + term(y);
  // A sum that cancels is +0, rounding down -0; of zeros with one sign it has that sign.
  if (sum === 0n) return signed(f, x.negative === y.negative ? x.negative : env.rounding === DOWN, 0n);
  return round(env, f, { negative: sum < 0n, m: sum < 0n ? -sum : sum, e });
};
export const sub: Binary = (env, f, a, b) => add(env, f, a, isNan(f, b) ? b : b ^ f.sign);

export const mul: Binary = (env, f, first, second) => {
  const a = seen(env, f, first);
  const b = seen(env, f, second);
  const nan = propagate(env, f, a, b);
  if (nan !== undefined) return nan;
  const negative = isNegative(f, a) !== isNegative(f, b);
  if (isInfinite(f, a) || isInfinite(f, b)) {
    if (isZero(f, a) || isZero(f, b)) return invalid(env, f);
    noteDenormal(env, f, a, b);
    return signed(f, negative, f.infinity);
  }
  noteDenormal(env, f, a, b);
  if (isZero(f, a) || isZero(f, b)) return signed(f, negative, 0n);
  const x = exact(f, a);
  const y = exact(f, b);
  return round(env, f, { negative, m: x.m * y.m, e: x.e + y.e });
};

export const div: Binary = (env, f, first, second) => {
  const a = seen(env, f, first);
  const b = seen(env, f, second);
  const nan = propagate(env, f, a, b);
  if (nan !== undefined) return nan;
  const negative = isNegative(f, a) !== isNegative(f, b);
  if (isInfinite(f, a) ? isInfinite(f, b) : isZero(f, a) && isZero(f, b)) return invalid(env, f);
  if (isZero(f, b) && !isInfinite(f, a)) {
    // No DE even if the dividend is denormal: it comes last (SDM Vol 1, 11.5.2; a host has been asked).
    env.raise(FLAG.ZE);
    return signed(f, negative, f.infinity);
  }
  noteDenormal(env, f, a, b);
  if (isInfinite(f, a)) return signed(f, negative, f.infinity);
  if (isInfinite(f, b) || isZero(f, a)) return signed(f, negative, 0n);
  const x = exact(f, a);
  const y = exact(f, b);
  // Enough quotient bits for the rounding, whatever the lengths.
  const shift = f.precision + 2 + Math.max(0, bitLength(y.m) - bitLength(x.m));
  const n = x.m << BigInt(shift);
  return round(env, f, { negative, m: n / y.m, e: x.e - y.e - shift, sticky: n % y.m !== 0n });
};

export type Unary = (env: FloatEnv, f: Format, v: bigint) => bigint;

export const sqrt: Unary = (env, f, source) => {
  const v = seen(env, f, source);
  if (isNan(f, v)) return propagate(env, f, v, v) ?? v;
  if (isZero(f, v)) return v;
  if (isNegative(f, v)) return invalid(env, f);
  noteDenormal(env, f, v);
  if (isInfinite(f, v)) return v;
  const x = exact(f, v);
  let shift = 2 * (f.precision + 2) - bitLength(x.m);
  if ((x.e - shift) & 1) shift++;
  const m = x.m << BigInt(shift);
  const root = squareRoot(m);
  return round(env, f, { negative: false, m: root, e: (x.e - shift) / 2, sticky: root * root !== m });
};

/** Largest integer whose square is not above m. */
function squareRoot(m: bigint): bigint {
  let r = 1n << BigInt(Math.ceil(bitLength(m) / 2));
  for (;;) {
    const next = (r + m / r) >> 1n;
    if (next >= r) return r;
    r = next;
  }
}

/** -1, 0, 1 for less, equal, greater; undefined for unordered. Any NaN is invalid if `signaling`, else a signaling one. */
export function compare(env: FloatEnv, f: Format, first: bigint, second: bigint, signaling: boolean): -1 | 0 | 1 | undefined {
  const a = seen(env, f, first);
  const b = seen(env, f, second);
  if (isNan(f, a) || isNan(f, b)) {
    if (signaling || isSignaling(f, a) || isSignaling(f, b)) env.raise(FLAG.IE);
    return undefined;
  }
  noteDenormal(env, f, a, b);
  const value = (v: bigint): bigint => (isNegative(f, v) ? -magnitude(f, v) : magnitude(f, v));
  const [x, y] = [value(a), value(b)];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** MIN and MAX: the second operand where one is a NaN, or both are zeros (SDM Vol 2B, MINPS). */
const extreme =
  (want: -1 | 1): Binary =>
  (env, f, a, b) => {
    const order = compare(env, f, a, b, true);
    const [x, y] = [seen(env, f, a), seen(env, f, b)];
    return order === want ? x : y;
  };
export const min: Binary = extreme(-1);
export const max: Binary = extreme(1);

/** To the other format. */
export function convert(env: FloatEnv, from: Format, to: Format, source: bigint): bigint {
  const v = seen(env, from, source);
  const negative = isNegative(from, v);
  if (isNan(from, v)) {
    if (isSignaling(from, v)) env.raise(FLAG.IE);
    // The payload's upper bits stay the upper ones.
    const shift = BigInt(to.precision - from.precision);
    const m = magnitude(from, v) & (from.quiet - 1n);
    return signed(to, negative, to.infinity | to.quiet | (shift > 0n ? m << shift : m >> -shift));
  }
  if (isInfinite(from, v)) return signed(to, negative, to.infinity);
  if (isZero(from, v)) return signed(to, negative, 0n);
  noteDenormal(env, from, v);
  return round(env, to, exact(from, v));
}

/** To a signed integer of `bits` bits, as its pattern; the integer indefinite where it does not fit. Denormals raise nothing but PE. */
export function toInteger(env: FloatEnv, f: Format, source: bigint, bits: 32 | 64, rounding: Rounding): bigint {
  const v = seen(env, f, source);
  const indefinite = 1n << BigInt(bits - 1);
  if (isNan(f, v) || isInfinite(f, v)) {
    env.raise(FLAG.IE);
    return indefinite;
  }
  const { r, inexact } = roundAt(exact(f, v), 0, rounding);
  const n = isNegative(f, v) ? -r : r;
  if (BigInt.asIntN(bits, n) !== n) {
    env.raise(FLAG.IE);
    return indefinite;
  }
  if (inexact) env.raise(FLAG.PE);
  return BigInt.asUintN(bits, n);
}

export function fromInteger(env: FloatEnv, f: Format, n: bigint): bigint {
  return n === 0n ? 0n : round(env, f, { negative: n < 0n, m: n < 0n ? -n : n, e: 0 });
}

/** To an integral value of the same format (ROUNDPS and its kind); `quietly`: without raising PE. A zero keeps the sign. */
export function toIntegral(env: FloatEnv, f: Format, source: bigint, rounding: Rounding, quietly: boolean): bigint {
  const v = seen(env, f, source);
  if (isNan(f, v)) return propagate(env, f, v, v) ?? v;
  if (isInfinite(f, v) || isZero(f, v)) return v;
  const x = exact(f, v);
  if (x.e >= 0) return v;
  const { r, inexact } = roundAt(x, 0, rounding);
  if (inexact && !quietly) env.raise(FLAG.PE);
  if (r === 0n) return v & f.sign;
  // An integer below 2^precision: exact, so nothing is raised.
  return round(env, f, { negative: x.negative, m: r, e: 0 });
}
