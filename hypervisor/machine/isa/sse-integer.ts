// SSE2 on packed integers (and the integer parts of SSE that work on XMM registers).

import type { Builder } from '../stage/builder.ts';
import { insn } from './insn.ts';
import { maskX, needSse, packed, packedImm, splatByte } from './sse-common.ts';

/** Those that are one WebAssembly operation: mnemonic, opcode after 66 0F, operation on (dst, src). */
const DIRECT: readonly (readonly [string, string, string])[] = [
  ['PADDB', 'FC', 'i8x16.add'],
  ['PADDW', 'FD', 'i16x8.add'],
  ['PADDD', 'FE', 'i32x4.add'],
  ['PADDQ', 'D4', 'i64x2.add'],
  ['PADDSB', 'EC', 'i8x16.add_sat_s'],
  ['PADDSW', 'ED', 'i16x8.add_sat_s'],
  ['PADDUSB', 'DC', 'i8x16.add_sat_u'],
  ['PADDUSW', 'DD', 'i16x8.add_sat_u'],
  ['PSUBB', 'F8', 'i8x16.sub'],
  ['PSUBW', 'F9', 'i16x8.sub'],
  ['PSUBD', 'FA', 'i32x4.sub'],
  ['PSUBQ', 'FB', 'i64x2.sub'],
  ['PSUBSB', 'E8', 'i8x16.sub_sat_s'],
  ['PSUBSW', 'E9', 'i16x8.sub_sat_s'],
  ['PSUBUSB', 'D8', 'i8x16.sub_sat_u'],
  ['PSUBUSW', 'D9', 'i16x8.sub_sat_u'],
  ['PMULLW', 'D5', 'i16x8.mul'],
  ['PAND', 'DB', 'v128.and'],
  ['POR', 'EB', 'v128.or'],
  ['PXOR', 'EF', 'v128.xor'],
  ['PCMPEQB', '74', 'i8x16.eq'],
  ['PCMPEQW', '75', 'i16x8.eq'],
  ['PCMPEQD', '76', 'i32x4.eq'],
  ['PCMPGTB', '64', 'i8x16.gt_s'],
  ['PCMPGTW', '65', 'i16x8.gt_s'],
  ['PCMPGTD', '66', 'i32x4.gt_s'],
  ['PMAXSW', 'EE', 'i16x8.max_s'],
  ['PMAXUB', 'DE', 'i8x16.max_u'],
  ['PMINSW', 'EA', 'i16x8.min_s'],
  ['PMINUB', 'DA', 'i8x16.min_u'],
  ['PAVGB', 'E0', 'i8x16.avgr_u'],
  ['PAVGW', 'E3', 'i16x8.avgr_u'],
  ['PMADDWD', 'F5', 'i32x4.dot_i16x8_s'],
  ['PACKSSWB', '63', 'i8x16.narrow_i16x8_s'],
  ['PACKSSDW', '6B', 'i16x8.narrow_i32x4_s'],
  ['PACKUSWB', '67', 'i8x16.narrow_i16x8_u'],
];
export const direct = DIRECT.map(([m, opcode, op]) => packed(m, `66 0F ${opcode} /r Vx,Wx`, (b, d, s) => b.x.op2(op, d, s)));

export const PANDN = packed('PANDN', '66 0F DF /r Vx,Wx', (b, d, s) => b.x.op2('v128.andnot', s, d));

/** The high half of each 16-bit product. */
const HIGH_WORDS = [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31];
const mulHigh =
  (sign: 's' | 'u') =>
  <V, X>(b: Builder<V, X>, d: X, s: X): X =>
    b.x.shuffle(b.x.op2(`i32x4.extmul_low_i16x8_${sign}`, d, s), b.x.op2(`i32x4.extmul_high_i16x8_${sign}`, d, s), HIGH_WORDS);
export const PMULHW = packed('PMULHW', '66 0F E5 /r Vx,Wx', mulHigh('s'));
export const PMULHUW = packed('PMULHUW', '66 0F E4 /r Vx,Wx', mulHigh('u'));

const EVEN_DWORDS = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
export const PMULUDQ = packed('PMULUDQ', '66 0F F4 /r Vx,Wx', (b, d, s) =>
  b.x.op2('i64x2.extmul_low_i32x4_u', b.x.shuffle(d, d, EVEN_DWORDS), b.x.shuffle(s, s, EVEN_DWORDS)),
);

export const PSADBW = packed('PSADBW', '66 0F F6 /r Vx,Wx', (b, d, s) => {
  const diff = b.x.op2('i8x16.sub', b.x.op2('i8x16.max_u', d, s), b.x.op2('i8x16.min_u', d, s));
  const sums = b.x.op1('i32x4.extadd_pairwise_i16x8_u', b.x.op1('i16x8.extadd_pairwise_i8x16_u', diff));
  const fold = (i: 0 | 1) => b.add(b.zext(b.x.lane(sums, i), 4), b.shr(b.x.lane(sums, i), b.k(32)));
  return b.x.make(fold(0), fold(1));
});

/** Interleaves the lanes (of `size` bytes) of the low or high halves. */
const interleave = (size: number, high: boolean): number[] => {
  const lanes: number[] = [];
  for (let i = high ? 8 : 0; i < (high ? 16 : 8); i += size) {
    for (let j = 0; j < size; j++) lanes.push(i + j);
    for (let j = 0; j < size; j++) lanes.push(16 + i + j);
  }
  return lanes;
};
const UNPACK: readonly (readonly [string, string, number, boolean])[] = [
  ['PUNPCKLBW', '60', 1, false],
  ['PUNPCKLWD', '61', 2, false],
  ['PUNPCKLDQ', '62', 4, false],
  ['PUNPCKLQDQ', '6C', 8, false],
  ['PUNPCKHBW', '68', 1, true],
  ['PUNPCKHWD', '69', 2, true],
  ['PUNPCKHDQ', '6A', 4, true],
  ['PUNPCKHQDQ', '6D', 8, true],
];
export const unpack = UNPACK.map(([m, opcode, size, high]) =>
  packed(m, `66 0F ${opcode} /r Vx,Wx`, (b, d, s) => b.x.shuffle(d, s, interleave(size, high))),
);
export const UNPCKLPS = packed('UNPCKLPS', 'NP 0F 14 /r Vx,Wx', (b, d, s) => b.x.shuffle(d, s, interleave(4, false)), 'sse');
export const UNPCKHPS = packed('UNPCKHPS', 'NP 0F 15 /r Vx,Wx', (b, d, s) => b.x.shuffle(d, s, interleave(4, true)), 'sse');
export const UNPCKLPD = packed('UNPCKLPD', '66 0F 14 /r Vx,Wx', (b, d, s) => b.x.shuffle(d, s, interleave(8, false)));
export const UNPCKHPD = packed('UNPCKHPD', '66 0F 15 /r Vx,Wx', (b, d, s) => b.x.shuffle(d, s, interleave(8, true)));

type Lane = 'i16x8' | 'i32x4' | 'i64x2';
const WIDTH = { i16x8: 16, i32x4: 32, i64x2: 64 } as const;
/** A count of the lane's width or more gives zero, or copies of the sign. */
function shiftBy<V, X>(b: Builder<V, X>, lane: Lane, kind: 'shl' | 'shr_u' | 'shr_s', a: X, count: V): X {
  const fits = b.ltU(count, b.k(WIDTH[lane]));
  if (kind === 'shr_s') return b.x.shift(lane, kind, a, b.select(fits, count, b.k(WIDTH[lane] - 1)));
  return b.x.op2('v128.and', b.x.shift(lane, kind, a, count), maskX(b, fits));
}
/** Mnemonic, lane, kind, opcode of the form by register, opcode and digit of the form by immediate. */
const SHIFTS: readonly (readonly [string, Lane, 'shl' | 'shr_u' | 'shr_s', string, string])[] = [
  ['PSLLW', 'i16x8', 'shl', 'F1', '71 /6'],
  ['PSLLD', 'i32x4', 'shl', 'F2', '72 /6'],
  ['PSLLQ', 'i64x2', 'shl', 'F3', '73 /6'],
  ['PSRLW', 'i16x8', 'shr_u', 'D1', '71 /2'],
  ['PSRLD', 'i32x4', 'shr_u', 'D2', '72 /2'],
  ['PSRLQ', 'i64x2', 'shr_u', 'D3', '73 /2'],
  ['PSRAW', 'i16x8', 'shr_s', 'E1', '71 /4'],
  ['PSRAD', 'i32x4', 'shr_s', 'E2', '72 /4'],
];
export const shifts = SHIFTS.flatMap(([m, lane, kind, byRegister, byImmediate]) => [
  packed(m, `66 0F ${byRegister} /r Vx,Wx`, (b, d, s) => shiftBy(b, lane, kind, d, b.x.lane(s, 0))),
  insn(`${m}_I`, {
    sdm: `Vol 2, ${m}`,
    forms: `66 0F ${byImmediate} Ux,Ib`,
    cpuid: 'sse2',
    operands: { dst: 'rw', count: 'r' },
    sem(b, { dst, count }) {
      needSse(b);
      b.x.write(dst, shiftBy(b, lane, kind, b.x.read(dst, false), b.read(count)), false);
    },
  }),
]);

const byteShift = (mnemonic: string, digit: number, right: boolean) =>
  insn(mnemonic, {
    sdm: `Vol 2, ${mnemonic}`,
    forms: `66 0F 73 /${digit} Ux,Ib`,
    cpuid: 'sse2',
    operands: { dst: 'rw', count: 'r' },
    sem(b, { dst, count }) {
      needSse(b);
      const n = b.read(count);
      // Lane indices above 15 select zero.
      const by = splatByte(b, b.select(b.ltU(n, b.k(16)), n, b.k(16)));
      const identity = b.x.constant(0x0706050403020100n, 0x0f0e0d0c0b0a0908n);
      const index = b.x.op2(right ? 'i8x16.add' : 'i8x16.sub', identity, by);
      b.x.write(dst, b.x.op2('i8x16.swizzle', b.x.read(dst, false), index), false);
    },
  });
export const PSRLDQ = byteShift('PSRLDQ', 3, true);
export const PSLLDQ = byteShift('PSLLDQ', 7, false);

/** Two 32-bit lane selectors (2 bits each from bit `at` of imm) as byte indices in one 64-bit half. */
function dwordPair<V>(b: Builder<V>, imm: V, at: number): V {
  const lane = (n: number) => b.add(b.mul(b.and(b.shr(imm, b.k(n)), b.k(3)), b.k(0x04040404)), b.k(0x03020100));
  return b.or(lane(at), b.shl(lane(at + 2), b.k(32)));
}
/** Four 16-bit lane selectors as byte indices in one half; `base` is 0 or the index of lane 4. */
function wordQuad<V>(b: Builder<V>, imm: V, base: number): V {
  const lane = (i: number) =>
    b.shl(b.add(b.mul(b.and(b.shr(imm, b.k(2 * i)), b.k(3)), b.k(0x0202)), b.k(0x0100 + base * 0x0101)), b.k(16 * i));
  return b.or(b.or(lane(0), lane(1)), b.or(lane(2), lane(3)));
}
export const PSHUFD = packedImm('PSHUFD', '66 0F 70 /r Vx,Wx,Ib', (b, _d, s, imm) =>
  b.x.op2('i8x16.swizzle', s, b.x.make(dwordPair(b, imm, 0), dwordPair(b, imm, 4))),
);
export const PSHUFLW = packedImm('PSHUFLW', 'F2 0F 70 /r Vx,Wx,Ib', (b, _d, s, imm) =>
  b.x.op2('i8x16.swizzle', s, b.x.make(wordQuad(b, imm, 0), b.k(0x0f0e0d0c0b0a0908n))),
);
export const PSHUFHW = packedImm('PSHUFHW', 'F3 0F 70 /r Vx,Wx,Ib', (b, _d, s, imm) =>
  b.x.op2('i8x16.swizzle', s, b.x.make(b.k(0x0706050403020100n), wordQuad(b, imm, 8))),
);
export const SHUFPS = packedImm(
  'SHUFPS',
  'NP 0F C6 /r Vx,Wx,Ib',
  (b, d, s, imm) => {
    const pick = (from: typeof d, at: number) => {
      const half = dwordPair(b, imm, at);
      return b.x.lane(b.x.op2('i8x16.swizzle', from, b.x.make(half, half)), 0);
    };
    return b.x.make(pick(d, 0), pick(s, 4));
  },
  'sse',
);
export const SHUFPD = packedImm('SHUFPD', '66 0F C6 /r Vx,Wx,Ib', (b, d, s, imm) =>
  b.x.make(b.select(b.and(imm, b.k(1)), b.x.lane(d, 1), b.x.lane(d, 0)), b.select(b.and(imm, b.k(2)), b.x.lane(s, 1), b.x.lane(s, 0))),
);

export const PEXTRW = insn('PEXTRW', {
  sdm: 'Vol 2B, PEXTRW',
  forms: '66 0F C5 /r Gd,Ux,Ib',
  cpuid: 'sse2',
  operands: { dst: 'w', src: 'r', imm: 'r' },
  sem(b, { dst, src, imm }) {
    needSse(b);
    const x = b.x.read(src, false);
    const i = b.read(imm);
    const half = b.select(b.and(i, b.k(4)), b.x.lane(x, 1), b.x.lane(x, 0));
    b.write(dst, b.zext(b.shr(half, b.shl(b.and(i, b.k(3)), b.k(4))), 2));
  },
});
export const PINSRW = insn('PINSRW', {
  sdm: 'Vol 2B, PINSRW',
  forms: '66 0F C4 /r Vx,Rd/Mw,Ib',
  cpuid: 'sse2',
  operands: { dst: 'rw', src: 'r', imm: 'r' },
  sem(b, { dst, src, imm }) {
    needSse(b);
    const v = b.zext(b.read(src), 2);
    const x = b.x.read(dst, false);
    const i = b.read(imm);
    const at = b.shl(b.and(i, b.k(3)), b.k(4));
    const put = (half: typeof v) => b.or(b.and(half, b.not(b.shl(b.k(0xffff), at))), b.shl(v, at));
    const high = b.and(i, b.k(4));
    const lo = b.x.lane(x, 0);
    const hi = b.x.lane(x, 1);
    b.x.write(dst, b.x.make(b.select(high, lo, put(lo)), b.select(high, put(hi), hi)), false);
  },
});

const signMask = (mnemonic: string, forms: string, lane: 'i8x16' | 'i32x4' | 'i64x2', feature: 'sse' | 'sse2') =>
  insn(mnemonic, {
    sdm: `Vol 2B, ${mnemonic}`,
    forms,
    cpuid: feature,
    operands: { dst: 'w', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      b.write(dst, b.x.bitmask(lane, b.x.read(src, false)));
    },
  });
export const PMOVMSKB = signMask('PMOVMSKB', '66 0F D7 /r Gd,Ux', 'i8x16', 'sse2');
export const MOVMSKPS = signMask('MOVMSKPS', 'NP 0F 50 /r Gd,Ux', 'i32x4', 'sse');
export const MOVMSKPD = signMask('MOVMSKPD', '66 0F 50 /r Gd,Ux', 'i64x2', 'sse2');

/** Byte by byte where the mask's sign bit is set: rare, and left to TypeScript. */
export const MASKMOVDQU = insn('MASKMOVDQU', {
  sdm: 'Vol 2B, MASKMOVDQU',
  forms: '66 0F F7 /r Vx,Ux',
  cpuid: 'sse2',
  operands: { src: 'r', mask: 'r' },
});
