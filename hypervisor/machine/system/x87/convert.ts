// Conversions between the register format and what memory holds: single, double, integers, packed BCD (SDM Vol 1, 4.2, 4.7, 8.1.8).

import { fromInteger, invalid } from './arithmetic.ts';
import type { F80 } from './float80.ts';
import { BIAS, bitLength, exact, f80, INDEFINITE, INTEGER_BIT, isNaNKind, kindOf, MAX_EXP, quieted, signOf, zero } from './float80.ts';
import type { Env, Format } from './round.ts';
import { DOUBLE, EX, RC, round, roundAt, SINGLE } from './round.ts';

interface Shape {
  readonly format: Format;
  readonly fraction: number;
  readonly bias: number;
  readonly expMask: number;
}
const SHAPES: Readonly<Record<4 | 8, Shape>> = {
  4: { format: SINGLE, fraction: 23, bias: 127, expMask: 0xff },
  8: { format: DOUBLE, fraction: 52, bias: 1023, expMask: 0x7ff },
};

/**
 * From the bits of a float (4 bytes) or double (8), exactly. A denormal sets DE. An SNaN comes out as one: a load quiets it, arithmetic
 * must know which operand was signaling.
 */
export function fromFloat(bits: bigint, size: 4 | 8, env: Env): F80 {
  const { fraction, bias, expMask } = SHAPES[size];
  const sign = Number(bits >> BigInt(size * 8 - 1));
  const exp = Number(bits >> BigInt(fraction)) & expMask;
  const frac = bits & ((1n << BigInt(fraction)) - 1n);
  const s = sign << 15;
  if (exp === expMask) return f80(s | MAX_EXP, INTEGER_BIT | (frac << BigInt(63 - fraction)));
  if (exp === 0) {
    if (frac === 0n) return zero(sign);
    env.flags |= EX.DE;
    const length = bitLength(frac);
    return f80(s | (1 - bias - fraction + length - 1 + BIAS), frac << BigInt(64 - length));
  }
  return f80(s | (exp - bias + BIAS), INTEGER_BIT | (frac << BigInt(63 - fraction)));
}

/** To the bits of a float or double, rounded. */
export function toFloat(a: F80, size: 4 | 8, env: Env): bigint {
  const { format, fraction, bias, expMask } = SHAPES[size];
  const pack = (exp: number, frac: bigint) =>
    (BigInt(signOf(a)) << BigInt(size * 8 - 1)) | (BigInt(exp) << BigInt(fraction)) | (frac & ((1n << BigInt(fraction)) - 1n));
  const k = kindOf(a);
  if (k === 'unsupported') {
    env.flags |= EX.IE;
    return toFloat(INDEFINITE, size, env);
  }
  if (isNaNKind(k)) {
    if (k === 'snan') env.flags |= EX.IE;
    return pack(expMask, quieted(a).sig >> BigInt(63 - fraction));
  }
  if (k === 'infinity') return pack(expMask, 0n);
  if (k === 'zero') return pack(0, 0n);
  const r = round({ ...exact(a), sticky: false }, format, env);
  if (r.kind === 'infinity') return pack(expMask, 0n);
  if (r.kind === 'largest') return pack(expMask - 1, -1n);
  const normal = bitLength(r.m) === format.precision;
  return pack(normal ? r.e + fraction + bias : 0, r.m);
}

/** From a two's-complement integer of `size` bytes. */
export function fromInt(bits: bigint, size: number): F80 {
  const v = BigInt.asIntN(size * 8, bits);
  return v < 0n ? fromInteger(-v, 1) : fromInteger(v, 0);
}

/** The value rounded to an integer, or undefined (invalid) for NaNs and infinities. */
function integral(a: F80, rc: number, env: Env): bigint | undefined {
  const k = kindOf(a);
  if (k === 'zero') return 0n;
  if (k !== 'normal' && k !== 'denormal') return undefined;
  const x = exact(a);
  // Far out of any range: spare the shift.
  if (x.e > 16) return undefined;
  const r = roundAt({ ...x, sticky: false }, 0, rc);
  if (r.inexact) {
    env.flags |= EX.PE;
    env.up = r.up;
  }
  return x.sign ? -r.r : r.r;
}

/** To an integer of `size` bytes; what does not fit is invalid and gives the integer indefinite. */
export function toInt(a: F80, size: number, truncate: boolean, env: Env): bigint {
  const limit = 1n << BigInt(size * 8 - 1);
  const n = integral(a, truncate ? RC.zero : env.rc, env);
  if (n !== undefined && n >= -limit && n < limit) return BigInt.asUintN(size * 8, n);
  // An invalid conversion reports nothing else.
  env.flags = (env.flags & ~EX.PE) | EX.IE;
  env.up = false;
  return limit;
}

const BCD_LIMIT = 10n ** 18n;
/** Packed BCD indefinite (SDM Vol 1, Table 4-4). */
const BCD_INDEFINITE = 0xffff_c000_0000_0000_0000n;

/** Eighteen digits in nine bytes, sign in the tenth. */
export function toBcd(a: F80, env: Env): bigint {
  const n = integral(a, env.rc, env);
  if (n === undefined || n >= BCD_LIMIT || n <= -BCD_LIMIT) {
    env.flags &= ~EX.PE;
    env.up = false;
    invalid(env);
    return BCD_INDEFINITE;
  }
  const digits = BigInt(`0x${(n < 0n ? -n : n).toString()}`);
  return (BigInt(signOf(a)) << 79n) | digits;
}

/** Digits above nine are undefined by the manual; they count by their value, as in processors. */
export function fromBcd(bits: bigint): F80 {
  let n = 0n;
  for (let i = 17n; i >= 0n; i--) n = n * 10n + ((bits >> (4n * i)) & 15n);
  return fromInteger(n, Number(bits >> 79n) & 1);
}
