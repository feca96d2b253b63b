// The arithmetic of shared rings; their sizes are held against ring.h in headers.spec.ts.
import { expect, test } from 'vitest';
import { blkif_request, blkif_response } from './blkif.ts';
import { needsNotify, prodOverflow, ringDistance, ringType } from './ring.ts';

test('a blkif ring of one page has 32 slots in either ABI, of different sizes', () => {
  const ring = ringType('blkif', [blkif_request, blkif_response]);
  expect([ring.slots('x86_64', 4096), ring.slots('x86_32', 4096)]).toEqual([32, 32]);
  expect([ring.entrySize('x86_64'), ring.entrySize('x86_32')]).toEqual([112, 108]);
  expect(ring.slotOffset('x86_64', 33, 32)).toBe(64 + 112);
});

test('the other end is notified only when its event index was just passed', () => {
  expect(needsNotify(0, 1, 1)).toBe(true);
  expect(needsNotify(0, 1, 2)).toBe(false);
  expect(needsNotify(1, 2, 1)).toBe(false);
});

test('indices wrap at 2^32 without a gap', () => {
  expect(ringDistance(1, 0xffffffff)).toBe(2);
  expect(needsNotify(0xffffffff, 1, 0)).toBe(true);
  expect(prodOverflow(5, 0xffffffff, 4)).toBe(true);
  expect(prodOverflow(3, 0xffffffff, 4)).toBe(false);
});
