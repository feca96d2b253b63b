import { describe, expect, it } from 'vitest';
import { Clock } from './clock.ts';

const exact = (clock: Clock, cycles: number): number => {
  const shifted = clock.shift < 0 ? BigInt(cycles) >> BigInt(-clock.shift) : BigInt(cycles) << BigInt(clock.shift);
  return Number((shifted * BigInt(clock.mul)) >> 32n);
};

describe('the clock', () => {
  it('chooses multiplier and shift as set_time_scale does', () => {
    const c = new Clock(2_100_000_000);
    expect(c.shift).toBe(-1);
    expect(c.mul).toBe(Math.floor((1e9 * 2 ** 32) / 1.05e9));
    const slow = new Clock(100_000_000);
    expect(slow.shift).toBe(4);
    expect(slow.mul).toBe(Number((1_000_000_000n << 32n) / 1_600_000_000n));
  });

  it('scales like 128-bit arithmetic does, up to weeks of cycles', () => {
    for (const hz of [2_100_000_000, 3_333_333_333, 999_999_999, 25_000_000]) {
      const c = new Clock(hz);
      for (const cycles of [0, 1, 2, 3, 21, 2_099_999_999, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 12345, 2 ** 48 + 987654321])
        expect(c.toNs(cycles)).toBe(exact(c, cycles));
    }
  });

  it('finds the first cycle at which a time is reached', () => {
    const c = new Clock(2_100_000_000);
    for (const ns of [1, 2, 3, 10, 999, 1_000_000_000, 123_456_789_012, 86_400_000_000_000]) {
      const at = c.toCycles(ns);
      expect(c.toNs(at)).toBeGreaterThanOrEqual(ns);
      expect(c.toNs(at - 1)).toBeLessThan(ns);
    }
    expect(c.toCycles(0)).toBe(0);
    expect(c.toCycles(-5)).toBe(0);
  });
});
