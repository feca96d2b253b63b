// The HPET against the IA-PC HPET specification 1.0a: register map (table 2), counter, one-shot and periodic comparators, status, routing,
// legacy replacement; the sequences are those of Linux (arch/x86/kernel/hpet.c).

import { describe, expect, it } from 'vitest';
import { FakeBus, FakeLine, FakeRam, FakeTimeline } from './fake-board.ts';
import { HPET_BASE, Hpet } from './hpet.ts';

const CAP = 0x000;
const CONF = 0x010;
const STA = 0x020;
const CNT = 0x0f0;
const tn = (n: number) => ({ cfg: 0x100 + 0x20 * n, cap: 0x104 + 0x20 * n, cmp: 0x108 + 0x20 * n, fsb: 0x110 + 0x20 * n });
const LEVEL = 2;
const ENABLE = 4;
const PERIODIC = 8;
const SETVAL = 0x40;
const BITS32 = 0x100;
const route = (pin: number) => pin << 9;

function board(dma?: FakeRam) {
  const timeline = new FakeTimeline();
  const irq0 = new FakeLine(timeline);
  const irq8 = new FakeLine(timeline);
  const pins = Array.from({ length: 24 }, () => new FakeLine(timeline));
  const bus = new FakeBus();
  const hpet = new Hpet({
    timeline,
    irq0: irq0.drive,
    irq8: irq8.drive,
    pin: (p, level) => pins[p]!.drive(level),
    ...(dma ? { dma } : {}),
  });
  hpet.attach(bus);
  const get = (offset: number, size = 4) => bus.read(HPET_BASE + offset, size);
  const set = (offset: number, value: number) => bus.write(HPET_BASE + offset, value);
  return { timeline, irq0, irq8, pins, hpet, get, set };
}

describe('registers', () => {
  it('identifies itself: revision 1, three timers, 64 bits, legacy routes, 8086, 10 ns', () => {
    const b = board();
    expect([b.get(CAP), b.get(CAP + 4)]).toEqual([0x8086_a201, 10_000_000]);
    for (const n of [0, 1, 2]) expect([b.get(tn(n).cfg), b.get(tn(n).cap)]).toEqual([0x30, 0x00ff_0104]);
    expect(b.get(0x160)).toBe(0);
    expect(b.get(CAP + 2, 2)).toBe(0x8086);
  });

  it('only the bits that exist can be written', () => {
    const b = board();
    b.set(CONF, 0xffff_ffff);
    expect(b.get(CONF)).toBe(3);
    b.set(tn(1).cfg, 0xffff_ffff);
    // No FSB without a way to deliver messages; VAL_SET reads as what was written until a comparator is.
    expect(b.get(tn(1).cfg)).toBe(0x3f7e);
    b.set(CAP, 0);
    expect(b.get(CAP)).toBe(0x8086_a201);
  });

  it('the counter stands until it is enabled, and carries into its high half', () => {
    const b = board();
    b.timeline.pass(1000);
    expect(b.get(CNT)).toBe(0);
    b.set(CNT, 0xffff_fff0);
    b.set(CNT + 4, 7);
    b.set(CONF, 1);
    b.timeline.pass(159);
    expect([b.get(CNT), b.get(CNT + 4)]).toEqual([0xffff_ffff, 7]);
    b.timeline.pass(1);
    expect([b.get(CNT), b.get(CNT + 4)]).toEqual([0, 8]);
    b.set(CONF, 0);
    b.timeline.pass(1000);
    expect([b.get(CNT), b.get(CNT + 4)]).toEqual([0, 8]);
  });
});

describe('comparators', () => {
  it('a one-shot fires when the counter equals it, once', () => {
    const b = board();
    b.set(tn(2).cfg, ENABLE | route(20));
    b.set(tn(2).cmp, 100);
    b.set(tn(2).cmp + 4, 0);
    b.set(CONF, 1);
    b.timeline.runTo(1e9);
    expect(b.pins[20]!.rises).toEqual([1000]);
    expect([b.pins[20]!.level, b.get(STA)]).toEqual([false, 0]);
  });

  it('a 32-bit one-shot fires on every turn of the low half', () => {
    const b = board();
    b.set(tn(2).cfg, ENABLE | BITS32 | route(20));
    b.set(tn(2).cmp, 100);
    b.set(CONF, 1);
    b.timeline.runTo(100e9);
    expect(b.pins[20]!.rises).toEqual([1000, 1000 + 2 ** 32 * 10, 1000 + 2 ** 33 * 10]);
  });

  it('a comparator behind the counter waits for the turn', () => {
    const b = board();
    b.set(CONF, 1);
    b.timeline.pass(10_000);
    b.set(tn(0).cfg, ENABLE | BITS32 | route(2));
    b.set(tn(0).cmp, 999);
    b.timeline.pass(1e9);
    expect(b.pins[2]!.rises).toEqual([]);
  });

  it('periodic, set up as Linux does it: accumulator under VAL_SET, then the period', () => {
    const b = board();
    b.set(CONF, 1);
    b.timeline.pass(5_005);
    const now = b.get(CNT);
    b.set(tn(0).cfg, ENABLE | PERIODIC | SETVAL | BITS32 | route(2));
    b.set(tn(0).cmp, now + 100_000);
    expect(b.get(tn(0).cfg) & SETVAL).toBe(0);
    b.timeline.pass(1000);
    b.set(tn(0).cmp, 100_000);
    b.timeline.runTo(5_100_000);
    expect(b.pins[2]!.rises).toEqual([1_005_000, 2_005_000, 3_005_000, 4_005_000, 5_005_000]);
    expect(b.get(tn(0).cmp)).toBe(600_500);
  });

  it('periodic in 64 bits: VAL_SET holds for both halves of the accumulator', () => {
    const b = board();
    b.set(CNT + 4, 5);
    b.set(tn(0).cfg, ENABLE | PERIODIC | SETVAL | route(2));
    b.set(tn(0).cmp, 1000);
    b.set(tn(0).cmp + 4, 5);
    b.set(tn(0).cmp, 500);
    b.set(tn(0).cmp + 4, 0);
    b.set(CONF, 1);
    b.timeline.runTo(20_100);
    expect(b.pins[2]!.rises).toEqual([10_000, 15_000, 20_000]);
    expect([b.get(tn(0).cmp), b.get(tn(0).cmp + 4)]).toEqual([2500, 5]);
  });

  it('level-triggered: the line stays until the status bit is written', () => {
    const b = board();
    b.set(tn(1).cfg, ENABLE | LEVEL | PERIODIC | SETVAL | route(16));
    b.set(tn(1).cmp, 100);
    b.set(tn(1).cmp + 4, 0);
    b.set(tn(1).cmp, 100);
    b.set(CONF, 1);
    b.timeline.runTo(2_500);
    expect([b.get(STA), b.pins[16]!.level, b.pins[16]!.rises.length]).toEqual([2, true, 1]);
    b.set(STA, 0xffff_fffd);
    expect(b.get(STA)).toBe(2);
    b.set(STA, 2);
    expect([b.get(STA), b.pins[16]!.level]).toEqual([0, false]);
    b.timeline.runTo(3_500);
    expect(b.pins[16]!.rises).toEqual([1000, 3000]);
  });

  it('a disabled level timer shows its status and drives nothing', () => {
    const b = board();
    b.set(tn(1).cfg, LEVEL | BITS32 | route(16));
    b.set(tn(1).cmp, 100);
    b.set(CONF, 1);
    b.timeline.runTo(2_000);
    expect([b.get(STA), b.pins[16]!.rises]).toEqual([2, []]);
  });

  it('a route that is not among the capabilities leads nowhere', () => {
    const b = board();
    b.set(tn(0).cfg, ENABLE | BITS32 | route(5));
    b.set(tn(0).cmp, 10);
    b.set(CONF, 1);
    b.timeline.runTo(1000);
    expect(b.pins[5]!.rises).toEqual([]);
  });

  it('with a way to RAM it sends its message instead', () => {
    const ram = new FakeRam(4096);
    const b = board(ram);
    b.set(tn(2).fsb, 0x1234_5678);
    b.set(tn(2).fsb + 4, 0x100);
    b.set(tn(2).cfg, ENABLE | BITS32 | 0x4000);
    b.set(tn(2).cmp, 10);
    b.set(CONF, 1);
    b.timeline.runTo(1000);
    expect([...ram.read(0x100, 4)]).toEqual([0x78, 0x56, 0x34, 0x12]);
  });
});

describe('legacy replacement', () => {
  it('passes the PIT and the RTC through until it is switched on, and again after', () => {
    const b = board();
    b.hpet.pitInput(true);
    b.hpet.rtcInput(true);
    expect([b.irq0.level, b.irq8.level]).toEqual([true, true]);
    b.set(CONF, 3);
    expect([b.irq0.level, b.irq8.level]).toEqual([false, false]);
    b.hpet.pitInput(false);
    b.hpet.pitInput(true);
    expect(b.irq0.rises.length).toBe(1);
    b.set(CONF, 0);
    expect([b.irq0.level, b.irq8.level]).toEqual([true, true]);
  });

  it('timer 0 takes IRQ0 and timer 1 IRQ8, whatever their routes say', () => {
    const b = board();
    b.set(tn(0).cfg, ENABLE | BITS32 | route(20));
    b.set(tn(0).cmp, 10);
    b.set(tn(1).cfg, ENABLE | BITS32 | route(20));
    b.set(tn(1).cmp, 20);
    b.set(CONF, 3);
    b.timeline.runTo(1000);
    expect([b.irq0.rises, b.irq8.rises, b.pins[20]!.rises]).toEqual([[100], [200], []]);
  });
});

it('a reset stops it, drops its interrupts, and gives the legacy lines back', () => {
  const b = board();
  b.hpet.pitInput(true);
  b.set(tn(2).cfg, ENABLE | LEVEL | BITS32 | route(16));
  b.set(tn(2).cmp, 10);
  b.set(CONF, 3);
  b.timeline.runTo(1000);
  expect([b.irq0.level, b.pins[16]!.level]).toEqual([false, true]);
  b.hpet.reset();
  expect([b.irq0.level, b.pins[16]!.level, b.get(CONF), b.get(CNT), b.timeline.pending]).toEqual([true, false, 0, 0, 0]);
});

it('goes on after its state was replaced by a copy', () => {
  const [a, b] = [board(), board()];
  a.set(tn(0).cfg, ENABLE | PERIODIC | SETVAL | BITS32 | route(2));
  a.set(tn(0).cmp, 1000);
  a.set(tn(0).cmp, 1000);
  a.set(CONF, 1);
  for (const x of [a, b]) x.timeline.runTo(25_000);
  b.hpet.state = structuredClone(a.hpet.state);
  b.hpet.resume();
  for (const x of [a, b]) x.timeline.runTo(55_000);
  expect(b.pins[2]!.rises).toEqual([30_000, 40_000, 50_000]);
  expect(a.pins[2]!.rises).toEqual([10_000, 20_000, 30_000, 40_000, 50_000]);
});
