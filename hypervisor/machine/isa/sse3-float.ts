// SSE3 floating point: additions and subtractions side by side and across. Exact in system/sse/ where something special may happen.

import type { Builder } from '../stage/builder.ts';
import type { AnyInsn } from './insn.ts';
import { packed } from './sse-common.ts';
import { vectorOperation } from './sse-float.ts';
import type { Lanes } from './sse-float-check.ts';

/** Even elements are subtracted: added with their sign turned. */
const alternate = (mnemonic: string, prefix: string, lanes: Lanes, signs: bigint, high: bigint): AnyInsn =>
  packed(
    mnemonic,
    `${prefix} 0F D0 /r Vx,Wx`,
    (b, d, s) => vectorOperation(b, lanes, 'add', d, b.x.op2('v128.xor', s, b.x.constant(signs, high))),
    'sse3',
  );

const EVEN_SINGLES = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27];
const EVEN_DOUBLES = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
const across = (mnemonic: string, prefix: string, opcode: string, lanes: Lanes, op: 'add' | 'sub'): AnyInsn => {
  const even = lanes === 'f32x4' ? EVEN_SINGLES : EVEN_DOUBLES;
  const odd = even.map((i) => i + (lanes === 'f32x4' ? 4 : 8));
  const operate = <V, X>(b: Builder<V, X>, d: X, s: X): X => vectorOperation(b, lanes, op, b.x.shuffle(d, s, even), b.x.shuffle(d, s, odd));
  return packed(mnemonic, `${prefix} 0F ${opcode} /r Vx,Wx`, operate, 'sse3');
};

export const arithmetic: readonly AnyInsn[] = [
  alternate('ADDSUBPS', 'F2', 'f32x4', 0x80000000n, 0x80000000n),
  alternate('ADDSUBPD', '66', 'f64x2', 0x8000000000000000n, 0n),
  across('HADDPS', 'F2', '7C', 'f32x4', 'add'),
  across('HADDPD', '66', '7C', 'f64x2', 'add'),
  across('HSUBPS', 'F2', '7D', 'f32x4', 'sub'),
  across('HSUBPD', '66', '7D', 'f64x2', 'sub'),
];
