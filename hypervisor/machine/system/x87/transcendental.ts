// F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS (SDM Vol 1, 8.3.7 to 8.3.10), computed in fixed point with far more bits
// than the result keeps, then rounded once. Processors promise an error below one unit in the last place; the correctly rounded answer is
// within that, though not always bit for bit what a given one returns. Sine, cosine and tangent reduce by the 66-bit pi of Intel's CPUs.

import { divide, integerSqrt, invalid, multiply, propagate, propagateOne } from './arithmetic.ts';
import type { Exact, F80 } from './float80.ts';
import { BIAS, bitLength, exact, expOf, f80, INTEGER_BIT, infinity, kindOf, ONE, signOf, withSign, zero } from './float80.ts';
import type { Env } from './round.ts';
import { EX, roundF80 } from './round.ts';

/** Fractional bits of the fixed-point numbers. */
const P = 288;
const UNIT = 1n << BigInt(P);
const fmul = (a: bigint, b: bigint): bigint => (a * b) >> BigInt(P);
const fdiv = (a: bigint, b: bigint): bigint => (a << BigInt(P)) / b;
/** Below this exponent the first term of each series is the answer. */
const TINY = -70;

const fixed = (x: Exact): bigint => {
  const shift = x.e + P;
  const m = shift >= 0 ? x.m << BigInt(shift) : x.m >> BigInt(-shift);
  return x.sign ? -m : m;
};
const exponentOf = (a: F80): number => {
  const x = exact(a);
  return x.e + bitLength(x.m) - 1;
};

/** A fixed-point result, inexact, as a register value. `scale` moves its binary point. */
const rounded = (v: bigint, env: Env): F80 => roundF80({ sign: v < 0n ? 1 : 0, m: v < 0n ? -v : v, e: -P, sticky: true }, env, 64);

/** z + z^3/3 + z^5/5 ... (sign +1), or with alternating signs (-1): artanh and arctan. */
function oddSeries(z: bigint, alternate: boolean): bigint {
  const zz = fmul(z, z);
  let power = z;
  let total = z;
  for (let n = 3n; power !== 0n && power !== -1n; n += 2n) {
    power = fmul(power, zz);
    if (alternate) power = -power;
    total += power / n;
  }
  return total;
}
/** ln m for m near 1, as 2 artanh((m - 1) / (m + 1)). */
const ln = (m: bigint): bigint => 2n * oddSeries(fdiv(m - UNIT, m + UNIT), false);

const LN2 = (() => 2n * oddSeries(UNIT / 3n, false))();
/** Machin: pi = 16 arctan(1/5) - 4 arctan(1/239). */
const PI = (() => 16n * oddSeries(UNIT / 5n, true) - 4n * oddSeries(UNIT / 239n, true))();
const SQRT2 = integerSqrt(UNIT * UNIT * 2n);
/** Half of Intel's 66-bit pi. */
const HALF_PI_66 = 0xc90fdaa22168c234cn << BigInt(P - 67);

/** e^t for |t| below 1, by halving and squaring. */
function exp(t: bigint): bigint {
  const HALVINGS = 8n;
  const s = t >> HALVINGS;
  let term = UNIT;
  let total = UNIT;
  for (let n = 1n; term !== 0n && term !== -1n; n++) {
    term = fmul(term, s) / n;
    total += term;
  }
  for (let i = 0n; i < HALVINGS; i++) total = fmul(total, total);
  return total;
}

const noteDenormal = (a: F80, env: Env): void => {
  if (kindOf(a) === 'denormal') env.flags |= EX.DE;
};
/** Runs an operation that is to round to 64 bits, whatever precision control says. */
function wide(env: Env, op: (e: Env) => F80): F80 {
  const e: Env = { ...env, precision: 64 };
  const v = op(e);
  env.flags |= e.flags;
  env.up = e.up;
  return v;
}
const LN2_F80 = f80(BIAS - 1, 0xb17217f7d1cf79acn);
const LOG2E_F80 = f80(BIAS, 0xb8aa3b295c17f0bcn);

/** 2^a - 1; the manual defines it for |a| <= 1, outside the operand comes back. */
export function exp2Minus1(a: F80, env: Env): F80 {
  const nan = propagateOne(a, env);
  if (nan) return nan;
  const k = kindOf(a);
  if (k === 'zero') return a;
  if (k === 'infinity') return signOf(a) ? withSign(ONE, 1) : a;
  noteDenormal(a, env);
  const e = exponentOf(a);
  if (e < TINY) return wide(env, (w) => multiply(a, LN2_F80, w));
  if (e > 0 || (e === 0 && a.sig !== INTEGER_BIT)) {
    env.flags |= EX.PE;
    return a;
  }
  if (e === 0) return signOf(a) ? f80(0x8000 | (BIAS - 1), INTEGER_BIT) : a;
  return rounded(exp(fmul(fixed(exact(a)), LN2)) - UNIT, env);
}

/** log2 of a positive number m * 2^e, fixed point. */
function log2(value: bigint, e: number): bigint {
  const length = bitLength(value);
  let k = e + length - 1;
  const shift = P - length + 1;
  let m = shift >= 0 ? value << BigInt(shift) : value >> BigInt(-shift);
  if (m > SQRT2) {
    m >>= 1n;
    k++;
  }
  return (BigInt(k) << BigInt(P)) + fdiv(ln(m), LN2);
}

/** Fixed-point value times a register value, rounded once. */
const timesFixed = (y: F80, v: bigint, env: Env): F80 => {
  const x = exact(y);
  const sign = x.sign ^ (v < 0n ? 1 : 0);
  return roundF80({ sign, m: x.m * (v < 0n ? -v : v), e: x.e - P, sticky: true }, env, 64);
};

/** y * log2(x) (SDM Vol 2A, FYL2X table). */
export function yLog2X(y: F80, x: F80, env: Env): F80 {
  const nan = propagate(x, y, env);
  if (nan) return nan;
  const kx = kindOf(x);
  const ky = kindOf(y);
  const sy = signOf(y);
  if (kx === 'zero') {
    if (ky === 'zero') return invalid(env);
    if (ky !== 'infinity') env.flags |= EX.ZE;
    return infinity(1 - sy);
  }
  if (signOf(x)) return invalid(env);
  const isOne = x.se === ONE.se && x.sig === ONE.sig;
  const below = expOf(x) < BIAS;
  if (kx === 'infinity') return ky === 'zero' ? invalid(env) : infinity(sy);
  if (ky === 'infinity') return isOne ? invalid(env) : infinity(below ? 1 - sy : sy);
  noteDenormal(x, env);
  noteDenormal(y, env);
  if (isOne) return zero(sy);
  if (ky === 'zero') return zero(below ? 1 - sy : sy);
  return timesFixed(y, log2(x.sig, exact(x).e), env);
}

/** y * log2(x + 1), for x near 0. */
export function yLog2XPlus1(y: F80, x: F80, env: Env): F80 {
  const nan = propagate(x, y, env);
  if (nan) return nan;
  const kx = kindOf(x);
  const ky = kindOf(y);
  const sign = signOf(x) ^ signOf(y);
  if (kx === 'infinity') return signOf(x) || ky === 'zero' ? invalid(env) : infinity(signOf(y));
  if (ky === 'infinity') return kx === 'zero' ? invalid(env) : infinity(sign);
  noteDenormal(x, env);
  noteDenormal(y, env);
  if (kx === 'zero' || ky === 'zero') return zero(sign);
  const e = exponentOf(x);
  if (e < TINY) return wide(env, (w) => multiply(multiply(x, LOG2E_F80, { ...w, flags: 0, masks: 0x3f }), y, w));
  // The manual leaves results outside |x| < 1 - sqrt(1/2) undefined: below -1 the operand comes back.
  if (e >= 0 && signOf(x)) {
    env.flags |= EX.PE;
    return x;
  }
  if (e >= 0) {
    // Far above 1 the 1 is lost below the last bit.
    const { m, e: at } = exact(x);
    return timesFixed(y, at > P ? log2(m, at) : log2(fixed(exact(x)) + UNIT, -P), env);
  }
  const v = fixed(exact(x));
  // Near -1 the series below would not end.
  if (e >= -2) return timesFixed(y, log2(UNIT + v, -P), env);
  return timesFixed(y, fdiv(2n * oddSeries(fdiv(v, 2n * UNIT + v), false), LN2), env);
}

/** arctan of a fixed-point number in [0, 1]. */
function atan(t: bigint): bigint {
  // Halving the angle thrice makes the series short.
  let z = t;
  for (let i = 0; i < 3; i++) z = fdiv(z, UNIT + integerSqrt(UNIT * UNIT + z * z));
  return oddSeries(z, true) << 3n;
}

/** Angle of the point (x, y) (SDM Vol 2A, FPATAN table). */
export function arctan2(y: F80, x: F80, env: Env): F80 {
  const nan = propagate(x, y, env);
  if (nan) return nan;
  const kx = kindOf(x);
  const ky = kindOf(y);
  const sy = signOf(y);
  const signed = (v: bigint) => rounded(sy ? -v : v, env);
  if (ky === 'infinity') return signed(kx === 'infinity' ? (signOf(x) ? (3n * PI) / 4n : PI / 4n) : PI / 2n);
  if (kx === 'infinity' || ky === 'zero') return signOf(x) ? signed(PI) : zero(sy);
  if (kx === 'zero') return signed(PI / 2n);
  noteDenormal(x, env);
  noteDenormal(y, env);
  const ratio = exponentOf(y) - exponentOf(x);
  if (ratio > 80) return signed(PI / 2n);
  if (ratio < TINY) {
    if (signOf(x)) return signed(PI);
    const q = wide(env, (w) => divide(y, x, w));
    env.flags |= EX.PE;
    return q;
  }
  const a = exact(y);
  const b = exact(x);
  const quotient = (n: Exact, d: Exact) => {
    const shift = P + n.e - d.e;
    return shift >= 0 ? (n.m << BigInt(shift)) / d.m : n.m / (d.m << BigInt(-shift));
  };
  const t = quotient(a, b);
  const angle = t <= UNIT ? atan(t) : PI / 2n - atan(quotient(b, a));
  return signed(signOf(x) ? PI - angle : angle);
}

/** sin and cos of a fixed-point angle of at most pi/4 in magnitude. */
function sinCos(r: bigint): [bigint, bigint] {
  const rr = fmul(r, r);
  const series = (first: bigint, start: bigint) => {
    let term = first;
    let total = first;
    for (let n = start; term !== 0n && term !== -1n; n += 2n) {
      term = -fmul(term, rr) / (n * (n + 1n));
      total += term;
    }
    return total;
  };
  return [series(r, 2n), series(UNIT, 1n)];
}

export interface SineCosine {
  readonly sin: bigint;
  readonly cos: bigint;
}

/** Sine and cosine, fixed point; for an operand of at least TINY and below 2^63. */
function reduceAndCompute(a: F80): SineCosine {
  const x = fixed(exact(a));
  const magnitude = x < 0n ? -x : x;
  const n = (magnitude + HALF_PI_66 / 2n) / HALF_PI_66;
  const r = magnitude - n * HALF_PI_66;
  const [s, c] = sinCos(r);
  const quadrant = Number(n & 3n);
  const sin = [s, c, -s, -c][quadrant]!;
  const cos = [c, -s, -c, s][quadrant]!;
  return { sin: x < 0n ? -sin : sin, cos };
}

type Trigonometric = 'sin' | 'cos' | 'tan';

/** 'range' when |a| is 2^63 or more: C2 is set and the operand stays. */
export function trigonometric(what: Trigonometric, a: F80, env: Env): F80 | 'range' {
  const nan = propagateOne(a, env);
  if (nan) return nan;
  const k = kindOf(a);
  if (k === 'infinity') return invalid(env);
  if (k === 'zero') return what === 'cos' ? ONE : a;
  noteDenormal(a, env);
  const e = exponentOf(a);
  if (e >= 63) return 'range';
  if (e < TINY) {
    if (what === 'cos') return rounded(UNIT - 1n, env);
    // The operand, the binary point of a pseudo-denormal put right; a true denormal underflows.
    const { sign, m, e: at } = exact(a);
    env.flags |= EX.PE;
    if (m < INTEGER_BIT) env.flags |= EX.UE;
    return roundF80({ sign, m, e: at, sticky: false }, { ...env, flags: 0, masks: 0x3f }, 64);
  }
  const { sin, cos } = reduceAndCompute(a);
  if (what === 'tan') return rounded(fdiv(sin, cos), env);
  return rounded(what === 'sin' ? sin : cos, env);
}
