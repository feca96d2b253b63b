// The clock against Motorola's data sheet of the MC146818A: update cycle, formats, alarms, periodic rates (table 3), interrupt flags; and the
// CMOS bytes in the places where SeaBIOS reads them.

import { describe, expect, it } from 'vitest';
import { FakeBus, FakeLine, FakeTimeline } from './fake-board.ts';
import { Rtc } from './rtc.ts';
import { cmosBytes } from './rtc-cmos.ts';

function clock(date: string, cmos?: Map<number, number>) {
  const timeline = new FakeTimeline();
  const irq8 = new FakeLine(timeline);
  const bus = new FakeBus();
  const rtc = new Rtc({ timeline, irq8: irq8.drive, epoch: Date.parse(date) / 1000, ...(cmos ? { cmos } : {}) });
  rtc.attach(bus);
  const get = (index: number) => {
    bus.out(0x70, index);
    return bus.in(0x71);
  };
  const set = (index: number, value: number) => {
    bus.out(0x70, index);
    bus.out(0x71, value);
  };
  /** Century, year, month, day, weekday, hours, minutes, seconds, in hexadecimal. */
  const date_ = () => [0x32, 9, 8, 7, 6, 4, 2, 0].map((r) => get(r).toString(16).padStart(2, '0')).join(' ');
  return { timeline, irq8, bus, rtc, get, set, date: date_ };
}
const SECOND = 1e9;

describe('the calendar', () => {
  it.each([
    ['1999-12-31T23:59:59Z', '20 00 01 01 07 00 00 00'],
    ['2000-02-28T23:59:59Z', '20 00 02 29 03 00 00 00'],
    ['2100-02-28T23:59:59Z', '21 00 03 01 02 00 00 00'],
    ['2024-02-29T23:59:59Z', '20 24 03 01 06 00 00 00'],
    ['2026-11-22T13:26:02Z', '20 26 11 22 01 13 26 03'],
    ['1970-01-01T00:00:00Z', '19 70 01 01 05 00 00 01'],
  ])('one second after %s it shows %s', (start, shown) => {
    const c = clock(start);
    c.timeline.runTo(SECOND);
    expect(c.date()).toBe(shown);
  });

  it('shows what the host’s calendar says over four hundred years', () => {
    for (let days = 0; days < 146_097; days += 61) {
      const at = new Date(Date.UTC(1980, 0, 1) + days * 86_400_000);
      const c = clock(at.toISOString());
      const iso = `${c.get(0x32).toString(16)}${c.get(9).toString(16).padStart(2, '0')}-${c.get(8).toString(16).padStart(2, '0')}-${c.get(7).toString(16).padStart(2, '0')}`;
      expect([iso, c.get(6)]).toEqual([at.toISOString().slice(0, 10), at.getUTCDay() + 1]);
      expect(c.rtc.epoch).toBe(at.getTime() / 1000);
    }
  });

  // An hour's last second, and the hour that follows, as bytes of register 4.
  it.each<[string, number, number, [number, number][]]>([
    [
      'BCD, 24 hours',
      0x02,
      0x59,
      [
        [0x11, 0x12],
        [0x22, 0x23],
        [0x23, 0x00],
        [0x09, 0x10],
      ],
    ],
    [
      'binary, 24 hours',
      0x06,
      59,
      [
        [11, 12],
        [22, 23],
        [23, 0],
        [9, 10],
      ],
    ],
    [
      'BCD, 12 hours',
      0x00,
      0x59,
      [
        [0x11, 0x92],
        [0x90, 0x91],
        [0x91, 0x12],
        [0x12, 0x01],
        [0x92, 0x81],
      ],
    ],
    [
      'binary, 12 hours',
      0x04,
      59,
      [
        [11, 0x8c],
        [0x8a, 0x8b],
        [0x8b, 12],
        [12, 1],
        [0x8c, 0x81],
      ],
    ],
  ])('counts hours in %s', (_name, b, last, hours) => {
    for (const [before, after] of hours) {
      const c = clock('2001-01-01T00:00:00Z');
      c.set(0x0b, 0x80 | b);
      // The other registers must be of the same format to make sense.
      for (const [r, v] of [
        [4, before],
        [2, last],
        [0, last],
        [7, 1],
        [8, 1],
        [9, 1],
        [0x32, 0x20],
      ] as const)
        c.set(r, v);
      c.set(0x0b, b);
      c.timeline.pass(SECOND);
      expect([before, c.get(4)]).toEqual([before, after]);
    }
  });

  it('sets the time as Linux does: SET and divider reset, and the first update half a second after', () => {
    const c = clock('2001-01-01T00:00:00Z');
    c.timeline.runTo(300e6);
    c.set(0x0b, 0x82);
    c.set(0x0a, 0x76);
    for (const [r, v] of [
      [9, 0x26],
      [8, 0x11],
      [7, 0x22],
      [4, 0x13],
      [2, 0x30],
      [0, 0x00],
    ] as const)
      c.set(r, v);
    c.timeline.pass(10 * SECOND);
    expect(c.get(0)).toBe(0);
    c.set(0x0b, 0x02);
    c.set(0x0a, 0x26);
    c.timeline.pass(499e6);
    expect(c.get(0)).toBe(0);
    c.timeline.pass(2e6);
    expect(c.get(0)).toBe(1);
    c.timeline.pass(SECOND);
    expect(c.get(0)).toBe(2);
  });

  it('UIP stands for the 2228 microseconds before each update', () => {
    const c = clock('2001-01-01T00:00:00Z');
    const uip: number[] = [];
    for (let us = 0; us < 2_000_000; us += 100) {
      c.timeline.runTo(us * 1000);
      if (c.get(0x0a) & 0x80) uip.push(us);
    }
    expect([uip[0], uip.filter((t) => t < 1_000_000).at(-1), uip.length]).toEqual([997_800, 999_900, 44]);
  });
});

describe('interrupts', () => {
  it.each([
    [1, 256],
    [2, 128],
    [3, 8192],
    [6, 1024],
    [10, 64],
    [15, 2],
  ])('rate %i is %i Hz', (rate, hertz) => {
    const c = clock('2001-01-01T00:00:00Z');
    c.set(0x0a, 0x20 | rate);
    c.set(0x0b, 0x42);
    let served = 0;
    // A handler that reads register C each time.
    while (c.timeline.now < SECOND) {
      c.timeline.pass(10_000);
      if (!c.irq8.level) continue;
      expect(c.get(0x0c)).toBe(c.timeline.now >= SECOND ? 0xd0 : 0xc0);
      served++;
    }
    expect(served).toBe(hertz);
  });

  it('the line stays up until register C is read, and flags rise without being enabled', () => {
    const c = clock('2001-01-01T00:00:00Z');
    c.set(0x0b, 0x12);
    c.timeline.runTo(5.5 * SECOND);
    expect([c.irq8.rises.length, c.irq8.level]).toEqual([1, true]);
    // Midnight's alarm registers are zero, so that only AF is missing: PF is up as well.
    expect(c.get(0x0c)).toBe(0xd0);
    expect(c.irq8.level).toBe(false);
    expect(c.get(0x0c)).toBe(0);
  });

  it.each<[string, number, number, number, string]>([
    ['a time of day', 0x03, 0x02, 0x01, '2001-01-01T03:02:01Z'],
    ['every minute', 0xff, 0xff, 0x30, '2001-01-01T00:00:30Z'],
    ['every hour', 0xc0, 0x10, 0x00, '2001-01-01T00:10:00Z'],
  ])('the alarm comes at %s', (_name, h, m, s, when) => {
    const c = clock('2001-01-01T00:00:00Z');
    c.set(5, h);
    c.set(3, m);
    c.set(1, s);
    c.set(0x0b, 0x22);
    c.get(0x0c);
    c.timeline.runTo(5 * 3600 * SECOND);
    expect(c.irq8.rises[0]).toBe(((Date.parse(when) - Date.parse('2001-01-01T00:00:00Z')) / 1000) * SECOND);
    expect(c.get(0x0c) & 0xa0).toBe(0xa0);
  });

  it('nothing is scheduled while no interrupt is enabled', () => {
    const c = clock('2001-01-01T00:00:00Z');
    c.set(0x0b, 0x02);
    expect(c.timeline.pending).toBe(0);
  });

  it('goes on after its state was replaced by a copy', () => {
    const [a, b] = [clock('2001-01-01T00:00:00Z'), clock('1980-01-01T00:00:00Z')];
    a.set(0x0b, 0x12);
    a.timeline.runTo(0.7 * SECOND);
    b.timeline.runTo(0.7 * SECOND);
    b.rtc.state = structuredClone(a.rtc.state);
    b.rtc.resume();
    a.timeline.runTo(2 * SECOND);
    b.timeline.runTo(2 * SECOND);
    expect([b.date(), b.irq8.rises]).toEqual([a.date(), a.irq8.rises]);
  });
});

describe('CMOS', () => {
  const read = (bytes: Map<number, number>, index: number, n: number) =>
    Array.from({ length: n }, (_, i) => (bytes.get(index + i) ?? 0) * 256 ** i).reduce((a, v) => a + v, 0);
  it.each([
    [64, 0, { below: 64 }],
    [8, 0, { below: 8 }],
    [3072, 1024, { below: 3072 }],
  ])('SeaBIOS finds %i MiB below and %i MiB above 4 GiB', (below, above) => {
    const bytes = cmosBytes({ ramBelow4G: below * 2 ** 20, ramAbove4G: above * 2 ** 20, cpus: 3 });
    // The computations of qemu_preinit() and qemu_cfg_e820().
    const above16 = read(bytes, 0x34, 2) * 0x1_0000;
    const ram = above16 ? above16 + 0x100_0000 : read(bytes, 0x30, 2) * 1024 + 0x10_0000;
    expect([ram, read(bytes, 0x5b, 3) * 0x1_0000, bytes.get(0x5f)]).toEqual([below * 2 ** 20, above * 2 ** 20, 2]);
  });
  it('the AT checksum covers 0x10 to 0x2d', () => {
    const bytes = cmosBytes({ ramBelow4G: 64 << 20, disks: [{ cylinders: 1024, heads: 16, sectors: 63 }] });
    let sum = 0;
    for (let i = 0x10; i <= 0x2d; i++) sum += bytes.get(i) ?? 0;
    expect(read(bytes, 0x2f, 1) + 256 * read(bytes, 0x2e, 1)).toBe(sum);
  });
  it('RAM bytes keep what is written, in both banks, over a reset', () => {
    const c = clock('2001-01-01T00:00:00Z', new Map([[0x5f, 7]]));
    expect(c.get(0x5f)).toBe(7);
    c.set(0x8f, 0x0a);
    expect([c.rtc.state.nmiMasked, c.get(0x0f)]).toEqual([true, 0x0a]);
    c.bus.out(0x72, 0x0f);
    c.bus.out(0x73, 0x55);
    c.rtc.reset();
    expect([c.bus.in(0x73), c.get(0x0f), c.get(0x0d)]).toEqual([0x55, 0x0a, 0x80]);
  });
});
