// The fuzzer of netback for minutes: new seeds until the time is over. A seed that finds something is named, and can be run alone.
import { expect, test } from 'vitest';
import { fuzz } from './testing/fuzz.ts';

const MINUTES = 2;

test(`random frontends harm nobody else: ${MINUTES} minutes of seeds`, { timeout: (MINUTES + 3) * 60_000 }, async () => {
  const end = performance.now() + MINUTES * 60_000;
  let seed = 1000;
  for (; performance.now() < end; seed++) {
    fuzz(seed, 1000);
    // Vitest must hear of us.
    await new Promise((done) => setImmediate(done));
  }
  expect(seed).toBeGreaterThan(1000);
});
