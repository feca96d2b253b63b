// The 8254 against the waveforms of Intel's data sheet (231164, figures 15 to 20: one row of counts and OUT levels for each mode) and the
// port 0x61 bits that kernels calibrate with.

import { describe, expect, it } from 'vitest';
import { FakeBus, FakeLine, FakeTimeline } from './fake-board.ts';
import { Oscillator } from './oscillator.ts';
import { PIT_HERTZ, Pit } from './pit.ts';
import { advance, counterValue, createCounter, nextEdge, setGate, writeControl, writeCount } from './pit-counter.ts';

/** Counts and OUT tick by tick: `n` ticks from the one after the count was written. `at` maps a tick to something done at it. */
function trace(
  mode: number,
  count: number,
  n: number,
  options: { gate?: boolean; bcd?: boolean; at?: Record<number, (c: Counter) => void> } = {},
) {
  const c = createCounter(options.gate ?? true);
  writeControl(c, 3, mode, options.bcd ?? false);
  const rows: string[] = [];
  writeCount(c, count & 0xff);
  writeCount(c, count >> 8);
  for (let tick = 1; tick <= n; tick++) {
    advance(c, tick);
    rows.push(`${counterValue(c).toString(16)}${c.out ? '+' : '-'}`);
    options.at?.[tick]?.(c);
  }
  return rows.join(' ');
}
type Counter = ReturnType<typeof createCounter>;
const write = (count: number) => (c: Counter) => {
  writeCount(c, count & 0xff);
  writeCount(c, count >> 8);
};
const gate = (level: boolean) => (c: Counter) => setGate(c, level);

describe('the data sheet’s waveforms', () => {
  it.each<[string, string, string]>([
    ['mode 0 counts down once and wraps', trace(0, 4, 7), '4- 3- 2- 1- 0+ ffff+ fffe+'],
    ['mode 0 stands still while the gate is low', trace(0, 3, 7, { at: { 2: gate(false), 4: gate(true) } }), '3- 2- 2- 2- 1- 0+ ffff+'],
    ['mode 0 starts again with a new count', trace(0, 3, 6, { at: { 3: write(2) } }), '3- 2- 1- 2- 1- 0+'],
    ['mode 0 in BCD', trace(0, 0x10, 4, { bcd: true }), '10- 9- 8- 7-'],
    ['mode 1 waits for a trigger', trace(1, 3, 6, { gate: false, at: { 1: gate(true) } }), '0+ 3- 2- 1- 0+ ffff+'],
    [
      'mode 1 can be triggered again',
      trace(1, 3, 8, { gate: false, at: { 1: gate(true), 2: gate(false), 3: gate(true) } }),
      '0+ 3- 2- 3- 2- 1- 0+ ffff+',
    ],
    ['mode 2 is low for one clock', trace(2, 3, 7), '3+ 2+ 1- 3+ 2+ 1- 3+'],
    ['mode 2 takes a new count at the end of the period', trace(2, 4, 9, { at: { 2: write(3) } }), '4+ 3+ 2+ 1- 3+ 2+ 1- 3+ 2+'],
    ['mode 2 starts again with the gate', trace(2, 3, 7, { at: { 2: gate(false), 4: gate(true) } }), '3+ 2+ 2+ 2+ 3+ 2+ 1-'],
    ['mode 3 with an even count', trace(3, 4, 9), '4+ 2+ 4- 2- 4+ 2+ 4- 2- 4+'],
    ['mode 3 with an odd count is high for one clock more', trace(3, 5, 11), '4+ 2+ 0+ 4- 2- 4+ 2+ 0+ 4- 2- 4+'],
    ['mode 3 goes high when the gate falls', trace(3, 4, 7, { at: { 3: gate(false), 5: gate(true) } }), '4+ 2+ 4- 4+ 4+ 4+ 2+'],
    ['mode 4 strobes once', trace(4, 3, 6), '3+ 2+ 1+ 0- ffff+ fffe+'],
    ['mode 5 strobes after a trigger', trace(5, 3, 7, { gate: false, at: { 1: gate(true) } }), '0+ 3+ 2+ 1+ 0- ffff+ fffe+'],
    ['modes 6 and 7 are 2 and 3', `${trace(6, 3, 4)} / ${trace(7, 4, 4)}`, '3+ 2+ 1- 3+ / 4+ 2+ 4- 2-'],
  ])('%s', (_name, is, should) => {
    expect(is).toBe(should);
  });

  it('counting in one stride ends where counting tick by tick does', () => {
    for (let mode = 0; mode < 6; mode++)
      for (const count of [2, 3, 7, 0x100, 0x1235, 0])
        for (const stride of [1, 2, 5, 97, 65_535, 65_536, 200_003]) {
          const make = () => {
            const c = createCounter(false);
            writeControl(c, 3, mode, false);
            write(count)(c);
            setGate(c, true);
            return c;
          };
          const [slow, fast] = [make(), make()];
          // The slow one stops at every edge on its way.
          for (let tick = nextEdge(slow); tick >= 0 && tick < stride; tick = nextEdge(slow)) advance(slow, tick);
          advance(slow, stride);
          advance(fast, stride);
          expect([mode, count, stride, slow]).toEqual([mode, count, stride, fast]);
        }
  });

  it('OUT never changes between the edges that are foretold', () => {
    for (const mode of [0, 2, 3, 4]) {
      const c = createCounter(true);
      writeControl(c, 3, mode, false);
      write(9)(c);
      let edge = nextEdge(c);
      let out = c.out;
      for (let tick = 1; tick < 60; tick++) {
        advance(c, tick);
        if (c.out !== out) expect([mode, tick]).toEqual([mode, edge]);
        out = c.out;
        if (tick >= edge) edge = nextEdge(c);
      }
    }
  });
});

function pc() {
  const timeline = new FakeTimeline();
  const irq0 = new FakeLine(timeline);
  const bus = new FakeBus();
  const pit = new Pit({ timeline, irq0: irq0.drive });
  pit.attach(bus);
  return { timeline, irq0, bus, pit };
}
const clock = new Oscillator(PIT_HERTZ);

describe('the ports', () => {
  it.each([2, 3])('mode %i at 100 Hz raises IRQ0 a hundred times a second, on the dot', (mode) => {
    const { timeline, irq0, bus } = pc();
    bus.out(0x43, 0x30 | (mode << 1));
    irq0.rises.length = 0;
    bus.out(0x40, 11_932 & 0xff);
    bus.out(0x40, 11_932 >> 8);
    timeline.runTo(1e9);
    expect(irq0.rises).toEqual(Array.from({ length: 99 }, (_, i) => clock.timeOf(1 + 11_932 * (i + 1))));
  });

  it('a latched count stays until both bytes are read, and a second latch is ignored', () => {
    const { timeline, bus } = pc();
    bus.out(0x43, 0x34);
    bus.out(0x40, 0x00);
    bus.out(0x40, 0x00);
    timeline.runTo(clock.timeOf(0x1235));
    bus.out(0x43, 0x00);
    timeline.runTo(clock.timeOf(0x2000));
    bus.out(0x43, 0x00);
    expect([bus.in(0x40), bus.in(0x40)]).toEqual([0xcc, 0xed]);
    expect(bus.in(0x40) | (bus.in(0x40) << 8)).toBe(0x1_0001 - 0x2000);
  });

  it('read-back gives the status first, then the count', () => {
    const { timeline, bus } = pc();
    bus.out(0x43, 0xb6);
    bus.out(0x42, 0x10);
    // Counter 2, status and count: nothing was loaded yet, OUT is high, mode 3, both bytes.
    bus.out(0x43, 0xc8);
    expect(bus.in(0x42)).toBe(0x80 | 0x40 | 0x36);
    bus.out(0x42, 0x00);
    bus.out(0x61, 0x01);
    timeline.runTo(clock.timeOf(3));
    bus.in(0x42);
    bus.in(0x42);
    bus.out(0x43, 0xc8);
    expect([bus.in(0x42), bus.in(0x42), bus.in(0x42)]).toEqual([0xb6, 12, 0]);
  });

  it('channel 2 times through port 0x61, as Linux calibrates the TSC', () => {
    const { timeline, bus } = pc();
    bus.out(0x61, (bus.in(0x61) & ~2) | 1);
    bus.out(0x43, 0xb0);
    bus.out(0x42, 0xff);
    bus.out(0x42, 0x10);
    expect(bus.in(0x61) & 0x20).toBe(0);
    timeline.runTo(clock.timeOf(0x10ff));
    expect(bus.in(0x61) & 0x20).toBe(0);
    timeline.runTo(clock.timeOf(0x1100));
    expect(bus.in(0x61) & 0x21).toBe(0x21);
  });

  it('the refresh bit toggles every 15 microseconds', () => {
    const { timeline, bus } = pc();
    let toggles = 0;
    let last = bus.in(0x61) & 0x10;
    for (let i = 0; i < 1000; i++) {
      timeline.pass(1000);
      const now = bus.in(0x61) & 0x10;
      if (now !== last) toggles++;
      last = now;
    }
    expect(toggles).toBe(66);
  });

  it('goes on after its state was replaced by a copy', () => {
    const [a, b] = [pc(), pc()];
    for (const v of [0x34]) a.bus.out(0x43, v);
    for (const v of [0xa9, 0x04]) a.bus.out(0x40, v);
    a.timeline.runTo(5_500_000);
    b.timeline.runTo(5_500_000);
    b.pit.state = structuredClone(a.pit.state);
    b.pit.resume();
    a.irq0.rises.length = 0;
    b.irq0.rises.length = 0;
    a.timeline.runTo(20_000_000);
    b.timeline.runTo(20_000_000);
    expect(b.irq0.rises.filter((t) => t > 5_500_000)).toEqual(a.irq0.rises);
    expect(a.irq0.rises.length).toBe(15);
  });
});
