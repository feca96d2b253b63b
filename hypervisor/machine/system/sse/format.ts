// Single and double precision patterns (SDM Vol 1, 4.2.2): taking them apart, and rounding exact values to them.
//
// Patterns are bigints. What staged code could not do comes here: NaNs, denormals, directed rounding, the first inexact result. Each rule
// of the manual is to be seen; speed matters little.

import { DOWN, FLAG, type FloatEnv, NEAREST, type Rounding, UP } from './mxcsr.ts';

export interface Format {
  /** Bytes. */
  readonly size: 4 | 8;
  /** Bits of the significand, the implicit one included. */
  readonly precision: number;
  readonly bias: number;
  readonly sign: bigint;
  readonly infinity: bigint;
  readonly largest: bigint;
  readonly quiet: bigint;
  /** The QNaN that masked invalid operations give. */
  readonly indefinite: bigint;
}

const format = (size: 4 | 8, precision: number): Format => {
  const bits = 8 * size;
  const fraction = BigInt(precision - 1);
  const sign = 1n << BigInt(bits - 1);
  const infinity = sign - (1n << fraction);
  const quiet = 1n << (fraction - 1n);
  return {
    size,
    precision,
    bias: 2 ** (bits - precision - 1) - 1,
    sign,
    infinity,
    largest: infinity - 1n,
    quiet,
    indefinite: sign | infinity | quiet,
  };
};
export const SINGLE: Format = format(4, 24);
export const DOUBLE: Format = format(8, 53);

export const magnitude = (f: Format, v: bigint): bigint => v & (f.sign - 1n);
export const isNegative = (f: Format, v: bigint): boolean => (v & f.sign) !== 0n;
export const isZero = (f: Format, v: bigint): boolean => magnitude(f, v) === 0n;
export const isInfinite = (f: Format, v: bigint): boolean => magnitude(f, v) === f.infinity;
export const isNan = (f: Format, v: bigint): boolean => magnitude(f, v) > f.infinity;
export const isSignaling = (f: Format, v: bigint): boolean => isNan(f, v) && (v & f.quiet) === 0n;
export const isDenormal = (f: Format, v: bigint): boolean => {
  const m = magnitude(f, v);
  return m !== 0n && m >> BigInt(f.precision - 1) === 0n;
};
export const signed = (f: Format, negative: boolean, m: bigint): bigint => (negative ? f.sign | m : m);

/** A finite number: (-1)^negative * m * 2^e. `sticky`: a little more than that, less than one in m's last place. */
export interface Exact {
  readonly negative: boolean;
  readonly m: bigint;
  readonly e: number;
  readonly sticky?: boolean;
}

export function exact(f: Format, v: bigint): Exact {
  const fraction = BigInt(f.precision - 1);
  const m = magnitude(f, v);
  const exponent = Number(m >> fraction);
  const below = m & ((1n << fraction) - 1n);
  const e = Math.max(exponent, 1) - f.bias - (f.precision - 1);
  return { negative: isNegative(f, v), m: exponent === 0 ? below : below | (1n << fraction), e };
}

export const bitLength = (m: bigint): number => (m === 0n ? 0 : m.toString(2).length);

/** Cut at 2^q: the multiple of it that `rounding` chooses, and whether that is another value. */
export function roundAt({ negative, m, e, sticky = false }: Exact, q: number, rounding: Rounding): { r: bigint; inexact: boolean } {
  const shift = BigInt(Math.max(q - e, 0));
  const r = q < e ? m << BigInt(e - q) : m >> shift;
  const rest = q < e ? 0n : m - (r << shift);
  if (rest === 0n && !sticky) return { r, inexact: false };
  const half = shift === 0n ? 0n : 1n << (shift - 1n);
  let up = rounding === (negative ? DOWN : UP);
  if (rounding === NEAREST) up = shift !== 0n && (rest > half || (rest === half && (sticky || (r & 1n) === 1n)));
  return { r: up ? r + 1n : r, inexact: true };
}

/**
 * The pattern nearest to a value that is not zero, with overflow, underflow and inexactness raised. A value is tiny when it is below the
 * smallest normal number after rounding to full precision with an exponent of any size; masked, underflow is reported only of tiny results
 * that are inexact too (SDM Vol 1, 4.9.1.5). What is returned where an exception is unmasked is of no use.
 */
export function round(env: FloatEnv, f: Format, v: Exact): bigint {
  const fraction = f.precision - 1;
  const smallest = 1 - f.bias;
  let E = v.e + bitLength(v.m) - 1;
  let { r, inexact } = roundAt(v, E - fraction, env.rounding);
  if (bitLength(r) > f.precision) {
    r >>= 1n;
    E++;
  }
  if (E < smallest) {
    if (env.unmasked(FLAG.UE)) {
      env.raise(inexact ? FLAG.UE | FLAG.PE : FLAG.UE);
      return 0n;
    }
    if (env.flushToZero) {
      env.raise(FLAG.UE | FLAG.PE);
      return signed(f, v.negative, 0n);
    }
    ({ r, inexact } = roundAt(v, smallest - fraction, env.rounding));
    if (inexact) env.raise(FLAG.UE | FLAG.PE);
    // Denormal; or, rounded up, the smallest normal number.
    return signed(f, v.negative, r);
  }
  if (E > f.bias) {
    env.raise(env.unmasked(FLAG.OE) && !inexact ? FLAG.OE : FLAG.OE | FLAG.PE);
    const away = env.rounding === NEAREST || env.rounding === (v.negative ? DOWN : UP);
    return signed(f, v.negative, away ? f.infinity : f.largest);
  }
  if (inexact) env.raise(FLAG.PE);
  const one = 1n << BigInt(fraction);
  return signed(f, v.negative, (BigInt(E + f.bias) << BigInt(fraction)) | (r - one));
}
