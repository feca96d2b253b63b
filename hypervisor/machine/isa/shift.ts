// Shifts and rotates. A masked count of zero leaves all flags as they were.
//
// OF is defined for a count of one only; for others it gets what Intel's processors are seen to give: the same formula on the final result.

import type { Builder, Size } from '../stage/builder.ts';
import { flagCF, flagsResult, setCfOf } from '../stage/flags.ts';
import { insn, OSZAPC } from './insn.ts';
import { bit, sz, top } from './operand.ts';

const forms = (n: number): string => `C0 /${n} Eb,Ib | C1 /${n} Ev,Ib | D0 /${n} Eb,1 | D1 /${n} Ev,1 | D2 /${n} Eb,CL | D3 /${n} Ev,CL`;
const ROTATE_FLAGS = { writes: ['CF', 'OF'], undefined: ['OF'] } as const;
const ROTATE_CARRY_FLAGS = { reads: ['CF'], writes: ['CF', 'OF'], undefined: ['OF'] } as const;
const SHIFT_FLAGS = { writes: OSZAPC, undefined: ['OF', 'AF'] } as const;

/** Counts are masked to 5 bits, to 6 with 64-bit operands. */
const masked = <V, X>(b: Builder<V, X>, count: V, s: Size): V => b.and(count, b.k(s === 8 ? 63 : 31));
const msb = <V, X>(b: Builder<V, X>, v: V, s: Size): V => bit(b, v, top(s));
/** OF of all right shifts and rotates: the top two bits of the result differ. */
const topTwoDiffer = <V, X>(b: Builder<V, X>, r: V, s: Size): V => b.xor(msb(b, r, s), bit(b, r, top(s) - 1));

export const ROL = insn('ROL', {
  sdm: 'Vol 2B, RCL/RCR/ROL/ROR',
  forms: forms(0),
  operands: { dst: 'rw', count: 'r' },
  flags: ROTATE_FLAGS,
  sem(b, { dst, count }) {
    const s = sz(dst);
    const n = masked(b, b.read(count), s);
    const x = b.read(dst);
    const m = b.and(n, b.k(s * 8 - 1));
    const r = s === 8 ? b.rotl(x, m) : b.zext(b.or(b.shl(x, m), b.shr(x, b.sub(b.k(s * 8), m))), s);
    b.write(dst, r);
    b.if(n, () => {
      const cf = bit(b, r, 0);
      setCfOf(b, cf, b.xor(msb(b, r, s), cf));
    });
  },
});

export const ROR = insn('ROR', {
  sdm: 'Vol 2B, RCL/RCR/ROL/ROR',
  forms: forms(1),
  operands: { dst: 'rw', count: 'r' },
  flags: ROTATE_FLAGS,
  sem(b, { dst, count }) {
    const s = sz(dst);
    const n = masked(b, b.read(count), s);
    const x = b.read(dst);
    const m = b.and(n, b.k(s * 8 - 1));
    const r = s === 8 ? b.rotr(x, m) : b.zext(b.or(b.shr(x, m), b.shl(x, b.sub(b.k(s * 8), m))), s);
    b.write(dst, r);
    b.if(n, () => setCfOf(b, msb(b, r, s), topTwoDiffer(b, r, s)));
  },
});

/** A count for a rotation through carry of a byte or word, which has 9 or 17 positions; wider ones cannot reach theirs. */
const throughCarry = <V, X>(b: Builder<V, X>, n: V, s: Size): V => (s <= 2 ? b.remU(n, b.k(s * 8 + 1)) : n);

export const RCL = insn('RCL', {
  sdm: 'Vol 2B, RCL/RCR/ROL/ROR',
  forms: forms(2),
  operands: { dst: 'rw', count: 'r' },
  flags: ROTATE_CARRY_FLAGS,
  sem(b, { dst, count }) {
    const s = sz(dst);
    const n = masked(b, b.read(count), s);
    const x = b.read(dst);
    const cf = flagCF(b);
    const m = throughCarry(b, n, s);
    const { r, carry } = s === 8 ? rcl64(b, x, cf, m) : rotateWide(b, x, cf, m, b.sub(b.k(s * 8 + 1), m), s);
    b.write(dst, r);
    b.if(n, () => setCfOf(b, carry, b.xor(msb(b, r, s), carry)));
  },
});

export const RCR = insn('RCR', {
  sdm: 'Vol 2B, RCL/RCR/ROL/ROR',
  forms: forms(3),
  operands: { dst: 'rw', count: 'r' },
  flags: ROTATE_CARRY_FLAGS,
  sem(b, { dst, count }) {
    const s = sz(dst);
    const n = masked(b, b.read(count), s);
    const x = b.read(dst);
    const cf = flagCF(b);
    const m = throughCarry(b, n, s);
    const { r, carry } = s === 8 ? rcr64(b, x, cf, m) : rotateWide(b, x, cf, b.sub(b.k(s * 8 + 1), m), m, s);
    b.write(dst, r);
    b.if(n, () => setCfOf(b, carry, topTwoDiffer(b, r, s)));
  },
});

/** Carry and operand as one value of s*8 + 1 bits, which together with its rotated copy fits in 64 for s of 4 at most. */
function rotateWide<V, X>(b: Builder<V, X>, x: V, cf: V, left: V, right: V, s: Size): { r: V; carry: V } {
  const wide = b.or(x, b.shl(cf, b.k(s * 8)));
  const turned = b.or(b.shl(wide, left), b.shr(wide, right));
  return { r: b.zext(turned, s), carry: bit(b, turned, s * 8) };
}

function rcl64<V, X>(b: Builder<V, X>, x: V, cf: V, n: V): { r: V; carry: V } {
  const turned = b.or(b.or(b.shl(x, n), b.shl(cf, b.sub(n, b.k(1)))), b.shr(b.shr(x, b.k(1)), b.sub(b.k(64), n)));
  const out = b.and(b.shr(x, b.sub(b.k(64), n)), b.k(1));
  return { r: b.select(n, turned, x), carry: b.select(n, out, cf) };
}

function rcr64<V, X>(b: Builder<V, X>, x: V, cf: V, n: V): { r: V; carry: V } {
  const turned = b.or(b.or(b.shr(x, n), b.shl(cf, b.sub(b.k(64), n))), b.shl(b.shl(x, b.k(1)), b.sub(b.k(64), n)));
  const out = b.and(b.shr(x, b.sub(n, b.k(1))), b.k(1));
  return { r: b.select(n, turned, x), carry: b.select(n, out, cf) };
}

/** /6 is an alias that Intel does not list; AMD does (SHL/SAL). */
export const SHL = insn('SHL', {
  sdm: 'Vol 2B, SAL/SAR/SHL/SHR',
  forms: `${forms(4)} | ${forms(6)}`,
  operands: { dst: 'rw', count: 'r' },
  flags: SHIFT_FLAGS,
  sem(b, { dst, count }) {
    const s = sz(dst);
    const n = masked(b, b.read(count), s);
    const x = b.read(dst);
    const wide = b.shl(x, n);
    const r = b.zext(wide, s);
    b.write(dst, r);
    b.if(n, () => {
      const cf = s === 8 ? b.and(b.shr(x, b.sub(b.k(64), n)), b.k(1)) : bit(b, wide, s * 8);
      flagsResult(b, r, s, cf, b.xor(msb(b, r, s), cf));
    });
  },
});

export const SHR = insn('SHR', {
  sdm: 'Vol 2B, SAL/SAR/SHL/SHR',
  forms: forms(5),
  operands: { dst: 'rw', count: 'r' },
  flags: SHIFT_FLAGS,
  sem(b, { dst, count }) {
    const s = sz(dst);
    const n = masked(b, b.read(count), s);
    const x = b.read(dst);
    const r = b.shr(x, n);
    b.write(dst, r);
    b.if(n, () => flagsResult(b, r, s, b.and(b.shr(x, b.sub(n, b.k(1))), b.k(1)), topTwoDiffer(b, r, s)));
  },
});

export const SAR = insn('SAR', {
  sdm: 'Vol 2B, SAL/SAR/SHL/SHR',
  forms: forms(7),
  operands: { dst: 'rw', count: 'r' },
  flags: SHIFT_FLAGS,
  sem(b, { dst, count }) {
    const s = sz(dst);
    const n = masked(b, b.read(count), s);
    const x = b.sext(b.read(dst), s);
    const r = b.zext(b.sar(x, n), s);
    b.write(dst, r);
    b.if(n, () => flagsResult(b, r, s, b.and(b.sar(x, b.sub(n, b.k(1))), b.k(1)), b.k(0)));
  },
});

/**
 * Word forms with a count above 16 are undefined; processors shift the first operand in again after the second,
 * so the three-part value dst:src:dst is what all word forms shift here.
 */
export const SHLD = insn('SHLD', {
  sdm: 'Vol 2B, SHLD',
  forms: '0F A4 /r Ev,Gv,Ib | 0F A5 /r Ev,Gv,CL',
  operands: { dst: 'rw', src: 'r', count: 'r' },
  flags: SHIFT_FLAGS,
  sem(b, { dst, src, count }) {
    const s = sz(dst);
    const n = masked(b, b.read(count), s);
    const x = b.read(dst);
    const y = b.read(src);
    let r: typeof x;
    let cf: typeof x;
    if (s === 8) {
      r = b.or(b.shl(x, n), b.shr(b.shr(y, b.k(1)), b.sub(b.k(63), n)));
      cf = b.and(b.shr(x, b.sub(b.k(64), n)), b.k(1));
    } else {
      const wide = s === 4 ? b.or(b.shl(x, b.k(32)), y) : b.or(b.or(b.shl(x, b.k(48)), b.shl(y, b.k(32))), b.shl(x, b.k(16)));
      r = b.shr(b.shl(wide, n), b.k(64 - s * 8));
      cf = b.and(b.shr(wide, b.sub(b.k(64), n)), b.k(1));
    }
    b.write(dst, r);
    b.if(n, () => flagsResult(b, r, s, cf, b.xor(msb(b, r, s), msb(b, x, s))));
  },
});

export const SHRD = insn('SHRD', {
  sdm: 'Vol 2B, SHRD',
  forms: '0F AC /r Ev,Gv,Ib | 0F AD /r Ev,Gv,CL',
  operands: { dst: 'rw', src: 'r', count: 'r' },
  flags: SHIFT_FLAGS,
  sem(b, { dst, src, count }) {
    const s = sz(dst);
    const n = masked(b, b.read(count), s);
    const x = b.read(dst);
    const y = b.read(src);
    let r: typeof x;
    if (s === 8) {
      r = b.or(b.shr(x, n), b.shl(b.shl(y, b.k(1)), b.sub(b.k(63), n)));
    } else {
      const wide = s === 4 ? b.or(b.shl(y, b.k(32)), x) : b.or(b.or(b.shl(x, b.k(32)), b.shl(y, b.k(16))), x);
      r = b.zext(b.shr(wide, n), s);
    }
    b.write(dst, r);
    b.if(n, () => {
      const cf = s === 2 ? b.and(b.shr(b.or(b.shl(y, b.k(16)), x), b.sub(n, b.k(1))), b.k(1)) : b.and(b.shr(x, b.sub(n, b.k(1))), b.k(1));
      flagsResult(b, r, s, cf, b.xor(msb(b, r, s), msb(b, x, s)));
    });
  },
});
