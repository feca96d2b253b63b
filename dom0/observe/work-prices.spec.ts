import { describe, expect, it } from 'vitest';
import { Observer, type WorkItem } from '../kernel/observe.ts';
import { COLUMNS, CPU_PROFILES, costOf, type Price, priceOf, snapshot, WORK_ITEMS, WORK_PRICES, workBetween } from './work-prices.ts';

const prices = Object.entries(WORK_PRICES) as [WorkItem, Price][];

describe("the prices of dom0's work", () => {
  it('cover every unit that can be counted, and no other', () => {
    expect([...WORK_ITEMS].sort()).toEqual(Object.keys(new Observer().work).sort());
  });

  it.each(prices)('%s has a source, and a range around its nominal figure', (_item, price) => {
    expect(price.source.length).toBeGreaterThan(20);
    for (const c of [price.cycles, ...Object.values(price.profiles ?? {})]) {
      expect(c.low).toBeGreaterThan(0);
      expect(c.low).toBeLessThanOrEqual(c.nominal);
      expect(c.nominal).toBeLessThanOrEqual(c.high);
    }
    for (const own of Object.values(price.profiles ?? {})) expect(own.source).not.toBe('');
  });

  it('say where print has nothing: no figure is called print without a section of the collection', () => {
    for (const [, price] of prices) {
      if (price.basis !== 'estimated') expect(price.source).toMatch(/\bA\d\b/);
      else expect(price.source).toMatch(/^No figure in print/);
    }
  });

  it('of the whole account are the sum of its parts, in each column, on each CPU', () => {
    const { work } = new Observer();
    work.hypercall = 3;
    work.byte_copied = 4096;
    for (const profile of CPU_PROFILES) {
      const total = costOf(work, profile);
      for (const column of COLUMNS)
        expect(total[column]).toBeCloseTo(3 * priceOf('hypercall', profile)[column] + 4096 * priceOf('byte_copied', profile)[column]);
    }
    // A CPU of 2005 pays more for entering the hypervisor than one of 2017.
    expect(priceOf('hypercall', 'p4-672').nominal).toBeGreaterThan(priceOf('hypercall', 'skylake-sp').nominal);
  });

  it('are charged for what was done between two moments only', () => {
    const observer = new Observer();
    observer.count('request', 5);
    const before = snapshot(observer.work);
    observer.count('request', 2);
    observer.count('grant_copy');
    const done = workBetween(before, observer.work);
    expect(done).toMatchObject({ request: 2, grant_copy: 1, hypercall: 0 });
    expect(before.request).toBe(5);
  });
});
