// SSE4.1 on packed integers: arithmetic, comparison, conversion, and sums of differences.

import type { Builder, Readable } from '../stage/builder.ts';
import { setFromEflags } from '../stage/flags.ts';
import { type AnyInsn, insn, OSZAPC } from './insn.ts';
import type { PackedOp } from './packed-integer.ts';
import { needSse, packed, packedImm, splatByte, wholeMove, zeroX } from './sse-common.ts';

const wasm =
  (op: string): PackedOp =>
  (b, d, s) =>
    b.x.op2(op, d, s);

const EVEN_DWORDS = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];

const LANEWISE: readonly (readonly [string, string, PackedOp])[] = [
  ['PMULDQ', '28', (b, d, s) => b.x.op2('i64x2.extmul_low_i32x4_s', b.x.shuffle(d, d, EVEN_DWORDS), b.x.shuffle(s, s, EVEN_DWORDS))],
  ['PCMPEQQ', '29', wasm('i64x2.eq')],
  ['PACKUSDW', '2B', wasm('i16x8.narrow_i32x4_u')],
  ['PMINSB', '38', wasm('i8x16.min_s')],
  ['PMINSD', '39', wasm('i32x4.min_s')],
  ['PMINUW', '3A', wasm('i16x8.min_u')],
  ['PMINUD', '3B', wasm('i32x4.min_u')],
  ['PMAXSB', '3C', wasm('i8x16.max_s')],
  ['PMAXSD', '3D', wasm('i32x4.max_s')],
  ['PMAXUW', '3E', wasm('i16x8.max_u')],
  ['PMAXUD', '3F', wasm('i32x4.max_u')],
  ['PMULLD', '40', wasm('i32x4.mul')],
];
export const lanewise = LANEWISE.map(([m, opcode, op]) => packed(m, `66 0F 38 ${opcode} /r Vx,Wx`, op, 'sse4_1'));

/** The smallest of eight words, and where the first such is (SDM Vol 2B, PHMINPOSUW). */
export const PHMINPOSUW = packed(
  'PHMINPOSUW',
  '66 0F 38 41 /r Vx,Wx',
  (b, _d, s) => {
    // Word and index in one dword, so that the minimum of these is both.
    const sixteen = b.k(16);
    const low = b.x.op2(
      'v128.or',
      b.x.shift('i32x4', 'shl', b.x.op1('i32x4.extend_low_i16x8_u', s), sixteen),
      b.x.constant(0x0000000100000000n, 0x0000000300000002n),
    );
    const high = b.x.op2(
      'v128.or',
      b.x.shift('i32x4', 'shl', b.x.op1('i32x4.extend_high_i16x8_u', s), sixteen),
      b.x.constant(0x0000000500000004n, 0x0000000700000006n),
    );
    const four = b.x.op2('i32x4.min_u', low, high);
    const two = b.x.op2('i32x4.min_u', four, b.x.shuffle(four, four, [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7]));
    const one = b.x.lane(b.x.op2('i32x4.min_u', two, b.x.shuffle(two, two, [4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3])), 0);
    const least = b.zext(b.shr(one, sixteen), 2);
    return b.x.make(b.or(least, b.shl(b.and(one, b.k(7)), sixteen)), b.k(0));
  },
  'sse4_1',
);

/**
 * Eight sums of four absolute differences: of the source's bytes at one of four places, with the destination's at eight consecutive ones
 * (SDM Vol 2B, MPSADBW).
 */
export const MPSADBW = packedImm(
  'MPSADBW',
  '66 0F 3A 42 /r Vx,Wx,Ib',
  (b, d, s, imm) => {
    const fromDst = b.and(imm, b.k(4));
    const fromSrc = b.shl(b.and(imm, b.k(3)), b.k(2));
    const iota = b.x.constant(0x0706050403020100n, 0x0706050403020100n);
    let sum = zeroX(b);
    for (let i = 0; i < 4; i++) {
      const x = b.x.op2('i8x16.swizzle', d, b.x.op2('i8x16.add', iota, splatByte(b, b.add(fromDst, b.k(i)))));
      const y = b.x.op2('i8x16.swizzle', s, splatByte(b, b.add(fromSrc, b.k(i))));
      const difference = b.x.op2('i8x16.sub', b.x.op2('i8x16.max_u', x, y), b.x.op2('i8x16.min_u', x, y));
      sum = b.x.op2('i16x8.add', sum, b.x.op1('i16x8.extend_low_i8x16_u', difference));
    }
    return sum;
  },
  'sse4_1',
);

// --- PMOVSX and PMOVZX

type Step = 'i16x8.extend_low_i8x16' | 'i32x4.extend_low_i16x8' | 'i64x2.extend_low_i32x4';
const BW: Step = 'i16x8.extend_low_i8x16';
const WD: Step = 'i32x4.extend_low_i16x8';
const DQ: Step = 'i64x2.extend_low_i32x4';
/** Suffix, low digit of the opcode, size of the source in memory, steps. */
const EXTENSIONS: readonly (readonly [string, string, 'w' | 'd' | 'q', readonly Step[]])[] = [
  ['BW', '0', 'q', [BW]],
  ['BD', '1', 'd', [BW, WD]],
  ['BQ', '2', 'w', [BW, WD, DQ]],
  ['WD', '3', 'q', [WD]],
  ['WQ', '4', 'd', [WD, DQ]],
  ['DQ', '5', 'q', [DQ]],
];
const extension = (mnemonic: string, opcode: string, size: string, steps: readonly Step[], sign: 's' | 'u'): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2B, ${mnemonic.slice(0, 6)}`,
    forms: `66 0F 38 ${opcode} /r Vx,W${size}`,
    cpuid: 'sse4_1',
    operands: { dst: 'w', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      let x = src.isReg ? b.x.read(src, false) : b.x.make(b.read(src), b.k(0));
      for (const step of steps) x = b.x.op1(`${step}_${sign}`, x);
      b.x.write(dst, x, false);
    },
  });
export const extensions = EXTENSIONS.flatMap(([suffix, digit, size, steps]) => [
  extension(`PMOVSX${suffix}`, `2${digit}`, size, steps, 's'),
  extension(`PMOVZX${suffix}`, `3${digit}`, size, steps, 'u'),
]);

/** ZF: no bit of the source is set in the destination too. CF: all are. The others are cleared. */
export const PTEST = insn('PTEST', {
  sdm: 'Vol 2B, PTEST',
  forms: '66 0F 38 17 /r Vx,Wx',
  cpuid: 'sse4_1',
  operands: { a: 'r', c: 'r' },
  flags: { writes: OSZAPC },
  sem(b, { a, c }) {
    needSse(b);
    const s = b.x.read(c as Readable, true);
    const d = b.x.read(a as Readable, false);
    const none = <V, X>(bb: Builder<V, X>, x: X): V => bb.eqz(bb.or(bb.x.lane(x, 0), bb.x.lane(x, 1)));
    const zf = none(b, b.x.op2('v128.and', d, s));
    const cf = none(b, b.x.op2('v128.andnot', s, d));
    setFromEflags(b, b.or(cf, b.shl(zf, b.k(6))));
  },
});

export const MOVNTDQA = wholeMove('MOVNTDQA', '66 0F 38 2A /r Vx,Mx', true, 'sse4_1');
