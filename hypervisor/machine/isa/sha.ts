// The SHA extensions (SDM Vol 2B, SHA1RNDS4 and after; FIPS 180-4). Words of the algorithms are dwords of the vectors, the first of them in the highest.
//
// Memory operands need not be aligned: an AMD EPYC has been asked, and the one CPUID profile that has these is of AMD's. Intel's processors
// raise #GP (SDM Vol 2A, table 2-21).

import type { Builder } from '../stage/builder.ts';
import { type AnyInsn, insn } from './insn.ts';
import { needSse, packed, packedImm } from './sse-common.ts';

const sha = (mnemonic: string, opcode: string, f: <V, X>(b: Builder<V, X>, d: X, s: X) => X): AnyInsn =>
  packed(mnemonic, `NP 0F 38 ${opcode} /r Vx,Wx`, f, 'sha_ni', false);

/** Dword i, lowest first, and four of them together. */
const word = <V, X>(b: Builder<V, X>, x: X, i: 0 | 1 | 2 | 3): V => {
  const half = b.x.lane(x, i < 2 ? 0 : 1);
  return i & 1 ? b.shr(half, b.k(32)) : b.zext(half, 4);
};
const words = <V, X>(b: Builder<V, X>, w0: V, w1: V, w2: V, w3: V): X =>
  b.x.make(b.or(w0, b.shl(w1, b.k(32))), b.or(w2, b.shl(w3, b.k(32))));
const sum = <V>(b: Builder<V>, ...terms: V[]): V =>
  b.zext(
    terms.reduce((a, v) => b.add(a, v)),
    4,
  );
/** The word rotated right by each of the numbers given, all these added without carry. */
const rotations = <V>(b: Builder<V>, v: V, ...by: readonly number[]): V => {
  const twice = b.or(v, b.shl(v, b.k(32)));
  return b.zext(
    by.map((n) => b.shr(twice, b.k(n))).reduce((a, r) => b.xor(a, r)),
    4,
  );
};
const choose = <V>(b: Builder<V>, x: V, y: V, z: V): V => b.xor(z, b.and(x, b.xor(y, z)));
const majority = <V>(b: Builder<V>, x: V, y: V, z: V): V => b.or(b.and(x, y), b.and(z, b.or(x, y)));
const parity = <V>(b: Builder<V>, x: V, y: V, z: V): V => b.xor(b.xor(x, y), z);

const xor = <V, X>(b: Builder<V, X>, ...xs: X[]): X => xs.reduce((a, x) => b.x.op2('v128.xor', a, x));
const rotateAll = <V, X>(b: Builder<V, X>, x: X, right: number): X =>
  b.x.op2('v128.or', b.x.shift('i32x4', 'shr_u', x, b.k(right)), b.x.shift('i32x4', 'shl', x, b.k(32 - right)));

// --- SHA-1

const K1 = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6] as const;

/** Four rounds. imm8 says of which twenty: the function and the constant. */
export const SHA1RNDS4 = packedImm(
  'SHA1RNDS4',
  'NP 0F 3A CC /r Vx,Wx,Ib',
  (b, dst, src, imm) => {
    const which = b.and(imm, b.k(3));
    const k = K1.map((v) => b.k(v)).reduceRight((rest, v, i) => b.select(b.eq(which, b.k(i)), v, rest));
    let a = word(b, dst, 3);
    let x = word(b, dst, 2);
    let y = word(b, dst, 1);
    let z = word(b, dst, 0);
    let e = b.k(0);
    for (const i of [3, 2, 1, 0] as const) {
      const odd = b.and(which, b.k(1));
      const f = b.select(odd, parity(b, x, y, z), b.select(which, majority(b, x, y, z), choose(b, x, y, z)));
      const next = sum(b, f, rotations(b, a, 27), word(b, src, i), e, k);
      e = z;
      z = y;
      y = rotations(b, x, 2);
      x = a;
      a = next;
    }
    return words(b, z, y, x, a);
  },
  'sha_ni',
  false,
);
/** The first word of the destination, as it is four rounds later, added to the source. */
export const SHA1NEXTE = sha('SHA1NEXTE', 'C8', (b, d, s) =>
  b.x.op2('i32x4.add', s, b.x.op2('v128.and', rotateAll(b, d, 2), b.x.constant(0n, 0xffffffff00000000n))),
);
export const SHA1MSG1 = sha('SHA1MSG1', 'C9', (b, d, s) =>
  xor(b, d, b.x.shuffle(d, s, [24, 25, 26, 27, 28, 29, 30, 31, 0, 1, 2, 3, 4, 5, 6, 7])),
);
export const SHA1MSG2 = sha('SHA1MSG2', 'CA', (b, d, s) => {
  const zero = b.x.constant(0n, 0n);
  const first = rotateAll(b, xor(b, d, b.x.shuffle(zero, s, [0, 0, 0, 0, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27])), 31);
  // The last word needs the first.
  return xor(b, first, rotateAll(b, b.x.shuffle(first, zero, [12, 13, 14, 15, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16]), 31));
});

// --- SHA-256

/** Two rounds on A B E F in the source and C D G H in the destination; message words with their constants in XMM0. */
export const SHA256RNDS2 = insn('SHA256RNDS2', {
  sdm: 'Vol 2B, SHA256RNDS2',
  forms: 'NP 0F 38 CB /r Vx,Wx,XMM0',
  cpuid: 'sha_ni',
  operands: { dst: 'rw', src: 'r', message: 'r' },
  sem(b, { dst, src, message }) {
    needSse(b);
    const s = b.x.read(src, false);
    const d = b.x.read(dst, false);
    const wk = b.x.read(message, false);
    let [w, x, y, z] = [word(b, s, 3), word(b, s, 2), word(b, d, 3), word(b, d, 2)];
    let [e, f, g, h] = [word(b, s, 1), word(b, s, 0), word(b, d, 1), word(b, d, 0)];
    for (const i of [0, 1] as const) {
      const t = b.add(b.add(choose(b, e, f, g), rotations(b, e, 6, 11, 25)), b.add(word(b, wk, i), h));
      const next = sum(b, t, majority(b, w, x, y), rotations(b, w, 2, 13, 22));
      const nextE = sum(b, t, z);
      [w, x, y, z] = [next, w, x, y];
      [e, f, g, h] = [nextE, e, f, g];
    }
    b.x.write(dst, words(b, f, e, x, w), false);
  },
});
const mix = <V, X>(b: Builder<V, X>, x: X, first: number, second: number, shift: number): X =>
  xor(b, rotateAll(b, x, first), rotateAll(b, x, second), b.x.shift('i32x4', 'shr_u', x, b.k(shift)));
export const SHA256MSG1 = sha('SHA256MSG1', 'CC', (b, d, s) => {
  const after = b.x.shuffle(d, s, [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
  return b.x.op2('i32x4.add', d, mix(b, after, 7, 18, 3));
});
export const SHA256MSG2 = sha('SHA256MSG2', 'CD', (b, d, s) => {
  const zero = b.x.constant(0n, 0n);
  const low = [24, 25, 26, 27, 28, 29, 30, 31, 0, 0, 0, 0, 0, 0, 0, 0];
  const half = b.x.op2('i32x4.add', d, mix(b, b.x.shuffle(zero, s, low), 17, 19, 10));
  // The upper two words need the lower two.
  const high = [16, 16, 16, 16, 16, 16, 16, 16, 0, 1, 2, 3, 4, 5, 6, 7];
  return b.x.op2('i32x4.add', half, mix(b, b.x.shuffle(half, zero, high), 17, 19, 10));
});
