// Multiplication and division. The 128-by-64-bit division is a loop of shifts and subtractions, taken only when the high half matters.

import type { Builder, Size } from '../stage/builder.ts';
import { flagsResult } from '../stage/flags.ts';
import { RAX, RDX } from '../state.ts';
import { insn, OSZAPC } from './insn.ts';
import { sz, top } from './operand.ts';

const DE = 0;
const PRODUCT_FLAGS = { writes: OSZAPC, undefined: ['SF', 'ZF', 'AF', 'PF'] } as const;
const QUOTIENT_FLAGS = { undefined: OSZAPC } as const;

/** Product of the accumulator: AX, DX:AX, EDX:EAX, RDX:RAX. */
function writeProduct<V, X>(b: Builder<V, X>, lo: V, hi: V, s: Size): void {
  if (s === 1) {
    b.setReg(RAX, 2, b.or(b.zext(lo, 1), b.shl(b.zext(hi, 1), b.k(8))));
    return;
  }
  b.setReg(RAX, s, b.zext(lo, s));
  b.setReg(RDX, s, b.zext(hi, s));
}

/** CF and OF tell that the product does not fit in its low half. */
export const MUL = insn('MUL', {
  sdm: 'Vol 2B, MUL',
  forms: 'F6 /4 Eb | F7 /4 Ev',
  operands: { src: 'r' },
  flags: PRODUCT_FLAGS,
  sem(b, { src }) {
    const s = sz(src);
    const x = b.reg(RAX, s);
    const y = b.read(src);
    const lo = b.mul(x, y);
    const hi = s === 8 ? b.mulHighU(x, y) : b.shr(lo, b.k(s * 8));
    writeProduct(b, lo, hi, s);
    const over = b.ne(hi, b.k(0));
    flagsResult(b, lo, s, over, over);
  },
});

/** Signed product of two values of size s: low half, high half, and whether the low half alone loses something. */
function signedProduct<V, X>(b: Builder<V, X>, x: V, y: V, s: Size): { lo: V; hi: V; over: V } {
  const sx = b.sext(x, s);
  const sy = b.sext(y, s);
  const lo = b.mul(sx, sy);
  if (s === 8) {
    const hi = b.mulHighS(sx, sy);
    return { lo, hi, over: b.ne(hi, b.sar(lo, b.k(63))) };
  }
  return { lo, hi: b.shr(lo, b.k(s * 8)), over: b.ne(b.sext(lo, s), lo) };
}

export const IMUL1 = insn('IMUL', {
  sdm: 'Vol 2A, IMUL',
  forms: 'F6 /5 Eb | F7 /5 Ev',
  operands: { src: 'r' },
  flags: PRODUCT_FLAGS,
  sem(b, { src }) {
    const s = sz(src);
    const { lo, hi, over } = signedProduct(b, b.reg(RAX, s), b.read(src), s);
    writeProduct(b, lo, hi, s);
    flagsResult(b, lo, s, over, over);
  },
});

export const IMUL2 = insn('IMUL', {
  sdm: 'Vol 2A, IMUL',
  forms: '0F AF /r Gv,Ev',
  operands: { dst: 'rw', src: 'r' },
  flags: PRODUCT_FLAGS,
  sem(b, { dst, src }) {
    const s = sz(dst);
    const { lo, over } = signedProduct(b, b.read(dst), b.read(src), s);
    b.write(dst, b.zext(lo, s));
    flagsResult(b, lo, s, over, over);
  },
});

export const IMUL3 = insn('IMUL', {
  sdm: 'Vol 2A, IMUL',
  forms: '69 /r Gv,Ev,Iz | 6B /r Gv,Ev,sIb',
  operands: { dst: 'w', src: 'r', factor: 'r' },
  flags: PRODUCT_FLAGS,
  sem(b, { dst, src, factor }) {
    const s = sz(dst);
    const { lo, over } = signedProduct(b, b.read(src), b.read(factor), s);
    b.write(dst, b.zext(lo, s));
    flagsResult(b, lo, s, over, over);
  },
});

/** The dividend that belongs to a divisor of 1, 2 or 4 bytes, as one value. */
function dividend<V, X>(b: Builder<V, X>, s: 1 | 2 | 4): V {
  return s === 1 ? b.reg(RAX, 2) : b.or(b.shl(b.reg(RDX, s), b.k(s * 8)), b.reg(RAX, s));
}

function writeQuotient<V, X>(b: Builder<V, X>, q: V, r: V, s: Size): void {
  writeProduct(b, q, r, s);
}

/** hi:lo / d for hi < d, bit by bit: hi is the running remainder, quotient bits enter lo from the right. */
function longDivision<V, X>(b: Builder<V, X>, hi: V, lo: V, d: V): { q: V; r: V } {
  const rem = b.var(hi);
  const low = b.var(lo);
  const left = b.var(b.k(64));
  b.while(
    () => left.get(),
    () => {
      const out = b.shr(rem.get(), b.k(63));
      const shifted = b.or(b.shl(rem.get(), b.k(1)), b.shr(low.get(), b.k(63)));
      // The remainder has 65 bits here: the one shifted out makes it larger than any divisor.
      const fits = b.or(out, b.leU(d, shifted));
      rem.set(b.select(fits, b.sub(shifted, d), shifted));
      low.set(b.or(b.shl(low.get(), b.k(1)), fits));
      left.set(b.sub(left.get(), b.k(1)));
    },
  );
  return { q: low.get(), r: rem.get() };
}

function divide128<V, X>(b: Builder<V, X>, hi: V, lo: V, d: V): { q: V; r: V } {
  const q = b.var(b.k(0));
  const r = b.var(b.k(0));
  b.if(
    b.eqz(hi),
    () => {
      q.set(b.divU(lo, d));
      r.set(b.remU(lo, d));
    },
    () => {
      const long = longDivision(b, hi, lo, d);
      q.set(long.q);
      r.set(long.r);
    },
  );
  return { q: q.get(), r: r.get() };
}

export const DIV = insn('DIV', {
  sdm: 'Vol 2A, DIV',
  forms: 'F6 /6 Eb | F7 /6 Ev',
  operands: { src: 'r' },
  flags: QUOTIENT_FLAGS,
  sem(b, { src }) {
    const s = sz(src);
    const d = b.read(src);
    if (s === 8) {
      const hi = b.reg(RDX, 8);
      b.if(b.leU(d, hi), () => b.raise(DE));
      const { q, r } = divide128(b, hi, b.reg(RAX, 8), d);
      writeQuotient(b, q, r, s);
      return;
    }
    const n = dividend(b, s);
    b.if(b.leU(d, b.shr(n, b.k(s * 8))), () => b.raise(DE));
    writeQuotient(b, b.divU(n, d), b.remU(n, d), s);
  },
});

export const IDIV = insn('IDIV', {
  sdm: 'Vol 2A, IDIV',
  forms: 'F6 /7 Eb | F7 /7 Ev',
  operands: { src: 'r' },
  flags: QUOTIENT_FLAGS,
  sem(b, { src }) {
    const s = sz(src);
    const d = b.sext(b.read(src), s);
    if (s === 8) {
      signedDivision128(b, b.reg(RDX, 8), b.reg(RAX, 8), d);
      return;
    }
    const n = b.sext(dividend(b, s), (s * 2) as Size);
    b.if(b.eqz(d), () => b.raise(DE));
    // The one quotient that does not even fit in 64 bits.
    b.if(b.and(b.eq(n, b.k(-(2n ** 63n))), b.eq(d, b.k(-1))), () => b.raise(DE));
    const q = b.divS(n, d);
    b.if(b.ne(b.sext(q, s), q), () => b.raise(DE));
    writeQuotient(b, q, b.remS(n, d), s);
  },
});

/** By magnitudes: the quotient is negative if the signs differ, the remainder has the sign of the dividend. */
function signedDivision128<V, X>(b: Builder<V, X>, hi: V, lo: V, d: V): void {
  const negate = (v: V, mask: V) => b.sub(b.xor(v, mask), mask);
  const nMask = b.sar(hi, b.k(63));
  const dMask = b.sar(d, b.k(63));
  const qMask = b.xor(nMask, dMask);
  const absLo = negate(lo, nMask);
  const borrow = b.and(b.ne(lo, b.k(0)), nMask);
  const absHi = b.select(nMask, b.sub(b.sub(b.k(0), hi), borrow), hi);
  const absD = negate(d, dMask);
  b.if(b.leU(absD, absHi), () => b.raise(DE));
  const { q, r } = divide128(b, absHi, absLo, absD);
  // Largest magnitude: 2^63 for a negative quotient, 2^63 - 1 for a positive one.
  b.if(b.ltU(b.sub(b.shl(b.k(1), b.k(top(8))), b.add(qMask, b.k(1))), q), () => b.raise(DE));
  writeQuotient(b, negate(q, qMask), negate(r, nMask), 8);
}
