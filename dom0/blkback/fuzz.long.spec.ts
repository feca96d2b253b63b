import { expect, it } from 'vitest';
import { type FuzzReport, fuzzOnce } from './testing/fuzz.ts';

/** Seeds that fuzz.spec.ts does not try, for some minutes on two cores. */
const LIVES = 2000;

it('frontends that do anything for minutes find nothing', async () => {
  const report: FuzzReport = { answered: 0, errors: 0, shut: 0, bytes: 0 };
  for (let seed = 1000; seed < 1000 + LIVES; seed++) {
    await fuzzOnce(seed, 300, report);
    // vitest gives up a worker that never pauses.
    if (seed % 50 === 0) await new Promise((done) => setTimeout(done, 0));
  }
  expect(report.answered).toBeGreaterThan(LIVES * 30);
  expect(report.shut).toBeGreaterThan(LIVES / 20);
});
