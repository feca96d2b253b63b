// Moves to, from and between XMM registers.

import type { AnyInsn } from './insn.ts';
import { insn } from './insn.ts';
import { low32, needSse, setLow32, setLow64, wholeMove } from './sse-common.ts';

export const whole: readonly AnyInsn[] = [
  wholeMove('MOVAPS', 'NP 0F 28 /r Vx,Wx | NP 0F 29 /r Wx,Vx', true, 'sse'),
  wholeMove('MOVAPD', '66 0F 28 /r Vx,Wx | 66 0F 29 /r Wx,Vx', true, 'sse2'),
  wholeMove('MOVUPS', 'NP 0F 10 /r Vx,Wx | NP 0F 11 /r Wx,Vx', false, 'sse'),
  wholeMove('MOVUPD', '66 0F 10 /r Vx,Wx | 66 0F 11 /r Wx,Vx', false, 'sse2'),
  wholeMove('MOVDQA', '66 0F 6F /r Vx,Wx | 66 0F 7F /r Wx,Vx', true, 'sse2'),
  wholeMove('MOVDQU', 'F3 0F 6F /r Vx,Wx | F3 0F 7F /r Wx,Vx', false, 'sse2'),
  wholeMove('MOVNTDQ', '66 0F E7 /r Mx,Vx', true, 'sse2'),
  wholeMove('MOVNTPS', 'NP 0F 2B /r Mx,Vx', true, 'sse'),
  wholeMove('MOVNTPD', '66 0F 2B /r Mx,Vx', true, 'sse2'),
];

export const MOVNTI = insn('MOVNTI', {
  sdm: 'Vol 2B, MOVNTI',
  forms: 'NP 0F C3 /r My,Gy',
  cpuid: 'sse2',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    b.write(dst, b.read(src));
  },
});

/** From memory the rest of the register is cleared, from a register it is kept. */
export const MOVSS = insn('MOVSS', {
  sdm: 'Vol 2B, MOVSS',
  forms: 'F3 0F 10 /r Vss,Wss',
  cpuid: 'sse',
  operands: { dst: 'rw', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    if (src.isReg) setLow32(b, dst, low32(b, src));
    else b.x.write(dst, b.x.make(b.read(src), b.k(0)), false);
  },
});
export const MOVSD = insn('MOVSD', {
  sdm: 'Vol 2B, MOVSD',
  forms: 'F2 0F 10 /r Vsd,Wsd',
  cpuid: 'sse2',
  operands: { dst: 'rw', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    if (src.isReg) setLow64(b, dst, b.read(src));
    else b.x.write(dst, b.x.make(b.read(src), b.k(0)), false);
  },
});
/** The store forms of MOVSS and MOVSD. */
export const MOVSS_S = insn('MOVSS_S', {
  sdm: 'Vol 2B, MOVSS',
  forms: 'F3 0F 11 /r Wss,Vss',
  cpuid: 'sse',
  operands: { dst: 'rw', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    if (dst.isReg) setLow32(b, dst, low32(b, src));
    else b.write(dst, low32(b, src));
  },
});
export const MOVSD_S = insn('MOVSD_S', {
  sdm: 'Vol 2B, MOVSD',
  forms: 'F2 0F 11 /r Wsd,Vsd',
  cpuid: 'sse2',
  operands: { dst: 'rw', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    if (dst.isReg) setLow64(b, dst, b.read(src));
    else b.write(dst, b.read(src));
  },
});

/** MOVD, and MOVQ with REX.W. */
export const MOVD = insn('MOVD', {
  sdm: 'Vol 2B, MOVD/MOVQ',
  forms: '66 0F 6E /r Vx,Ey',
  cpuid: 'sse2',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    b.x.write(dst, b.x.make(b.read(src), b.k(0)), false);
  },
});
export const MOVD_S = insn('MOVD_S', {
  sdm: 'Vol 2B, MOVD/MOVQ',
  forms: '66 0F 7E /r Ey,Vx',
  cpuid: 'sse2',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    const v = b.read(src);
    b.write(dst, dst.size === 8 ? v : b.zext(v, 4));
  },
});
export const MOVQ = insn('MOVQ', {
  sdm: 'Vol 2B, MOVQ',
  forms: 'F3 0F 7E /r Vq,Wq | 66 0F D6 /r Wq,Vq',
  cpuid: 'sse2',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    const v = b.read(src);
    if (dst.isReg) b.x.write(dst, b.x.make(v, b.k(0)), false);
    else b.write(dst, v);
  },
});

const halfLoad = (mnemonic: string, forms: string, high: boolean, feature: 'sse' | 'sse2') =>
  insn(mnemonic, {
    sdm: `Vol 2B, ${mnemonic}`,
    forms,
    cpuid: feature,
    operands: { dst: 'rw', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      const v = b.read(src);
      const old = b.x.read(dst, false);
      b.x.write(dst, high ? b.x.make(b.x.lane(old, 0), v) : b.x.make(v, b.x.lane(old, 1)), false);
    },
  });
const halfStore = (mnemonic: string, forms: string, high: boolean, feature: 'sse' | 'sse2') =>
  insn(`${mnemonic}_S`, {
    sdm: `Vol 2B, ${mnemonic}`,
    forms,
    cpuid: feature,
    operands: { dst: 'w', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      b.write(dst, b.x.lane(b.x.read(src, false), high ? 1 : 0));
    },
  });
export const halves: readonly AnyInsn[] = [
  halfLoad('MOVLPS', 'NP 0F 12 /r Vx,Mq', false, 'sse'),
  halfStore('MOVLPS', 'NP 0F 13 /r Mq,Vx', false, 'sse'),
  halfLoad('MOVLPD', '66 0F 12 /r Vx,Mq', false, 'sse2'),
  halfStore('MOVLPD', '66 0F 13 /r Mq,Vx', false, 'sse2'),
  halfLoad('MOVHPS', 'NP 0F 16 /r Vx,Mq', true, 'sse'),
  halfStore('MOVHPS', 'NP 0F 17 /r Mq,Vx', true, 'sse'),
  halfLoad('MOVHPD', '66 0F 16 /r Vx,Mq', true, 'sse2'),
  halfStore('MOVHPD', '66 0F 17 /r Mq,Vx', true, 'sse2'),
  // MOVLHPS: the low half of the source to the high half of the destination.
  halfLoad('MOVLHPS', 'NP 0F 16 /r Vx,Ux', true, 'sse'),
];
export const MOVHLPS = insn('MOVHLPS', {
  sdm: 'Vol 2B, MOVHLPS',
  forms: 'NP 0F 12 /r Vx,Ux',
  cpuid: 'sse',
  operands: { dst: 'rw', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    setLow64(b, dst, b.x.lane(b.x.read(src, false), 1));
  },
});
