// Ticks and moments must agree at every frequency of the PC, at any age of the machine and with moments that are fractions of a nanosecond.

import { expect, it } from 'vitest';
import { Oscillator } from './oscillator.ts';

it.each([32_768, 1_193_182, 3_579_545, 100_000_000])(
  'at %i Hz the moment of a tick is the first whole nanosecond that shows it',
  (hertz) => {
    const clock = new Oscillator(hertz);
    for (const start of [0, 1, hertz - 1, hertz, 1000 * hertz + 17, 86_400 * 60 * hertz])
      for (let i = 0; i < 500; i++) {
        const tick = start + i * 7;
        const at = clock.timeOf(tick);
        expect(clock.ticks(at)).toBeGreaterThanOrEqual(tick);
        if (at > 0) expect(clock.ticks(at - 1)).toBeLessThan(tick);
      }
  },
);

it('never goes backwards as a CPU’s cycles pass', () => {
  for (const hertz of [32_768, 1_193_182, 3_579_545]) {
    const clock = new Oscillator(hertz);
    for (const start of [0, 2.1e9 - 1000, 2.1e12 - 1000]) {
      let last = 0;
      for (let cycle = start; cycle < start + 20_000; cycle++) {
        const ticks = clock.ticks((cycle * 1e9) / 2.1e9);
        expect(ticks).toBeGreaterThanOrEqual(last);
        last = ticks;
      }
    }
  }
});

it('a second has its number of ticks, whatever the second', () => {
  const clock = new Oscillator(1_193_182);
  for (const s of [0, 1, 59, 86_399, 1e6]) expect(clock.ticks((s + 1) * 1e9) - clock.ticks(s * 1e9)).toBe(1_193_182);
});
