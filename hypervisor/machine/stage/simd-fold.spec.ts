// What is folded when compiling against what the oracle computes.

import { describe, expect, it } from 'vitest';
import { Random } from '../host-cpu/random.ts';
import { binary } from './oracle-simd.ts';
import { type Constant, foldVectors, identity, shuffleOf, ZERO } from './simd-fold.ts';

const ONES: Constant = [0xffff_ffff_ffff_ffffn, 0xffff_ffff_ffff_ffffn];
const whole = ([lo, hi]: Constant): bigint => lo | (hi << 64n);
const random = new Random(3);
const any = (): Constant => [random.value(), random.value()];
const BITWISE = ['v128.and', 'v128.or', 'v128.xor', 'v128.andnot'];
const FOLDED = [...BITWISE, 'i8x16.add', 'i8x16.sub', 'i8x16.eq'];

it.each(FOLDED)('%s of two known vectors is what the oracle has', (name) => {
  for (let n = 0; n < 50; n++) {
    const [a, b] = [any(), n % 3 === 0 ? any() : ([random.value(), random.u64()] as const)];
    const folded = foldVectors(name, a, b);
    expect(folded && whole(folded)).toBe(binary(name, whole(a), whole(b)));
  }
});

describe.each([...FOLDED, 'i32x4.add', 'i8x16.swizzle'])('%s with one known vector', (name) => {
  it.each([
    ['zeroes', ZERO],
    ['ones', ONES],
    ['neither', [1n, ONES[1]] as const],
  ])('%s', (_, known) => {
    for (const isSecond of [true, false]) {
      const other = any();
      const result = isSecond ? binary(name, whole(other), whole(known)) : binary(name, whole(known), whole(other));
      const claimed = identity(name, known, isSecond);
      if (claimed !== undefined) expect(result).toBe(claimed === 'zero' ? 0n : whole(other));
      else if (BITWISE.includes(name) && known === ZERO && isSecond)
        throw new Error('an operation with zeroes that changes nothing is kept');
    }
  });
});

it('a swizzle by indices that are all there is a shuffle', () => {
  const reversed: Constant = [0x08090a0b0c0d0e0fn, 0x0001020304050607n];
  expect(shuffleOf(reversed)).toEqual([15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
  expect(shuffleOf([0x10n, 0n])).toBeUndefined();
});
