// SSE and SSE2 conversions. As with the arithmetic, what may raise an exception is left to system/sse/ (sse-float-check.ts).

import type { Builder, Readable, Size } from '../stage/builder.ts';
import { type AnyInsn, insn } from './insn.ts';
import { low32, needSse, setLow32, setLow64 } from './sse-common.ts';
import {
  abs,
  andX,
  denormalsX,
  everywhere,
  inexactPasses,
  inexactPassesTruncating,
  infinityX,
  type Kind,
  type Lanes,
  LIMITS,
  LOWEST,
  lowest,
  magnitude,
  notX,
  numbersX,
  orX,
  passesX,
  two31X,
  unless,
  withLowest,
  zeroesX,
} from './sse-float-check.ts';

const value = <V>(b: Builder<V>, k: Kind, o: Readable): V => (k === 'f32' ? low32(b, o) : b.read(o));
const passes = <V, X>(b: Builder<V, X>, truncate: boolean): V => (truncate ? inexactPassesTruncating(b) : inexactPasses(b));

// --- a float to an integer

/**
 * Rounded to an integral value and cut to `size` bytes. The most negative integer is left to TypeScript with all that does not fit. What
 * is integral already is so under any rounding.
 */
function toInteger<V, X>(b: Builder<V, X>, k: Kind, v: V, size: Size, truncate: boolean): V {
  const whole = b.x.convert(`${k}.${truncate ? 'trunc' : 'nearest'}`, v);
  const fits = b.ltU(magnitude(b, k, whole), b.k(size === 8 ? LIMITS[k].two63 : LIMITS[k].two31));
  unless(b, b.and(fits, passes(b, truncate)), () => b.and(fits, b.x.fcmp(k, 'eq', whole, v)));
  const n = b.x.convert(k === 'f64' ? 's64.trunc.f64' : 's64.trunc.f32', whole);
  return size === 8 ? n : b.zext(n, 4);
}
const toGeneral = (mnemonic: string, forms: string, k: Kind, truncate: boolean): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2A, ${mnemonic}`,
    forms,
    cpuid: k === 'f32' ? 'sse' : 'sse2',
    operands: { dst: 'w', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      b.write(dst, toInteger(b, k, value(b, k, src), dst.size as Size, truncate));
    },
  });

/** All elements of one format, rounded to integral values; given up unless each fits a dword and is exact or may be inexact. */
function integral<V, X>(b: Builder<V, X>, lanes: Lanes, v: X, truncate: boolean): X {
  const whole = b.x.op1(`${lanes}.${truncate ? 'trunc' : 'nearest'}`, v);
  const fits = b.x.op2(`${lanes}.lt`, abs(b, lanes, whole), two31X(b, lanes));
  unless(b, b.and(everywhere(b, lanes, fits), passes(b, truncate)), () =>
    everywhere(b, lanes, andX(b, fits, b.x.op2(`${lanes}.eq`, whole, v))),
  );
  return whole;
}
export const floatsToDwords =
  (truncate: boolean) =>
  <V, X>(b: Builder<V, X>, s: X): X =>
    b.x.op1('i32x4.trunc_sat_f32x4_s', integral(b, 'f32x4', s, truncate));
export const doublesToDwords =
  (truncate: boolean) =>
  <V, X>(b: Builder<V, X>, s: X): X =>
    b.x.op1('i32x4.trunc_sat_f64x2_s_zero', integral(b, 'f64x2', s, truncate));

// --- an integer to a float

const MOST = 0x7fffffffffffffffn;
/** Exact where it comes back the same; the largest integer would do so by saturation. */
function fromInteger<V, X>(b: Builder<V, X>, k: Kind, n: V, size: Size): V {
  const r = b.x.convert(size === 8 ? `${k}.from.s64` : `${k}.from.s32`, n);
  if (k === 'f64' && size === 4) return r;
  const wide = size === 8 ? n : b.sext(n, 4);
  unless(b, inexactPasses(b), () => {
    const back = b.x.convert(k === 'f64' ? 's64.trunc.f64' : 's64.trunc.f32', r);
    return b.and(b.eq(back, wide), b.ne(back, b.k(MOST)));
  });
  return r;
}
const fromGeneral = (mnemonic: string, forms: string, k: Kind): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2A, ${mnemonic}`,
    forms,
    cpuid: k === 'f32' ? 'sse' : 'sse2',
    operands: { dst: 'rw', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      const r = fromInteger(b, k, b.read(src), src.size as Size);
      if (k === 'f32') setLow32(b, dst, r);
      else setLow64(b, dst, r);
    },
  });
export function dwordsToFloats<V, X>(b: Builder<V, X>, s: X): X {
  const r = b.x.op1('f32x4.convert_i32x4_s', s);
  unless(b, inexactPasses(b), () => {
    const back = b.x.op1('i32x4.trunc_sat_f32x4_s', r);
    const saturated = b.x.op2('i32x4.eq', s, b.x.constant(0x7fffffff7fffffffn, 0x7fffffff7fffffffn));
    return everywhere(b, 'f32x4', andX(b, b.x.op2('i32x4.eq', back, s), notX(b, saturated)));
  });
  return r;
}

// --- between floats

/** No event but with denormals and NaNs. `which`: the elements that count. */
function widen<V, X>(b: Builder<V, X>, s: X, which: number): X {
  const plain = andX(b, notX(b, denormalsX(b, 'f32x4', s)), numbersX(b, 'f32x4', s));
  b.if(b.eqz(everywhere(b, 'f32x4', plain, which)), () => b.slow());
  return b.x.op1('f64x2.promote_low_f32x4', s);
}
/** 2^-126 in both elements: the smallest normal single. */
const SMALLEST_SINGLE = (1023n - 126n) << 52n;
function narrow<V, X>(b: Builder<V, X>, s: X, which: number): X {
  const r = b.x.op1('f32x4.demote_f64x2_zero', s);
  const back = b.x.op1('f64x2.promote_low_f32x4', r);
  const size = abs(b, 'f64x2', back);
  const smallest = b.x.constant(SMALLEST_SINGLE, SMALLEST_SINGLE);
  const finite = b.x.op2('f64x2.lt', size, infinityX(b, 'f64x2'));
  const ordinary = andX(b, finite, b.x.op2('f64x2.gt', size, smallest));
  unless(b, b.and(everywhere(b, 'f64x2', ordinary, which), inexactPasses(b)), () => {
    const hidden = andX(b, b.x.op2('f64x2.gt', size, smallest), passesX(b, inexactPasses(b)));
    const exact = andX(b, b.x.op2('f64x2.ge', size, smallest), b.x.op2('f64x2.eq', back, s));
    return everywhere(b, 'f64x2', orX(b, andX(b, finite, orX(b, hidden, exact)), zeroesX(b, 'f64x2', s)), which);
  });
  return r;
}
const BOTH = 3;

/** Conversions of vectors; `half`: memory has 8 bytes. */
const convertVector = (mnemonic: string, forms: string, half: boolean, f: <V, X>(b: Builder<V, X>, s: X) => X): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2A, ${mnemonic}`,
    forms,
    cpuid: 'sse2',
    operands: { dst: 'w', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      const s = half && !src.isReg ? b.x.make(b.read(src), b.k(0)) : b.x.read(src, true);
      b.x.write(dst, f(b, s), false);
    },
  });

export const CONVERSIONS: readonly AnyInsn[] = [
  fromGeneral('CVTSI2SS', 'F3 0F 2A /r Vx,Ey', 'f32'),
  fromGeneral('CVTSI2SD', 'F2 0F 2A /r Vx,Ey', 'f64'),
  toGeneral('CVTTSS2SI', 'F3 0F 2C /r Gy,Wss', 'f32', true),
  toGeneral('CVTTSD2SI', 'F2 0F 2C /r Gy,Wsd', 'f64', true),
  toGeneral('CVTSS2SI', 'F3 0F 2D /r Gy,Wss', 'f32', false),
  toGeneral('CVTSD2SI', 'F2 0F 2D /r Gy,Wsd', 'f64', false),
  insn('CVTSS2SD', {
    sdm: 'Vol 2A, CVTSS2SD',
    forms: 'F3 0F 5A /r Vsd,Wss',
    cpuid: 'sse2',
    operands: { dst: 'rw', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      b.x.write(dst, withLowest(b, 'f64x2', widen(b, lowest(b, 'f32', src), LOWEST), b.x.read(dst, false)), false);
    },
  }),
  insn('CVTSD2SS', {
    sdm: 'Vol 2A, CVTSD2SS',
    forms: 'F2 0F 5A /r Vss,Wsd',
    cpuid: 'sse2',
    operands: { dst: 'rw', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      b.x.write(dst, withLowest(b, 'f32x4', narrow(b, lowest(b, 'f64', src), LOWEST), b.x.read(dst, false)), false);
    },
  }),
  convertVector('CVTPS2PD', 'NP 0F 5A /r Vx,Wq', true, (b, s) => widen(b, s, BOTH)),
  convertVector('CVTPD2PS', '66 0F 5A /r Vx,Wx', false, (b, s) => narrow(b, s, BOTH)),
  convertVector('CVTDQ2PS', 'NP 0F 5B /r Vx,Wx', false, (b, s) => dwordsToFloats(b, s)),
  convertVector('CVTDQ2PD', 'F3 0F E6 /r Vx,Wq', true, (b, s) => b.x.op1('f64x2.convert_low_i32x4_s', s)),
  convertVector('CVTPS2DQ', '66 0F 5B /r Vx,Wx', false, floatsToDwords(false)),
  convertVector('CVTTPS2DQ', 'F3 0F 5B /r Vx,Wx', false, floatsToDwords(true)),
  convertVector('CVTPD2DQ', 'F2 0F E6 /r Vx,Wx', false, doublesToDwords(false)),
  convertVector('CVTTPD2DQ', '66 0F E6 /r Vx,Wx', false, doublesToDwords(true)),
];
