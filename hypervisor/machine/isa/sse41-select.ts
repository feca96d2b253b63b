// SSE4.1: lanes blended from two registers, and single lanes put in and taken out.

import type { Builder } from '../stage/builder.ts';
import { type AnyInsn, insn } from './insn.ts';
import { needSse, packedImm, splatByte, withLane } from './sse-common.ts';

/** Bit i of imm8 takes lane i from the source. `bits` has in each byte the bit that decides over it. */
const blendImm = (mnemonic: string, opcode: string, low: bigint, high: bigint): AnyInsn =>
  packedImm(
    mnemonic,
    `66 0F 3A ${opcode} /r Vx,Wx,Ib`,
    (b, d, s, imm) => {
      const bits = b.x.constant(low, high);
      return b.x.bitselect(s, d, b.x.op2('i8x16.eq', b.x.op2('v128.and', splatByte(b, imm), bits), bits));
    },
    'sse4_1',
  );
export const blends = [
  blendImm('BLENDPS', '0C', 0x0202020201010101n, 0x0808080804040404n),
  blendImm('BLENDPD', '0D', 0x0101010101010101n, 0x0202020202020202n),
  blendImm('PBLENDW', '0E', 0x0808040402020101n, 0x8080404020201010n),
];

/** The sign of each lane of XMM0 takes that lane from the source. */
const blendVariable = (mnemonic: string, opcode: string, lane: 'i8x16' | 'i32x4' | 'i64x2'): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2, ${mnemonic}`,
    forms: `66 0F 38 ${opcode} /r Vx,Wx,XMM0`,
    cpuid: 'sse4_1',
    operands: { dst: 'rw', src: 'r', chooser: 'r' },
    sem(b, { dst, src, chooser }) {
      needSse(b);
      const s = b.x.read(src, true);
      const mask = b.x.op2(`${lane}.lt_s`, b.x.read(chooser, false), b.x.constant(0n, 0n));
      b.x.write(dst, b.x.bitselect(s, b.x.read(dst, false), mask), false);
    },
  });
export const variableBlends = [
  blendVariable('PBLENDVB', '10', 'i8x16'),
  blendVariable('BLENDVPS', '14', 'i32x4'),
  blendVariable('BLENDVPD', '15', 'i64x2'),
];

/** Lane `index` (of `size` bytes; higher bits of the index do not count) in the low bits of 64. */
function laneAt<V, X>(b: Builder<V, X>, x: X, size: 1 | 2 | 4 | 8, index: V): V {
  const n = 8 / size;
  const half = b.select(b.and(index, b.k(n)), b.x.lane(x, 1), b.x.lane(x, 0));
  if (size === 8) return half;
  return b.zext(b.shr(half, b.mul(b.and(index, b.k(n - 1)), b.k(size * 8))), size);
}
/** PEXTRD with REX.W is PEXTRQ, as PINSRD is PINSRQ. */
const extract = (mnemonic: string, opcode: string, to: string, size: 1 | 2 | 4): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2, ${mnemonic.split('_')[0]}`,
    forms: `66 0F 3A ${opcode} /r ${to},Vx,Ib`,
    cpuid: 'sse4_1',
    operands: { dst: 'w', src: 'r', imm: 'r' },
    sem(b, { dst, src, imm }) {
      needSse(b);
      b.write(dst, laneAt(b, b.x.read(src, false), dst.size === 8 ? 8 : size, b.read(imm)));
    },
  });
export const extracts = [
  extract('PEXTRB', '14', 'Rd/Mb', 1),
  // The form that can store; that of SSE2 is in sse-integer.ts.
  extract('PEXTRW_S', '15', 'Rd/Mw', 2),
  extract('PEXTRD', '16', 'Ey', 4),
  extract('EXTRACTPS', '17', 'Ed', 4),
];

const insert = (mnemonic: string, opcode: string, from: string, size: 1 | 4): AnyInsn =>
  insn(mnemonic, {
    sdm: 'Vol 2B, PINSRB/PINSRD/PINSRQ',
    forms: `66 0F 3A ${opcode} /r Vx,${from},Ib`,
    cpuid: 'sse4_1',
    operands: { dst: 'rw', src: 'r', imm: 'r' },
    sem(b, { dst, src, imm }) {
      needSse(b);
      const v = src.size === 8 ? b.read(src) : b.zext(b.read(src), size);
      b.x.write(dst, withLane(b, b.x.read(dst, false), src.size === 8 ? 8 : size, b.read(imm), v), false);
    },
  });
export const inserts = [insert('PINSRB', '20', 'Rd/Mb', 1), insert('PINSRD', '22', 'Ey', 4)];

/** imm8: which dword of a register source (7:6), where to (5:4), which lanes become zero (3:0). */
export const INSERTPS = insn('INSERTPS', {
  sdm: 'Vol 2A, INSERTPS',
  forms: '66 0F 3A 21 /r Vx,Wd,Ib',
  cpuid: 'sse4_1',
  operands: { dst: 'rw', src: 'r', imm: 'r' },
  sem(b, { dst, src, imm }) {
    needSse(b);
    const v = src.isReg ? undefined : b.read(src);
    const i = b.read(imm);
    const from = v ?? laneAt(b, b.x.read(src, false), 4, b.shr(i, b.k(6)));
    const whole = withLane(b, b.x.read(dst, false), 4, b.shr(i, b.k(4)), from);
    const bits = b.x.constant(0x0202020201010101n, 0x0808080804040404n);
    const zeroed = b.x.op2('i8x16.eq', b.x.op2('v128.and', splatByte(b, i), bits), bits);
    b.x.write(dst, b.x.op2('v128.andnot', whole, zeroed), false);
  },
});
