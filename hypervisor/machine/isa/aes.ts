// AES-NI (SDM Vol 1, 12.13; FIPS 197). The state is a vector of sixteen bytes; all steps of a round are done on all of them at once. What
// the S-box is made of is in aes-field.ts.

import type { Builder } from '../stage/builder.ts';
import { A_OVER, type Box, INVERSE, INVERSE_S_BOX, S_BOX, type Table } from './aes-field.ts';
import type { AnyInsn } from './insn.ts';
import { packed, packedImm } from './sse-common.ts';

type Step = <V, X>(b: Builder<V, X>, s: X) => X;
const xor = <V, X>(b: Builder<V, X>, x: X, y: X): X => b.x.op2('v128.xor', x, y);
const everyByte = (v: number): Table => {
  const half = BigInt(v) * 0x0101010101010101n;
  return [half, half];
};

/** SubBytes or InvSubBytes: `box` says which. An index that is infinite picks zero. */
const substitute =
  (box: Box): Step =>
  (b, s) => {
    type X = typeof s;
    const nibble = b.x.constant(...everyByte(0x0f));
    const low = (x: X): X => b.x.op2('v128.and', x, nibble);
    const high = (x: X): X => b.x.op2('v128.and', b.x.shift('i16x8', 'shr_u', x, b.k(4)), nibble);
    const from = (table: X, index: X): X => b.x.op2('i8x16.swizzle', table, index);
    const pair = xor(b, from(b.x.constant(...box.low), low(s)), from(b.x.constant(...box.high), high(s)));
    const k = low(pair);
    const i = high(pair);
    const j = xor(b, i, k);
    const inverse = b.x.constant(...INVERSE);
    const ak = from(b.x.constant(...A_OVER), k);
    const overU = xor(b, from(inverse, xor(b, from(inverse, i), ak)), j);
    const overV = xor(b, from(inverse, xor(b, from(inverse, j), ak)), i);
    const result = xor(b, from(b.x.constant(...box.fromU), overU), from(b.x.constant(...box.fromV), overV));
    return box.constant === 0 ? result : xor(b, result, b.x.constant(...everyByte(box.constant)));
  };

/** Byte i of the result is byte SHIFT_ROWS[i]: row r (byte r of each column of four) is rotated by r columns. */
const SHIFT_ROWS = [0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11];
const INVERSE_SHIFT_ROWS = SHIFT_ROWS.map((_, i) => SHIFT_ROWS.indexOf(i));
const NEXT_IN_COLUMN = [1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12];
const OPPOSITE_IN_COLUMN = [2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13];
const rearrange = <V, X>(b: Builder<V, X>, x: X, lanes: readonly number[]): X => b.x.shuffle(x, x, lanes);

/** Each byte times x in GF(256). */
function twice<V, X>(b: Builder<V, X>, x: X): X {
  const overflow = b.x.op2('i8x16.lt_s', x, b.x.constant(0n, 0n));
  return xor(b, b.x.op2('i8x16.add', x, x), b.x.op2('v128.and', overflow, b.x.constant(...everyByte(0x1b))));
}
/** 2 3 1 1: with s the byte itself and t the sum of it and the next, 2t + next + t of the opposite one. */
const mixColumns: Step = (b, s) => {
  const next = rearrange(b, s, NEXT_IN_COLUMN);
  const t = xor(b, s, next);
  return xor(b, xor(b, twice(b, t), next), rearrange(b, t, OPPOSITE_IN_COLUMN));
};
/** E B D 9 is 2 3 1 1 after 5 0 4 0. */
const inverseMixColumns: Step = (b, s) => mixColumns(b, xor(b, s, twice(b, twice(b, xor(b, s, rearrange(b, s, OPPOSITE_IN_COLUMN))))));

const subBytes = substitute(S_BOX);
const inverseSubBytes = substitute(INVERSE_S_BOX);
const encrypted: Step = (b, s) => subBytes(b, rearrange(b, s, SHIFT_ROWS));
const decrypted: Step = (b, s) => inverseSubBytes(b, rearrange(b, s, INVERSE_SHIFT_ROWS));

/** Steps on the destination, then the source, the round key, added. */
const round = (mnemonic: string, opcode: string, steps: Step): AnyInsn =>
  packed(mnemonic, `66 0F 38 ${opcode} /r Vx,Wx`, (b, d, s) => xor(b, steps(b, d), s), 'aes');

export const AESIMC = packed('AESIMC', '66 0F 38 DB /r Vx,Wx', (b, _d, s) => inverseMixColumns(b, s), 'aes');
export const rounds = [
  round('AESENC', 'DC', (b, d) => mixColumns(b, encrypted(b, d))),
  round('AESENCLAST', 'DD', encrypted),
  round('AESDEC', 'DE', (b, d) => inverseMixColumns(b, decrypted(b, d))),
  round('AESDECLAST', 'DF', decrypted),
];

/** SubWord and RotWord(SubWord) + imm8 of dwords 1 and 3. */
const WORDS_AND_ROTATED = [4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12];
export const AESKEYGENASSIST = packedImm(
  'AESKEYGENASSIST',
  '66 0F 3A DF /r Vx,Wx,Ib',
  (b, _d, s, imm) => {
    const constant = b.shl(imm, b.k(32));
    return xor(b, rearrange(b, subBytes(b, s), WORDS_AND_ROTATED), b.x.make(constant, constant));
  },
  'aes',
);
