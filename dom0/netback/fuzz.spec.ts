// A few seeds of the fuzzer; fuzz.long.spec.ts runs it for minutes.
import { expect, test } from 'vitest';
import { fuzz } from './testing/fuzz.ts';

test.each([1, 2, 3, 4])('random frontends harm nobody else: seed %i', (seed) => {
  expect(() => fuzz(seed, 150)).not.toThrow();
});
