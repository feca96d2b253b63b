// Rounding of exact values to a format, with the exceptions that come of it (SDM Vol 1, 4.8.4, 4.9.1, 8.5).

import type { F80 } from './float80.ts';
import { BIAS, bitLength, f80, infinity, MAX_EXP, zero } from './float80.ts';

/** Exception flags, as in the status word; the same bits mask them in the control word. */
export const EX = { IE: 1, DE: 2, ZE: 4, OE: 8, UE: 16, PE: 32, SF: 64 } as const;
export const RC = { nearest: 0, down: 1, up: 2, zero: 3 } as const;

/** What an operation works under, and what it leaves. */
export interface Env {
  /** Rounding control. */
  readonly rc: number;
  /** Bits of significand that results are rounded to: 24, 53 or 64 (precision control). */
  readonly precision: number;
  /** Masked exceptions. */
  readonly masks: number;
  /** Exceptions met so far. */
  flags: number;
  /** The last inexact result was rounded up in magnitude: C1. */
  up: boolean;
}

/** An exact value that may have a nonzero tail below its last bit: `sticky`. Give at least 66 bits with a tail. */
export interface Unrounded {
  readonly sign: number;
  readonly m: bigint;
  readonly e: number;
  readonly sticky: boolean;
}

const roundsUp = (rc: number, sign: number, odd: boolean, aboveHalf: number): boolean => {
  switch (rc) {
    case RC.nearest:
      return aboveHalf > 0 || (aboveHalf === 0 && odd);
    case RC.down:
      return sign === 1;
    case RC.up:
      return sign === 0;
    default:
      return false;
  }
};

/** m * 2^e cut at 2^q: the integer multiple, whether it is inexact, and whether it went up. */
export function roundAt(v: Unrounded, q: number, rc: number): { r: bigint; inexact: boolean; up: boolean } {
  const shift = q - v.e;
  if (shift <= 0) {
    const r = v.m << BigInt(-shift);
    const up = v.sticky && roundsUp(rc, v.sign, false, -1);
    return { r: up ? r + 1n : r, inexact: v.sticky, up };
  }
  const n = BigInt(shift);
  const r = v.m >> n;
  const rest = v.m - (r << n);
  if (rest === 0n && !v.sticky) return { r, inexact: false, up: false };
  const half = 1n << (n - 1n);
  const aboveHalf = rest > half ? 1 : rest < half ? -1 : v.sticky ? 1 : 0;
  const up = roundsUp(rc, v.sign, (r & 1n) === 1n, aboveHalf);
  return { r: up ? r + 1n : r, inexact: true, up };
}

export interface Format {
  readonly precision: number;
  /** Exponents of the smallest and of the largest normal number. */
  readonly emin: number;
  readonly emax: number;
  /** What an unmasked overflow or underflow subtracts from or adds to the exponent (register destinations only). */
  readonly adjust: number;
}

export const EXTENDED = (precision: number): Format => ({ precision, emin: 1 - BIAS, emax: BIAS, adjust: 24576 });
export const SINGLE: Format = { precision: 24, emin: -126, emax: 127, adjust: 0 };
export const DOUBLE: Format = { precision: 53, emin: -1022, emax: 1023, adjust: 0 };

export type Rounded =
  | { readonly kind: 'finite'; readonly m: bigint; readonly e: number }
  | { readonly kind: 'infinity' }
  /** The largest finite number. */
  | { readonly kind: 'largest' };

/**
 * Rounds a nonzero value. Finite results have value m * 2^e, m below 2^precision. Underflow is detected after rounding, as x86 does;
 * masked, it is reported only where the result is inexact too.
 */
export function round(v: Unrounded, f: Format, env: Env): Rounded {
  const { precision } = f;
  let E = v.e + bitLength(v.m) - 1;
  const free = roundAt(v, E - (precision - 1), env.rc);
  let m = free.r;
  if (bitLength(m) > precision) {
    m >>= 1n;
    E++;
  }
  let { inexact, up } = free;
  let e = E - (precision - 1);
  if (E > f.emax) {
    env.flags |= EX.OE;
    if (!(env.masks & EX.OE) && f.adjust && E - f.adjust <= f.emax) e -= f.adjust;
    else {
      // Unmasked, with memory as the destination, nothing is stored: there is no inexact result to report.
      if (env.masks & EX.OE || f.adjust) env.flags |= EX.PE;
      // Unmasked and too large even so (FSCALE) it is infinity under every rounding control.
      const toInfinity = !(env.masks & EX.OE) || env.rc === RC.nearest || env.rc === (v.sign ? RC.down : RC.up);
      env.up = toInfinity;
      return { kind: toInfinity ? 'infinity' : 'largest' };
    }
  } else if (E < f.emin) {
    if (!(env.masks & EX.UE)) {
      env.flags |= EX.UE;
      if (!f.adjust) return { kind: 'finite', m: 0n, e: 0 };
      if (E + f.adjust < f.emin) {
        // Too small even so (FSCALE).
        env.flags |= EX.PE;
        env.up = false;
        return { kind: 'finite', m: 0n, e: 0 };
      }
      e += f.adjust;
    } else {
      e = f.emin - (precision - 1);
      const tight = roundAt(v, e, env.rc);
      m = tight.r;
      inexact = tight.inexact;
      up = tight.up;
      if (inexact) env.flags |= EX.UE;
    }
  }
  if (inexact) {
    env.flags |= EX.PE;
    env.up = up;
  }
  return { kind: 'finite', m, e };
}

/** Rounds to the register format under precision control (or a given precision). An exact zero keeps its sign. */
export function roundF80(v: Unrounded, env: Env, precision = env.precision): F80 {
  if (v.m === 0n) return zero(v.sign);
  const f = EXTENDED(precision);
  const r = round(v, f, env);
  const s = v.sign << 15;
  if (r.kind === 'infinity') return infinity(v.sign);
  if (r.kind === 'largest') return f80(s | (MAX_EXP - 1), ((1n << BigInt(precision)) - 1n) << BigInt(64 - precision));
  if (r.m === 0n) return zero(v.sign);
  // The significand to 64 bits; a number with its top bit clear is denormal, exponent field 0.
  const length = bitLength(r.m);
  const normalExp = r.e + length - 1 + BIAS;
  if (normalExp > 0) return f80(s | normalExp, r.m << BigInt(64 - length));
  return f80(s, r.m << BigInt(64 - precision));
}
