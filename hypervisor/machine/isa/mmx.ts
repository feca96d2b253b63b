// MMX, and what SSE and SSE2 added to it: instructions with an MMX register. They compute on the low half of 128-bit values with the
// operations that their XMM namesakes have (packed-integer.ts). Mnemonics end in _M where an XMM form has the same name.
//
// MMX register n is the significand of the x87 register with physical number n, wherever TOP points. An instruction that can fault does so
// before it turns the x87 unit over to MMX (enterMmx).

import type { Builder, Operand, Readable } from '../stage/builder.ts';
import { STATE } from '../state.ts';
import { type AnyInsn, insn } from './insn.ts';
import { HALFWISE, interleave, type MmxFeature, PACKS, SHIFTS, shiftBy, UNPACKS, withWord, wordOf, wordQuad } from './packed-integer.ts';
import { CR0_EM_TS, needSse, setLow64 } from './sse-common.ts';
import { doublesToDwords, dwordsToFloats, floatsToDwords } from './sse-convert.ts';

/** CR0.NE is bit 5, FSW.ES bit 7. */
const NE_TO_ES = 2;
const FSW_ES = 0x80;
const FSW_NOT_TOP = 0xc7ff;

/** #UD, #NM and #MF conditions of SDM Vol 3A, 12.5: left to TypeScript, which raises what is due (system/fpu-check.ts). */
export function needMmx<V>(b: Builder<V>): void {
  const cr0 = b.state(STATE.cr0, 4);
  const pending = b.and(b.and(b.shl(cr0, b.k(NE_TO_ES)), b.state(STATE.fsw, 2)), b.k(FSW_ES));
  b.if(b.or(b.and(cr0, b.k(CR0_EM_TS)), pending), () => b.slow());
}
/** The transition from x87 to MMX: TOP is 0 and all registers are valid (SDM Vol 3A, 12.2). */
export function enterMmx<V>(b: Builder<V>): void {
  b.setState(STATE.fsw, 2, b.and(b.state(STATE.fsw, 2), b.k(FSW_NOT_TOP)));
  b.setState(STATE.ftw, 2, b.k(0));
}

export const widen = <V, X>(b: Builder<V, X>, v: V): X => b.x.make(v, b.k(0));

/** dst = f(dst, src) on 64 bits. */
export const two = (
  mnemonic: string,
  forms: string,
  f: <V, X>(b: Builder<V, X>, dst: V, src: V) => V,
  feature: MmxFeature = 'mmx',
): AnyInsn =>
  insn(`${mnemonic}_M`, {
    sdm: `Vol 2B, ${mnemonic}`,
    forms,
    cpuid: feature,
    operands: { dst: 'rw', src: 'r' },
    sem(b, { dst, src }) {
      needMmx(b);
      const s = b.read(src);
      const r = f(b, b.read(dst), s);
      enterMmx(b);
      b.write(dst, r);
    },
  });

export const halfwise = HALFWISE.map(([m, opcode, op, feature]) =>
  two(m, `NP 0F ${opcode} /r Pq,Qq`, (b, d, s) => b.x.lane(op(b, widen(b, d), widen(b, s)), 0), feature),
);
/** Both sources side by side give all lanes at once. */
export const packs = PACKS.map(([m, opcode, op]) =>
  two(m, `NP 0F ${opcode} /r Pq,Qq`, (b, d, s) => b.x.lane(op(b, b.x.make(d, s), widen(b, d)), 0)),
);
/** The low halves of XMM registers interleaved have the low and the high halves of MMX registers. Memory for the low is 4 bytes. */
export const unpacks = UNPACKS.map(([m, opcode, size, high]) =>
  two(m, `NP 0F ${opcode} /r Pq,Q${high ? 'q' : 'd'}`, (b, d, s) =>
    b.x.lane(b.x.shuffle(widen(b, d), widen(b, s), interleave(size, false)), high ? 1 : 0),
  ),
);
export const shifts = SHIFTS.flatMap(([m, lane, kind, byRegister, byImmediate]) => [
  two(m, `NP 0F ${byRegister} /r Pq,Qq`, (b, d, s) => b.x.lane(shiftBy(b, lane, kind, widen(b, d), s), 0)),
  insn(`${m}_MI`, {
    sdm: `Vol 2B, ${m}`,
    forms: `NP 0F ${byImmediate} Nq,Ib`,
    cpuid: 'mmx',
    operands: { dst: 'rw', count: 'r' },
    sem(b, { dst, count }) {
      needMmx(b);
      const r = b.x.lane(shiftBy(b, lane, kind, widen(b, b.read(dst)), b.read(count)), 0);
      enterMmx(b);
      b.write(dst, r);
    },
  }),
]);

/** dst = f(src), zero-extended to the destination. */
const move = (mnemonic: string, manual: string, forms: string, feature: MmxFeature): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2B, ${manual}`,
    forms,
    cpuid: feature,
    operands: { dst: 'w', src: 'r' },
    sem(b, { dst, src }) {
      needMmx(b);
      const v = b.read(src);
      // A store may fault; a register is written behind the transition or before it, which is the same.
      b.write(dst, dst.size === 4 ? b.zext(v, 4) : v);
      enterMmx(b);
    },
  });
export const moves = [
  // With REX.W these are MOVQ.
  move('MOVD_M', 'MOVD/MOVQ', 'NP 0F 6E /r Pq,Ey', 'mmx'),
  move('MOVD_MS', 'MOVD/MOVQ', 'NP 0F 7E /r Ey,Pq', 'mmx'),
  move('MOVQ_M', 'MOVQ', 'NP 0F 6F /r Pq,Qq | NP 0F 7F /r Qq,Pq', 'mmx'),
  move('MOVNTQ', 'MOVNTQ', 'NP 0F E7 /r Mq,Pq', 'sse'),
];

export const PSHUFW = insn('PSHUFW', {
  sdm: 'Vol 2B, PSHUFW',
  forms: 'NP 0F 70 /r Pq,Qq,Ib',
  cpuid: 'sse',
  operands: { dst: 'w', src: 'r', imm: 'r' },
  sem(b, { dst, src, imm }) {
    needMmx(b);
    const s = widen(b, b.read(src));
    const r = b.x.lane(b.x.op2('i8x16.swizzle', s, widen(b, wordQuad(b, b.read(imm), 0))), 0);
    enterMmx(b);
    b.write(dst, r);
  },
});
export const PEXTRW = insn('PEXTRW_M', {
  sdm: 'Vol 2B, PEXTRW',
  forms: 'NP 0F C5 /r Gd,Nq,Ib',
  cpuid: 'sse',
  operands: { dst: 'w', src: 'r', imm: 'r' },
  sem(b, { dst, src, imm }) {
    needMmx(b);
    b.write(dst, wordOf(b, b.read(src), b.read(imm)));
    enterMmx(b);
  },
});
export const PINSRW = insn('PINSRW_M', {
  sdm: 'Vol 2B, PINSRW',
  forms: 'NP 0F C4 /r Pq,Rd/Mw,Ib',
  cpuid: 'sse',
  operands: { dst: 'rw', src: 'r', imm: 'r' },
  sem(b, { dst, src, imm }) {
    needMmx(b);
    const word = b.zext(b.read(src), 2);
    const r = withWord(b, b.read(dst), b.read(imm), word);
    enterMmx(b);
    b.write(dst, r);
  },
});
export const PMOVMSKB = insn('PMOVMSKB_M', {
  sdm: 'Vol 2B, PMOVMSKB',
  forms: 'NP 0F D7 /r Gd,Nq',
  cpuid: 'sse',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    needMmx(b);
    b.write(dst, b.x.bitmask('i8x16', widen(b, b.read(src))));
    enterMmx(b);
  },
});
/** Byte by byte, as MASKMOVDQU: left to TypeScript (system/fpstate.ts). */
export const MASKMOVQ = insn('MASKMOVQ', {
  sdm: 'Vol 2B, MASKMOVQ',
  forms: 'NP 0F F7 /r (rDI)q,Pq,Nq',
  cpuid: 'sse',
  operands: { dst: 'w', src: 'r', mask: 'r' },
});

// --- between MMX and XMM registers

export const MOVQ2DQ = insn('MOVQ2DQ', {
  sdm: 'Vol 2B, MOVQ2DQ',
  forms: 'F3 0F D6 /r Vx,Nq',
  cpuid: 'sse2',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    needMmx(b);
    b.x.write(dst, widen(b, b.read(src)), false);
    enterMmx(b);
  },
});
export const MOVDQ2Q = insn('MOVDQ2Q', {
  sdm: 'Vol 2B, MOVDQ2Q',
  forms: 'F2 0F D6 /r Pq,Ux',
  cpuid: 'sse2',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    needMmx(b);
    b.write(dst, b.read(src));
    enterMmx(b);
  },
});

/** Two floats, or two doubles (in 16 bytes of memory, aligned), to two integers. */
const toIntegers = (
  mnemonic: string,
  forms: string,
  feature: 'sse' | 'sse2',
  read: <V, X>(b: Builder<V, X>, src: Operand<'r'>) => X,
  convert: <V, X>(b: Builder<V, X>, s: X) => X,
): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2A, ${mnemonic}`,
    forms,
    cpuid: feature,
    operands: { dst: 'w', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      needMmx(b);
      const r = b.x.lane(convert(b, read(b, src)), 0);
      enterMmx(b);
      b.write(dst, r);
    },
  });
const lowHalf = <V, X>(b: Builder<V, X>, src: Readable): X => widen(b, b.read(src));
const allOf = <V, X>(b: Builder<V, X>, src: Readable): X => b.x.read(src, true);
export const fromFloats = [
  toIntegers('CVTPS2PI', 'NP 0F 2D /r Pq,Wq', 'sse', lowHalf, floatsToDwords(false)),
  toIntegers('CVTTPS2PI', 'NP 0F 2C /r Pq,Wq', 'sse', lowHalf, floatsToDwords(true)),
  toIntegers('CVTPD2PI', '66 0F 2D /r Pq,Wx', 'sse2', allOf, doublesToDwords(false)),
  toIntegers('CVTTPD2PI', '66 0F 2C /r Pq,Wx', 'sse2', allOf, doublesToDwords(true)),
];

/**
 * From memory these two have nothing to do with MMX. SDM Vol 2A says so of CVTPI2PD only, and of CVTPI2PS the contrary; processors (an AMD
 * EPYC has been asked) treat both alike.
 */
export const CVTPI2PS = insn('CVTPI2PS', {
  sdm: 'Vol 2A, CVTPI2PS',
  forms: 'NP 0F 2A /r Vx,Qq',
  cpuid: 'sse',
  operands: { dst: 'rw', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    if (src.isReg) needMmx(b);
    const r = b.x.lane(dwordsToFloats(b, widen(b, b.read(src))), 0);
    setLow64(b, dst, r);
    if (src.isReg) enterMmx(b);
  },
});
export const CVTPI2PD = insn('CVTPI2PD', {
  sdm: 'Vol 2A, CVTPI2PD',
  forms: '66 0F 2A /r Vx,Qq',
  cpuid: 'sse2',
  operands: { dst: 'w', src: 'r' },
  sem(b, { dst, src }) {
    needSse(b);
    if (src.isReg) needMmx(b);
    b.x.write(dst, b.x.op1('f64x2.convert_low_i32x4_s', widen(b, b.read(src))), false);
    if (src.isReg) enterMmx(b);
  },
});
