// Bit tests, bit scans and counts.

import type { Builder, Operand, Size } from '../stage/builder.ts';
import { setFromEflags } from '../stage/flags.ts';
import { insn, OSZAPC } from './insn.ts';
import { setCF, sz } from './operand.ts';

const BT_FLAGS = { writes: ['CF'], undefined: ['OF', 'SF', 'AF', 'PF'] } as const;
const forms = (opcode: string, n: number): string => `0F ${opcode} /r Ev,Gv | 0F BA /${n} Ev,Ib`;

/** The unit of memory that holds the bit: with the offset in a register it may lie anywhere around the operand (SDM Vol 2A, BT). */
function bitUnit<V, X>(b: Builder<V, X>, dst: Operand, index: V): V {
  const s = sz(dst);
  const unit = b.mul(b.sar(b.sext(index, s), b.k(s === 8 ? 6 : s === 4 ? 5 : 4)), b.k(s));
  return b.zext(b.add(b.address(dst), unit), b.mode.addrSize);
}

const mask = <V, X>(b: Builder<V, X>, index: V, s: Size): V => b.shl(b.k(1), b.and(index, b.k(s * 8 - 1)));

type Change = <V, X>(b: Builder<V, X>, x: V, m: V) => V;

function changeBit<V, X>(b: Builder<V, X>, dst: Operand<'rw'>, src: Operand<'r'>, change: Change): void {
  const s = sz(dst);
  const index = b.read(src);
  const m = mask(b, index, s);
  if (dst.isReg || !src.isReg) {
    const x = b.read(dst);
    b.write(dst, b.zext(change(b, x, m), s));
    setCF(b, b.ne(b.and(x, m), b.k(0)));
    return;
  }
  const at = bitUnit(b, dst, index);
  const seg = b.segment(dst);
  const x = b.loadRw(seg, at, s);
  b.store(seg, at, s, b.zext(change(b, x, m), s));
  setCF(b, b.ne(b.and(x, m), b.k(0)));
}

export const BT = insn('BT', {
  sdm: 'Vol 2A, BT',
  forms: forms('A3', 4),
  operands: { dst: 'r', src: 'r' },
  flags: BT_FLAGS,
  sem(b, { dst, src }) {
    const s = sz(dst);
    const index = b.read(src);
    const x = dst.isReg || !src.isReg ? b.read(dst) : b.load(b.segment(dst), bitUnit(b, dst, index), s);
    setCF(b, b.ne(b.and(x, mask(b, index, s)), b.k(0)));
  },
});

export const BTS = insn('BTS', {
  sdm: 'Vol 2A, BTS',
  forms: forms('AB', 5),
  operands: { dst: 'rw', src: 'r' },
  flags: BT_FLAGS,
  lock: true,
  sem: (b, { dst, src }) => changeBit(b, dst, src, (bb, x, m) => bb.or(x, m)),
});

export const BTR = insn('BTR', {
  sdm: 'Vol 2A, BTR',
  forms: forms('B3', 6),
  operands: { dst: 'rw', src: 'r' },
  flags: BT_FLAGS,
  lock: true,
  sem: (b, { dst, src }) => changeBit(b, dst, src, (bb, x, m) => bb.and(x, bb.not(m))),
});

export const BTC = insn('BTC', {
  sdm: 'Vol 2A, BTC',
  forms: forms('BB', 7),
  operands: { dst: 'rw', src: 'r' },
  flags: BT_FLAGS,
  lock: true,
  sem: (b, { dst, src }) => changeBit(b, dst, src, (bb, x, m) => bb.xor(x, m)),
});

const SCAN_FLAGS = { writes: OSZAPC, undefined: ['OF', 'SF', 'AF', 'PF', 'CF'] } as const;

/** A zero source leaves the destination alone, the high half of a 32-bit one included: AMD says so, Intel's processors do so. */
export const BSF = insn('BSF', {
  sdm: 'Vol 2A, BSF',
  forms: '0F BC /r Gv,Ev',
  operands: { dst: 'rw', src: 'r' },
  flags: SCAN_FLAGS,
  sem(b, { dst, src }) {
    const x = b.read(src);
    b.if(x, () => b.write(dst, b.ctz(x)));
    b.setFlags(b.sext(x, sz(src)), b.k(0));
  },
});

export const BSR = insn('BSR', {
  sdm: 'Vol 2A, BSR',
  forms: '0F BD /r Gv,Ev',
  operands: { dst: 'rw', src: 'r' },
  flags: SCAN_FLAGS,
  sem(b, { dst, src }) {
    const x = b.read(src);
    b.if(x, () => b.write(dst, b.sub(b.k(63), b.clz(x))));
    b.setFlags(b.sext(x, sz(src)), b.k(0));
  },
});

const COUNT_FLAGS = { writes: OSZAPC, undefined: ['OF', 'SF', 'AF', 'PF'] } as const;
const carryZero = <V, X>(b: Builder<V, X>, cf: V, zf: V): void => setFromEflags(b, b.or(cf, b.shl(zf, b.k(6))));

/**
 * Processors without BMI1 or LZCNT ignore the F3 and run BSF or BSR: compilers put it before BSF, since TZCNT gives the same for any source
 * but zero.
 */
export const TZCNT = insn('TZCNT', {
  sdm: 'Vol 2B, TZCNT',
  forms: 'F3 0F BC /r Gv,Ev',
  operands: { dst: 'w', src: 'r' },
  flags: COUNT_FLAGS,
  cpuid: 'bmi1',
  older: BSF,
  sem(b, { dst, src }) {
    const x = b.read(src);
    const n = b.select(x, b.ctz(x), b.k(sz(src) * 8));
    b.write(dst, n);
    carryZero(b, b.eqz(x), b.eqz(n));
  },
});

export const LZCNT = insn('LZCNT', {
  sdm: 'Vol 2A, LZCNT',
  forms: 'F3 0F BD /r Gv,Ev',
  operands: { dst: 'w', src: 'r' },
  flags: COUNT_FLAGS,
  cpuid: 'abm',
  older: BSR,
  sem(b, { dst, src }) {
    const x = b.read(src);
    const n = b.sub(b.clz(x), b.k(64 - sz(src) * 8));
    b.write(dst, n);
    carryZero(b, b.eqz(x), b.eqz(n));
  },
});

export const POPCNT = insn('POPCNT', {
  sdm: 'Vol 2B, POPCNT',
  forms: 'F3 0F B8 /r Gv,Ev',
  operands: { dst: 'w', src: 'r' },
  flags: { writes: OSZAPC },
  cpuid: 'popcnt',
  sem(b, { dst, src }) {
    const x = b.read(src);
    b.write(dst, b.popcnt(x));
    carryZero(b, b.k(0), b.eqz(x));
  },
});
