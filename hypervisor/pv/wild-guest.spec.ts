import { describe, expect, it } from 'vitest';
import { auditHypervisor } from '../core/frame-table-audit-holders.ts';
import { dispatch } from '../hypercalls/index.ts';
import { createTestGuest, type TestGuest } from './testing.ts';

/** xorshift32: equal seeds, equal guests. */
function generator(seed: number): (n: number) => number {
  let s = seed;
  return (n) => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return (s >>> 0) % n;
  };
}

/** An argument that is a little likelier than chance to mean something. */
function wild(g: TestGuest, random: (n: number) => number): number {
  switch (random(6)) {
    case 0:
      return random(16);
    case 1:
      return g.lin(random(64), random(512) * 8);
    case 2:
      return g.frame(random(64));
    case 3:
      return g.vcpu.pv.guestTable + random(8);
    case 4:
      return 0x7ff0 + random(16);
    default:
      return (random(0x1_0000_0000) - 0x8000_0000) * 2 ** random(33);
  }
}

const ORDER64 = [7, 6, 2, 10, 8, 9];
const ORDER32 = [3, 1, 2, 6, 7, 5];

describe.each([{ is32bit: false }, { is32bit: true }])('a wild guest ($is32bit)', ({ is32bit }) => {
  it.each([1, 2])('with seed %i harms nobody: every hypercall is answered and the frame table stays sound', (seed) => {
    const random = generator(seed * 7919 + (is32bit ? 1 : 0));
    let calls = 0;
    let done = 0;
    while (calls < 600) {
      const g = createTestGuest({ is32bit, dispatch });
      g.enter();
      // Memory full of numbers that look like commands, frames and addresses.
      for (let page = 8; page < 64; page += 5)
        for (let i = 0; i < 512; i++) g.vcpu.guest.write64(g.lin(page, i * 8), wild(g, random) | 0, random(4) === 0 ? random(0x1_0000) : 0);
      while (calls++ < 600 && !g.vcpu.domain.isShuttingDown) {
        const { cpu } = g;
        cpu.setRegLin(0, random(48));
        for (const r of is32bit ? ORDER32 : ORDER64) cpu.setRegLin(r, wild(g, random));
        const r = g.hv.hypercall(g.vcpu);
        if (typeof r === 'number' && r >= 0) done++;
        if (g.vcpu.isBlocked) g.hv.scheduler.unblock(g.vcpu);
      }
      expect(auditHypervisor(g.hv)).toEqual([]);
    }
    // Not all of them bounced off the first check.
    expect(done).toBeGreaterThan(20);
  });
});
