// The integer operations that MMX and SSE2 share, on 128-bit values: what they compute and under which opcode. sse-integer.ts makes the
// XMM forms of them, behind 66; mmx.ts the MMX forms, behind no prefix, which are the same in the low half.

import type { Builder } from '../stage/builder.ts';
import { maskX } from './sse-common.ts';

export type PackedOp = <V, X>(b: Builder<V, X>, d: X, s: X) => X;
/** CPUID feature that brought the MMX form; XMM forms are SSE2's. */
export type MmxFeature = 'mmx' | 'sse' | 'sse2' | 'ssse3';

const wasm =
  (op: string): PackedOp =>
  (b, d, s) =>
    b.x.op2(op, d, s);

/** The high half of each 16-bit product. */
const HIGH_WORDS = [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31];
const mulHigh =
  (sign: 's' | 'u'): PackedOp =>
  (b, d, s) =>
    b.x.shuffle(b.x.op2(`i32x4.extmul_low_i16x8_${sign}`, d, s), b.x.op2(`i32x4.extmul_high_i16x8_${sign}`, d, s), HIGH_WORDS);

const EVEN_DWORDS = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
const mulEven: PackedOp = (b, d, s) => b.x.op2('i64x2.extmul_low_i32x4_u', b.x.shuffle(d, d, EVEN_DWORDS), b.x.shuffle(s, s, EVEN_DWORDS));

const sumOfDifferences: PackedOp = (b, d, s) => {
  const diff = b.x.op2('i8x16.sub', b.x.op2('i8x16.max_u', d, s), b.x.op2('i8x16.min_u', d, s));
  const sums = b.x.op1('i32x4.extadd_pairwise_i16x8_u', b.x.op1('i16x8.extadd_pairwise_i8x16_u', diff));
  const fold = (i: 0 | 1) => b.add(b.zext(b.x.lane(sums, i), 4), b.shr(b.x.lane(sums, i), b.k(32)));
  return b.x.make(fold(0), fold(1));
};

/** Those in which each half of the result comes from the same halves of the sources: mnemonic, opcode, operation, feature. */
export const HALFWISE: readonly (readonly [string, string, PackedOp, MmxFeature])[] = [
  ['PADDB', 'FC', wasm('i8x16.add'), 'mmx'],
  ['PADDW', 'FD', wasm('i16x8.add'), 'mmx'],
  ['PADDD', 'FE', wasm('i32x4.add'), 'mmx'],
  ['PADDQ', 'D4', wasm('i64x2.add'), 'sse2'],
  ['PADDSB', 'EC', wasm('i8x16.add_sat_s'), 'mmx'],
  ['PADDSW', 'ED', wasm('i16x8.add_sat_s'), 'mmx'],
  ['PADDUSB', 'DC', wasm('i8x16.add_sat_u'), 'mmx'],
  ['PADDUSW', 'DD', wasm('i16x8.add_sat_u'), 'mmx'],
  ['PSUBB', 'F8', wasm('i8x16.sub'), 'mmx'],
  ['PSUBW', 'F9', wasm('i16x8.sub'), 'mmx'],
  ['PSUBD', 'FA', wasm('i32x4.sub'), 'mmx'],
  ['PSUBQ', 'FB', wasm('i64x2.sub'), 'sse2'],
  ['PSUBSB', 'E8', wasm('i8x16.sub_sat_s'), 'mmx'],
  ['PSUBSW', 'E9', wasm('i16x8.sub_sat_s'), 'mmx'],
  ['PSUBUSB', 'D8', wasm('i8x16.sub_sat_u'), 'mmx'],
  ['PSUBUSW', 'D9', wasm('i16x8.sub_sat_u'), 'mmx'],
  ['PMULLW', 'D5', wasm('i16x8.mul'), 'mmx'],
  ['PMULHW', 'E5', mulHigh('s'), 'mmx'],
  ['PMULHUW', 'E4', mulHigh('u'), 'sse'],
  ['PMULUDQ', 'F4', mulEven, 'sse2'],
  ['PMADDWD', 'F5', wasm('i32x4.dot_i16x8_s'), 'mmx'],
  ['PAND', 'DB', wasm('v128.and'), 'mmx'],
  ['PANDN', 'DF', (b, d, s) => b.x.op2('v128.andnot', s, d), 'mmx'],
  ['POR', 'EB', wasm('v128.or'), 'mmx'],
  ['PXOR', 'EF', wasm('v128.xor'), 'mmx'],
  ['PCMPEQB', '74', wasm('i8x16.eq'), 'mmx'],
  ['PCMPEQW', '75', wasm('i16x8.eq'), 'mmx'],
  ['PCMPEQD', '76', wasm('i32x4.eq'), 'mmx'],
  ['PCMPGTB', '64', wasm('i8x16.gt_s'), 'mmx'],
  ['PCMPGTW', '65', wasm('i16x8.gt_s'), 'mmx'],
  ['PCMPGTD', '66', wasm('i32x4.gt_s'), 'mmx'],
  ['PMAXSW', 'EE', wasm('i16x8.max_s'), 'sse'],
  ['PMAXUB', 'DE', wasm('i8x16.max_u'), 'sse'],
  ['PMINSW', 'EA', wasm('i16x8.min_s'), 'sse'],
  ['PMINUB', 'DA', wasm('i8x16.min_u'), 'sse'],
  ['PAVGB', 'E0', wasm('i8x16.avgr_u'), 'sse'],
  ['PAVGW', 'E3', wasm('i16x8.avgr_u'), 'sse'],
  ['PSADBW', 'F6', sumOfDifferences, 'sse'],
];

/** Mnemonic, opcode, operation: the destination's lanes to the low half of the result, the source's to the high half. */
export const PACKS: readonly (readonly [string, string, PackedOp])[] = [
  ['PACKSSWB', '63', wasm('i8x16.narrow_i16x8_s')],
  ['PACKSSDW', '6B', wasm('i16x8.narrow_i32x4_s')],
  ['PACKUSWB', '67', wasm('i8x16.narrow_i16x8_u')],
];

/** Interleaves the lanes (of `size` bytes) of the low or high halves. */
export const interleave = (size: number, high: boolean): number[] => {
  const lanes: number[] = [];
  for (let i = high ? 8 : 0; i < (high ? 16 : 8); i += size) {
    for (let j = 0; j < size; j++) lanes.push(i + j);
    for (let j = 0; j < size; j++) lanes.push(16 + i + j);
  }
  return lanes;
};
/** Mnemonic, opcode, bytes of a lane, whether the high halves are taken. Of quadwords there are two in XMM registers only. */
export const UNPACKS: readonly (readonly [string, string, 1 | 2 | 4, boolean])[] = [
  ['PUNPCKLBW', '60', 1, false],
  ['PUNPCKLWD', '61', 2, false],
  ['PUNPCKLDQ', '62', 4, false],
  ['PUNPCKHBW', '68', 1, true],
  ['PUNPCKHWD', '69', 2, true],
  ['PUNPCKHDQ', '6A', 4, true],
];

type Lane = 'i16x8' | 'i32x4' | 'i64x2';
type Shift = 'shl' | 'shr_u' | 'shr_s';
const WIDTH = { i16x8: 16, i32x4: 32, i64x2: 64 } as const;
/** A count of the lane's width or more gives zero, or copies of the sign. */
export function shiftBy<V, X>(b: Builder<V, X>, lane: Lane, kind: Shift, a: X, count: V): X {
  const fits = b.ltU(count, b.k(WIDTH[lane]));
  if (kind === 'shr_s') return b.x.shift(lane, kind, a, b.select(fits, count, b.k(WIDTH[lane] - 1)));
  return b.x.op2('v128.and', b.x.shift(lane, kind, a, count), maskX(b, fits));
}
/** Mnemonic, lane, kind, opcode of the form by register, opcode and digit of the form by immediate. */
export const SHIFTS: readonly (readonly [string, Lane, Shift, string, string])[] = [
  ['PSLLW', 'i16x8', 'shl', 'F1', '71 /6'],
  ['PSLLD', 'i32x4', 'shl', 'F2', '72 /6'],
  ['PSLLQ', 'i64x2', 'shl', 'F3', '73 /6'],
  ['PSRLW', 'i16x8', 'shr_u', 'D1', '71 /2'],
  ['PSRLD', 'i32x4', 'shr_u', 'D2', '72 /2'],
  ['PSRLQ', 'i64x2', 'shr_u', 'D3', '73 /2'],
  ['PSRAW', 'i16x8', 'shr_s', 'E1', '71 /4'],
  ['PSRAD', 'i32x4', 'shr_s', 'E2', '72 /4'],
];

/** Four 16-bit lane selectors (2 bits each) as byte indices in one 64-bit half; `base` is 0 or the index of lane 4. */
export function wordQuad<V>(b: Builder<V>, imm: V, base: number): V {
  const lane = (i: number) =>
    b.shl(b.add(b.mul(b.and(b.shr(imm, b.k(2 * i)), b.k(3)), b.k(0x0202)), b.k(0x0100 + base * 0x0101)), b.k(16 * i));
  return b.or(b.or(lane(0), lane(1)), b.or(lane(2), lane(3)));
}

/** Word i (0..3, its other bits ignored) of 64 bits, and 64 bits with that word replaced. */
const wordAt = <V>(b: Builder<V>, i: V): V => b.shl(b.and(i, b.k(3)), b.k(4));
export const wordOf = <V>(b: Builder<V>, v: V, i: V): V => b.zext(b.shr(v, wordAt(b, i)), 2);
export const withWord = <V>(b: Builder<V>, v: V, i: V, word: V): V => {
  const at = wordAt(b, i);
  return b.or(b.and(v, b.not(b.shl(b.k(0xffff), at))), b.shl(word, at));
};
