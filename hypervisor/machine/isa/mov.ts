// Moves between registers and memory, exchanges, and byte swaps. Moves of segment, control and debug registers are in system.ts.

import type { Builder, Size } from '../stage/builder.ts';
import { condition, flagsAdd, flagsSub, setFromEflags, toEflags } from '../stage/flags.ts';
import { RAX, RBX, RCX, RDX } from '../state.ts';
import { insn, OSZAPC } from './insn.ts';
import { sz } from './operand.ts';

export const MOV = insn('MOV', {
  sdm: 'Vol 2B, MOV',
  forms:
    '88 /r Eb,Gb | 89 /r Ev,Gv | 8A /r Gb,Eb | 8B /r Gv,Ev | A0 AL,Ob | A1 rAX,Ov | A2 Ob,AL | A3 Ov,rAX | ' +
    'B0+r Zb,Ib | B8+r Zv,Iv | C6 /0 Eb,Ib | C7 /0 Ev,Iz',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    b.write(dst, b.read(src));
  },
});

export const MOVZX = insn('MOVZX', {
  sdm: 'Vol 2B, MOVZX',
  forms: '0F B6 /r Gv,Eb | 0F B7 /r Gv,Ew',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    b.write(dst, b.read(src));
  },
});

export const MOVSX = insn('MOVSX', {
  sdm: 'Vol 2B, MOVSX/MOVSXD',
  forms: '0F BE /r Gv,Eb | 0F BF /r Gv,Ew',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    b.write(dst, b.zext(b.sext(b.read(src), sz(src)), sz(dst)));
  },
});

/** With a 16-bit operand size Intel reads 16 bits, as here, and AMD 32; the register gets the low 16 either way. */
export const MOVSXD = insn('MOVSXD', {
  sdm: 'Vol 2B, MOVSX/MOVSXD',
  forms: '63 /r Gv,Ez {o64}',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    b.write(dst, b.zext(b.sext(b.read(src), sz(src)), sz(dst)));
  },
});

export const LEA = insn('LEA', {
  sdm: 'Vol 2A, LEA',
  forms: '8D /r Gv,M {mem}',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    b.write(dst, b.zext(b.address(src), sz(dst)));
  },
});

/** 90 without REX.B is NOP (flow.ts), which in 64-bit mode does not clear the high half of RAX. */
export const XCHG = insn('XCHG', {
  sdm: 'Vol 2D, XCHG',
  forms: '86 /r Eb,Gb | 87 /r Ev,Gv | 90+r Zv,rAX',
  operands: { dst: 'rw', src: 'rw' },
  lock: true,
  sem(b, { dst, src }) {
    const x = b.read(dst);
    const y = b.read(src);
    b.write(dst, y);
    b.write(src, x);
  },
});

/** With the same register twice the sum stays; memory is written before a register that may be part of its address. */
export const XADD = insn('XADD', {
  sdm: 'Vol 2D, XADD',
  forms: '0F C0 /r Eb,Gb | 0F C1 /r Ev,Gv',
  operands: { dst: 'rw', src: 'rw' },
  flags: { writes: OSZAPC },
  lock: true,
  sem(b, { dst, src }) {
    const s = sz(dst);
    const x = b.read(dst);
    const y = b.read(src);
    const r = b.zext(b.add(x, y), s);
    if (dst.isReg) b.write(src, x);
    b.write(dst, r);
    if (!dst.isReg) b.write(src, x);
    flagsAdd(b, x, y, r, s);
  },
});

/** Memory is written in either case, with its old value if the comparison failed; a register only if it succeeded. */
export const CMPXCHG = insn('CMPXCHG', {
  sdm: 'Vol 2A, CMPXCHG',
  forms: '0F B0 /r Eb,Gb | 0F B1 /r Ev,Gv',
  operands: { dst: 'rw', src: 'r' },
  flags: { writes: OSZAPC },
  lock: true,
  sem(b, { dst, src }) {
    const s = sz(dst);
    const d = b.read(dst);
    const acc = b.reg(RAX, s);
    const equal = b.eq(acc, d);
    const v = b.read(src);
    if (!dst.isReg) b.write(dst, b.select(equal, v, d));
    b.if(
      equal,
      () => {
        if (dst.isReg) b.write(dst, v);
      },
      () => b.setReg(RAX, s, d),
    );
    flagsSub(b, acc, d, b.zext(b.sub(acc, d), s), s);
  },
});

function setZF<V, X>(b: Builder<V, X>, zf: V): void {
  setFromEflags(b, b.or(b.and(toEflags(b), b.k(~0x40)), b.shl(zf, b.k(6))));
}

export const CMPXCHG8B = insn('CMPXCHG8B', {
  sdm: 'Vol 2A, CMPXCHG8B/CMPXCHG16B',
  forms: '0F C7 /1 Mq {w0 mem}',
  operands: { dst: 'rw' },
  cpuid: 'cx8',
  flags: { writes: ['ZF'] },
  lock: true,
  sem(b, { dst }) {
    const pair = (high: number, low: number) => b.or(b.shl(b.reg(high, 4), b.k(32)), b.reg(low, 4));
    const d = b.read(dst);
    const equal = b.eq(d, pair(RDX, RAX));
    b.write(dst, b.select(equal, pair(RCX, RBX), d));
    b.if(b.eqz(equal), () => {
      b.setReg(RAX, 4, b.zext(d, 4));
      b.setReg(RDX, 4, b.shr(d, b.k(32)));
    });
    setZF(b, equal);
  },
});

/** Misaligned: #GP(0). */
export const CMPXCHG16B = insn('CMPXCHG16B', {
  sdm: 'Vol 2A, CMPXCHG8B/CMPXCHG16B',
  forms: '0F C7 /1 Mdq {w1 mem}',
  operands: { dst: 'rw' },
  flags: { writes: ['ZF'] },
  cpuid: 'cx16',
  lock: true,
  sem(b, { dst }) {
    const d = b.x.read(dst, true);
    const lo = b.x.lane(d, 0);
    const hi = b.x.lane(d, 1);
    const equal = b.and(b.eq(lo, b.reg(RAX, 8)), b.eq(hi, b.reg(RDX, 8)));
    b.x.write(dst, b.x.make(b.select(equal, b.reg(RBX, 8), lo), b.select(equal, b.reg(RCX, 8), hi)), true);
    b.if(b.eqz(equal), () => {
      b.setReg(RAX, 8, lo);
      b.setReg(RDX, 8, hi);
    });
    setZF(b, equal);
  },
});

function byteSwap<V, X>(b: Builder<V, X>, v: V, s: Size): V {
  const swap = (a: V, mask: bigint, n: number) => b.or(b.and(b.shr(a, b.k(n)), b.k(mask)), b.shl(b.and(a, b.k(mask)), b.k(n)));
  const pairs = swap(swap(v, 0x00ff00ff00ff00ffn, 8), 0x0000ffff0000ffffn, 16);
  return b.shr(b.rotl(pairs, b.k(32)), b.k(64 - s * 8));
}

/** With a 16-bit operand size the result is undefined; processors clear the register's low half. */
export const BSWAP = insn('BSWAP', {
  sdm: 'Vol 2A, BSWAP',
  forms: '0F C8+r Zv',
  operands: { dst: 'rw' },
  sem(b, { dst }) {
    const s = sz(dst);
    b.write(dst, s === 2 ? b.k(0) : byteSwap(b, b.read(dst), s));
  },
});

export const MOVBE = insn('MOVBE', {
  sdm: 'Vol 2B, MOVBE',
  forms: 'NFx 0F 38 F0 /r Gv,Mv {mem} | NFx 0F 38 F1 /r Mv,Gv {mem}',
  operands: { dst: 'w', src: 'r' },
  cpuid: 'movbe',
  sem(b, { dst, src }) {
    b.write(dst, byteSwap(b, b.read(src), sz(dst)));
  },
});

/** A 32-bit destination is written, so its high half cleared, whether the condition holds or not. */
export const CMOVcc = insn('CMOVcc', {
  sdm: 'Vol 2A, CMOVcc',
  forms: '0F 40+cc /r Gv,Ev',
  cpuid: 'cmov',
  operands: { dst: 'rw', src: 'r' },
  flags: { reads: OSZAPC },
  sem(b, { dst, src }, c) {
    const v = b.read(src);
    b.write(dst, b.select(condition(b, c.cc), v, b.read(dst)));
  },
});

export const SETcc = insn('SETcc', {
  sdm: 'Vol 2B, SETcc',
  forms: '0F 90+cc /r Eb',
  operands: { dst: 'w' },
  flags: { reads: OSZAPC },
  sem(b, { dst }, c) {
    b.write(dst, condition(b, c.cc));
  },
});

/** AL from a table of 256 bytes. Of its operand, which has rBX for an address, only the segment is used. */
export const XLAT = insn('XLAT', {
  sdm: 'Vol 2D, XLAT/XLATB',
  forms: 'D7 (rBX)b',
  operands: { table: 'r' },
  sem(b, { table }) {
    const a = b.mode.addrSize;
    const offset = b.zext(b.add(b.reg(RBX, a), b.reg(RAX, 1)), a);
    b.setReg(RAX, 1, b.load(b.segment(table), offset, 1));
  },
});
