// A short storm: guests that do anything to their rings, beside one that behaves. fuzz.long.spec.ts goes on for a minute.
import { expect, test } from 'vitest';
import { Storm } from './testing/storm.ts';

test.each([1, 2, 3])('whatever guests do, the accounts agree and the others are served: seed %i', (seed) => {
  const storm = new Storm(seed);
  for (let i = 0; i < 2500; i++) {
    storm.step();
    if (i % 25 === 0) expect(storm.audit(), `step ${i}`).toEqual([]);
  }
  expect(storm.audit()).toEqual([]);
  const { requests, errors, events, ignored, deaths, good } = storm.seen;
  expect(requests).toBeGreaterThan(1000);
  expect(errors / requests).toBeLessThan(0.7);
  expect(Math.min(events, good)).toBeGreaterThan(100);
  expect(Math.min(ignored, deaths)).toBeGreaterThan(1);
});
