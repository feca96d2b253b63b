// The storm of fuzz.spec.ts, with many seeds: about a minute.
import { expect, test } from 'vitest';
import { Storm } from './testing/storm.ts';

test('whatever guests do, the accounts agree and the others are served', async () => {
  for (let seed = 120; seed < 142; seed++) {
    const storm = new Storm(seed);
    for (let i = 0; i < 6000; i++) {
      storm.step();
      if (i % 50 === 0) expect(storm.audit(), `seed ${seed}, step ${i}`).toEqual([]);
    }
    expect(storm.audit(), `seed ${seed}`).toEqual([]);
    // The runner wants a sign of life.
    await new Promise((next) => setImmediate(next));
  }
});
