// SSE2 on packed integers (and the integer parts of SSE that work on XMM registers).

import type { Builder } from '../stage/builder.ts';
import { insn } from './insn.ts';
import { HALFWISE, interleave, PACKS, SHIFTS, shiftBy, UNPACKS, wordOf, wordQuad } from './packed-integer.ts';
import { needSse, packed, packedImm, splatByte, withLane } from './sse-common.ts';

export const halfwise = HALFWISE.map(([m, opcode, op]) => packed(m, `66 0F ${opcode} /r Vx,Wx`, op));
export const packs = PACKS.map(([m, opcode, op]) => packed(m, `66 0F ${opcode} /r Vx,Wx`, op));

const unpackOf = (m: string, opcode: string, size: number, high: boolean) =>
  packed(m, `66 0F ${opcode} /r Vx,Wx`, (b, d, s) => b.x.shuffle(d, s, interleave(size, high)));
export const unpack = [
  ...UNPACKS.map(([m, opcode, size, high]) => unpackOf(m, opcode, size, high)),
  unpackOf('PUNPCKLQDQ', '6C', 8, false),
  unpackOf('PUNPCKHQDQ', '6D', 8, true),
];
export const UNPCKLPS = packed('UNPCKLPS', 'NP 0F 14 /r Vx,Wx', (b, d, s) => b.x.shuffle(d, s, interleave(4, false)), 'sse');
export const UNPCKHPS = packed('UNPCKHPS', 'NP 0F 15 /r Vx,Wx', (b, d, s) => b.x.shuffle(d, s, interleave(4, true)), 'sse');
export const UNPCKLPD = packed('UNPCKLPD', '66 0F 14 /r Vx,Wx', (b, d, s) => b.x.shuffle(d, s, interleave(8, false)));
export const UNPCKHPD = packed('UNPCKHPD', '66 0F 15 /r Vx,Wx', (b, d, s) => b.x.shuffle(d, s, interleave(8, true)));

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
    b.write(dst, wordOf(b, half, i));
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
    b.x.write(dst, withLane(b, b.x.read(dst, false), 2, b.read(imm), v), false);
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
  forms: '66 0F F7 /r (rDI)dq,Vx,Ux',
  cpuid: 'sse2',
  operands: { dst: 'w', src: 'r', mask: 'r' },
});
