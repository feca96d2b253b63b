import { expect, it } from 'vitest';
import { type FuzzReport, fuzzOnce } from './testing/fuzz.ts';

it('frontends that do anything find nothing (minutes of it are in fuzz.long.spec.ts)', async () => {
  const report: FuzzReport = { answered: 0, errors: 0, shut: 0, bytes: 0 };
  for (let seed = 0; seed < 60; seed++) await fuzzOnce(seed, 150, report);
  // They found something once: a barrier submitted twice, a disk made smaller under a flush.
  for (const seed of [1163, 1627]) await fuzzOnce(seed, 300, report);
  // It reached what it is for: good requests, bad ones, devices shut.
  expect(report.answered).toBeGreaterThan(2000);
  expect(report.errors).toBeGreaterThan(500);
  expect(report.answered - report.errors).toBeGreaterThan(500);
  expect(report.shut).toBeGreaterThan(5);
});
