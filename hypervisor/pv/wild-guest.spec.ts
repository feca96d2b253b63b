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

  it('executing random code, privileged instructions among it, is emulated, bounced or crashed', () => {
    const random = generator(is32bit ? 77 : 78);
    const outcomes = new Map<string, number>();
    for (let n = 0; n < 10; n++) {
      const g = createTestGuest({ is32bit, dispatch });
      for (let page = 0; page < 8; page++) {
        for (let at = 0; at < 4096; ) {
          const piece = random(3) === 0 ? Array.from({ length: 4 }, () => random(256)) : PIECES[random(PIECES.length)]!;
          g.write(page, at, piece.slice(0, 4096 - at));
          at += piece.length;
        }
      }
      g.vcpu.pv.trapTable.forEach((t, v) => {
        t.selector = is32bit ? 0xe019 : 0xe033;
        t.address = g.lin(random(8), random(4096)) as never;
        t.dpl = v & 3;
        t.ifFlag = (v & 4) !== 0;
      });
      g.vcpu.pv.iopl = random(4);
      g.vcpu.pv.syscallCallbackEip = g.lin(3) as never;
      g.enter();
      for (let i = 0; i < 300 && !g.vcpu.domain.isShuttingDown; i++) {
        for (const r of [0, 1, 2, 6, 7]) g.cpu.setRegLin(r, wild(g, random));
        g.cpu.setRegLin(4, g.lin(12 + random(40)));
        g.step(50);
      }
      for (const [k, v] of g.vcpu.domain.statistics) outcomes.set(k, (outcomes.get(k) ?? 0) + v);
      expect(auditHypervisor(g.hv)).toEqual([]);
    }
    expect([...outcomes.keys()].filter((k) => k.startsWith('emulated')).length).toBeGreaterThan(5);
    expect(outcomes.get('trap: general protection')).toBeGreaterThan(10);
  });
});

/** Code that enters the hypervisor one way or another. */
const PIECES: readonly (readonly number[])[] = [
  [0x0f, 0x05],
  [0x0f, 0x34],
  [0xcd, 0x80],
  [0xcd, 0x82],
  [0xcd, 0x21],
  [0xcc],
  [0xf1],
  [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2],
  [0x0f, 0x20, 0xc0],
  [0x0f, 0x22, 0xd8],
  [0x0f, 0x22, 0xe0],
  [0x0f, 0x23, 0xf8],
  [0x0f, 0x21, 0xf0],
  [0x0f, 0x32],
  [0x0f, 0x30],
  [0x0f, 0xa2],
  [0xe4, 0x60],
  [0xee],
  [0xf3, 0x6c],
  [0xf3, 0x6e],
  [0x0f, 0x06],
  [0x8e, 0xd8],
  [0x8e, 0xe0],
  [0xff, 0x18],
  [0x9d],
  [0xcf],
  [0xf4],
];
