import { expect, it } from 'vitest';
import { type FuzzReport, fuzzOnce } from './testing/fuzz.ts';

/** By the clock, since hosts differ; a life that finds something names its seed. */
const MS = 150_000;
const AT_LEAST = 100;

it('frontends that do anything for minutes find nothing', async () => {
  const report: FuzzReport = { answered: 0, errors: 0, shut: 0, bytes: 0 };
  const end = performance.now() + MS;
  // Seeds that fuzz.spec.ts does not try.
  let seed = 1000;
  for (; performance.now() < end || seed < 1000 + AT_LEAST; seed++) {
    await fuzzOnce(seed, 300, report);
    // vitest gives up a worker that never pauses.
    if (seed % 10 === 0) await new Promise((done) => setTimeout(done, 0));
  }
  const lives = seed - 1000;
  expect(report.answered).toBeGreaterThan(lives * 30);
  expect(report.shut).toBeGreaterThan(lives / 20);
});
