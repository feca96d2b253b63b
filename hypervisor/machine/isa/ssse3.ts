// SSSE3: each instruction on XMM registers (behind 66) and on MMX registers (behind no prefix). MMX forms compute in the low half of
// 128-bit values, as those of mmx.ts do.

import type { Builder } from '../stage/builder.ts';
import { type AnyInsn, insn } from './insn.ts';
import { enterMmx, needMmx, two, widen } from './mmx.ts';
import type { PackedOp } from './packed-integer.ts';
import { packed, packedImm, splatByte, zeroX } from './sse-common.ts';

type Shape = 'i8x16' | 'i16x8' | 'i32x4';

/** Byte indices of every second lane of `size` bytes in two vectors side by side, from lane 0 or from lane 1 on. */
const everySecond = (size: number, first: 0 | 1): number[] =>
  Array.from({ length: 16 }, (_, i) => (Math.floor(i / size) * 2 + first) * size + (i % size));
const EVEN = { i16x8: everySecond(2, 0), i32x4: everySecond(4, 0) } as const;
const ODD = { i16x8: everySecond(2, 1), i32x4: everySecond(4, 1) } as const;

/** Lane 0 with lane 1, lane 2 with lane 3 ...: those of the destination, then those of the source. Float and integer lanes alike. */
export function horizontal<V, X>(b: Builder<V, X>, lanes: 'i16x8' | 'i32x4', d: X, s: X, op: (even: X, odd: X) => X): X {
  return op(b.x.shuffle(d, s, EVEN[lanes]), b.x.shuffle(d, s, ODD[lanes]));
}

const horizontals: readonly (readonly [string, string, 'i16x8' | 'i32x4', 'add' | 'sub' | 'add_sat_s' | 'sub_sat_s'])[] = [
  ['PHADDW', '01', 'i16x8', 'add'],
  ['PHADDD', '02', 'i32x4', 'add'],
  ['PHADDSW', '03', 'i16x8', 'add_sat_s'],
  ['PHSUBW', '05', 'i16x8', 'sub'],
  ['PHSUBD', '06', 'i32x4', 'sub'],
  ['PHSUBSW', '07', 'i16x8', 'sub_sat_s'],
];

/** Unsigned bytes of the destination times signed ones of the source; neighbours added with saturation (SDM Vol 2B, PMADDUBSW). */
const multiplyAddBytes: PackedOp = (b, d, s) => {
  const n = b.k(8);
  const low = b.x.constant(0x00ff00ff00ff00ffn, 0x00ff00ff00ff00ffn);
  const even = b.x.op2('i16x8.mul', b.x.op2('v128.and', d, low), b.x.shift('i16x8', 'shr_s', b.x.shift('i16x8', 'shl', s, n), n));
  const odd = b.x.op2('i16x8.mul', b.x.shift('i16x8', 'shr_u', d, n), b.x.shift('i16x8', 'shr_s', s, n));
  return b.x.op2('i16x8.add_sat_s', even, odd);
};

/** WebAssembly's operation saturates -1 times -1, which is 8000H here. */
const multiplyHighRounded: PackedOp = (b, d, s) => {
  const lowest = b.x.constant(0x8000800080008000n, 0x8000800080008000n);
  const both = b.x.op2('v128.and', b.x.op2('i16x8.eq', d, lowest), b.x.op2('i16x8.eq', s, lowest));
  return b.x.op2('v128.xor', b.x.op2('i16x8.q15mulr_sat_s', d, s), both);
};

/** The destination's lanes negated, zero or kept, as the source's are negative, zero or positive. */
const signed =
  (lanes: Shape): PackedOp =>
  (b, d, s) => {
    const zero = zeroX(b);
    const negative = b.x.op2(`${lanes}.lt_s`, s, zero);
    const result = b.x.op2(`${lanes}.sub`, b.x.op2('v128.xor', d, negative), negative);
    return b.x.op2('v128.andnot', result, b.x.op2(`${lanes}.eq`, s, zero));
  };
const absolute =
  (lanes: Shape): PackedOp =>
  (b, _d, s) =>
    b.x.op1(`${lanes}.abs`, s);

/** Those in which each half of the result comes from the same halves of the sources. */
const HALFWISE: readonly (readonly [string, string, PackedOp])[] = [
  ['PMADDUBSW', '04', multiplyAddBytes],
  ['PSIGNB', '08', signed('i8x16')],
  ['PSIGNW', '09', signed('i16x8')],
  ['PSIGND', '0A', signed('i32x4')],
  ['PMULHRSW', '0B', multiplyHighRounded],
  ['PABSB', '1C', absolute('i8x16')],
  ['PABSW', '1D', absolute('i16x8')],
  ['PABSD', '1E', absolute('i32x4')],
];

const xmm = (m: string, opcode: string, op: PackedOp): AnyInsn => packed(m, `66 0F 38 ${opcode} /r Vx,Wx`, op, 'ssse3');
const mmx = (m: string, opcode: string, f: <V, X>(b: Builder<V, X>, d: V, s: V) => V): AnyInsn =>
  two(m, `NP 0F 38 ${opcode} /r Pq,Qq`, f, 'ssse3');

export const halfwise = HALFWISE.flatMap(([m, opcode, op]) => [
  xmm(m, opcode, op),
  mmx(m, opcode, (b, d, s) => b.x.lane(op(b, widen(b, d), widen(b, s)), 0)),
]);

export const across = horizontals.flatMap(([m, opcode, lanes, op]) => [
  xmm(m, opcode, (b, d, s) => horizontal(b, lanes, d, s, (even, odd) => b.x.op2(`${lanes}.${op}`, even, odd))),
  mmx(m, opcode, (b, d, s) => {
    const both = b.x.make(d, s);
    return b.x.lane(
      horizontal(b, lanes, both, both, (even, odd) => b.x.op2(`${lanes}.${op}`, even, odd)),
      0,
    );
  }),
]);

/** An index with its top bit set gives zero; of the others the low bits count. Indices past the last byte give zero in WebAssembly. */
const pick = <V, X>(b: Builder<V, X>, from: X, indices: X, counted: bigint): X =>
  b.x.op2('i8x16.swizzle', from, b.x.op2('v128.and', indices, b.x.constant(counted, counted)));
export const shuffles = [
  xmm('PSHUFB', '00', (b, d, s) => pick(b, d, s, 0x8f8f8f8f8f8f8f8fn)),
  mmx('PSHUFB', '00', (b, d, s) => b.x.lane(pick(b, widen(b, d), widen(b, s), 0x8787878787878787n), 0)),
];

/** Bytes n .. n + 15 of a vector, zeroes past its end. */
const bytesFrom = <V, X>(b: Builder<V, X>, from: X, n: V): X =>
  b.x.op2('i8x16.swizzle', from, b.x.op2('i8x16.add', b.x.constant(0x0706050403020100n, 0x0f0e0d0c0b0a0908n), splatByte(b, n)));
const atMost = <V>(b: Builder<V>, n: V, most: number): V => b.select(b.ltU(n, b.k(most)), n, b.k(most));

/** The bytes from `imm` on in source and destination side by side. */
export const PALIGNR = packedImm(
  'PALIGNR',
  '66 0F 3A 0F /r Vx,Wx,Ib',
  (b, d, s, imm) => {
    const n = atMost(b, imm, 32);
    return b.x.op2('v128.or', bytesFrom(b, s, n), bytesFrom(b, d, b.zext(b.sub(n, b.k(16)), 1)));
  },
  'ssse3',
);
export const PALIGNR_M = insn('PALIGNR_M', {
  sdm: 'Vol 2B, PALIGNR',
  forms: 'NP 0F 3A 0F /r Pq,Qq,Ib',
  cpuid: 'ssse3',
  operands: { dst: 'rw', src: 'r', imm: 'r' },
  sem(b, { dst, src, imm }) {
    needMmx(b);
    const s = b.read(src);
    const r = b.x.lane(bytesFrom(b, b.x.make(s, b.read(dst)), atMost(b, b.read(imm), 16)), 0);
    enterMmx(b);
    b.write(dst, r);
  },
});
