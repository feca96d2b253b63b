// SSE4.1 floating point: dot products, and rounding to integral values. Exact in system/sse/ where something special may happen.

import type { Builder } from '../stage/builder.ts';
import { STATE } from '../state.ts';
import { MXCSR } from '../system/sse/mxcsr.ts';
import { type AnyInsn, insn } from './insn.ts';
import { maskX, needSse, packedImm, setLow32, setLow64, splatByte } from './sse-common.ts';
import { scalarValue, vectorOperation } from './sse-float.ts';
import {
  andX,
  denormalsX,
  everywhere,
  inexactPassesTruncating,
  isDenormal,
  isNan,
  type Kind,
  type Lanes,
  notX,
  numbersX,
  orX,
  passesX,
} from './sse-float-check.ts';

// --- dot products

interface Dot {
  readonly lanes: Lanes;
  /** In each byte of an element its bit of imm8. */
  readonly bits: readonly [bigint, bigint];
  /** 1.0 in each element: what elements that are not chosen have as factors. */
  readonly one: bigint;
  /** Byte indices by which elements meet in additions, the first with the second. */
  readonly steps: readonly (readonly [readonly number[], readonly number[]])[];
}
const four = (i: number): number[] => [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3];
const dwords = (...of: readonly number[]): number[] => of.flatMap(four);
const SINGLES: Dot = {
  lanes: 'f32x4',
  bits: [0x0202020201010101n, 0x0808080804040404n],
  one: 0x3f8000003f800000n,
  steps: [
    [dwords(0, 2, 0, 2), dwords(1, 3, 1, 3)],
    [dwords(0, 0, 0, 0), dwords(1, 1, 1, 1)],
  ],
};
const DOUBLES: Dot = {
  lanes: 'f64x2',
  bits: [0x0101010101010101n, 0x0202020202020202n],
  one: 0x3ff0000000000000n,
  steps: [[dwords(0, 1, 0, 1), dwords(2, 3, 2, 3)]],
};
const dotProduct = (mnemonic: string, opcode: string, { lanes, bits, one, steps }: Dot): AnyInsn =>
  packedImm(
    mnemonic,
    `66 0F 3A ${opcode} /r Vx,Wx,Ib`,
    <V, X>(b: Builder<V, X>, d: X, s: X, imm: V): X => {
      const own = b.x.constant(...bits);
      const chosen = (by: V): X => b.x.op2('i8x16.eq', andX(b, splatByte(b, by), own), own);
      const factors = chosen(b.shr(imm, b.k(4)));
      const ones = b.x.constant(one, one);
      const products = vectorOperation(b, lanes, 'mul', b.x.bitselect(d, ones, factors), b.x.bitselect(s, ones, factors));
      let sum = andX(b, products, factors);
      for (const [x, y] of steps) sum = vectorOperation(b, lanes, 'add', b.x.shuffle(sum, sum, x), b.x.shuffle(sum, sum, y));
      return andX(b, sum, chosen(b.and(imm, b.k(15))));
    },
    'sse4_1',
  );
export const dotProducts = [dotProduct('DPPS', '40', SINGLES), dotProduct('DPPD', '41', DOUBLES)];

// --- rounding

/** imm8: rounding (1:0), or MXCSR's instead (2), and whether inexactness is kept quiet (3). */
const FROM_MXCSR = 4;
const QUIETLY = 8;
const RC_SHIFT = 13;
const HOW = ['nearest', 'floor', 'ceil', 'trunc'] as const;
function rounding<V>(b: Builder<V>, imm: V): V {
  const fromMxcsr = b.shr(b.and(b.state(STATE.mxcsr, 4), b.k(MXCSR.RC)), b.k(RC_SHIFT));
  return b.select(b.and(imm, b.k(FROM_MXCSR)), fromMxcsr, b.and(imm, b.k(3)));
}
const inexactIsQuiet = <V>(b: Builder<V>, imm: V): V => b.or(b.ne(b.and(imm, b.k(QUIETLY)), b.k(0)), inexactPassesTruncating(b));

const roundPacked = (mnemonic: string, opcode: string, lanes: Lanes): AnyInsn =>
  packedImm(
    mnemonic,
    `66 0F 3A ${opcode} /r Vx,Wx,Ib`,
    <V, X>(b: Builder<V, X>, _d: X, s: X, imm: V): X => {
      const which = rounding(b, imm);
      const [nearest, ...directed] = HOW.map((how) => b.x.op1(`${lanes}.${how}`, s)) as [X, ...X[]];
      const r = directed.reduce((x, y, i) => b.x.bitselect(y, x, maskX(b, b.eq(which, b.k(i + 1)))), nearest);
      const hidden = orX(b, b.x.op2(`${lanes}.eq`, r, s), passesX(b, inexactIsQuiet(b, imm)));
      const plain = andX(b, numbersX(b, lanes, s), notX(b, denormalsX(b, lanes, s)));
      b.if(b.eqz(everywhere(b, lanes, andX(b, plain, hidden))), () => b.slow());
      return r;
    },
    'sse4_1',
  );
const roundScalar = (mnemonic: string, opcode: string, k: Kind): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2B, ${mnemonic}`,
    forms: `66 0F 3A ${opcode} /r ${k === 'f32' ? 'Vss,Wss' : 'Vsd,Wsd'},Ib`,
    cpuid: 'sse4_1',
    operands: { dst: 'rw', src: 'r', imm: 'r' },
    sem(b, { dst, src, imm }) {
      needSse(b);
      const v = scalarValue(b, k, src);
      const i = b.read(imm);
      const which = rounding(b, i);
      const [nearest, floor, ceil, trunc] = HOW.map((how) => b.x.convert(`${k}.${how}`, v)) as [typeof v, typeof v, typeof v, typeof v];
      const down = b.select(b.eq(which, b.k(1)), floor, nearest);
      const r = b.select(b.eq(which, b.k(3)), trunc, b.select(b.eq(which, b.k(2)), ceil, down));
      const special = b.or(isNan(b, k, v), isDenormal(b, k, v));
      const hidden = b.or(b.x.fcmp(k, 'eq', r, v), inexactIsQuiet(b, i));
      b.if(b.or(special, b.eqz(hidden)), () => b.slow());
      if (k === 'f32') setLow32(b, dst, r);
      else setLow64(b, dst, r);
    },
  });
export const roundings = [
  roundPacked('ROUNDPS', '08', 'f32x4'),
  roundPacked('ROUNDPD', '09', 'f64x2'),
  roundScalar('ROUNDSS', '0A', 'f32'),
  roundScalar('ROUNDSD', '0B', 'f64'),
];
