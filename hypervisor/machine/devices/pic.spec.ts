// The 8259A pair against its data sheet (231468): what the processor is given at INTA, in every mode that software uses.

import { describe, expect, it } from 'vitest';
import { PicPair } from './pic.ts';

interface Rig {
  readonly pic: PicPair;
  int(): boolean;
  out(port: number, value: number): void;
  in(port: number): number;
}

/** Initialized as a PC does: vectors 0x30 and 0x38, cascade on pin 2, nothing masked. */
function rig(options: { master4?: number; slave4?: number } = {}): Rig {
  let level = false;
  const pic = new PicPair((l) => {
    level = l;
  });
  const out = (port: number, value: number) => pic.ports.out(port, 1, value);
  for (const [base, vector, cascade, icw4] of [
    [0x20, 0x30, 4, options.master4 ?? 1],
    [0xa0, 0x38, 2, options.slave4 ?? 1],
  ] as const) {
    out(base, 0x11);
    for (const v of [vector, cascade, icw4, 0]) out(base + 1, v);
  }
  return { pic, int: () => level, out, in: (port) => pic.ports.in(port, 1) };
}
const pulse = (r: Rig, irq: number): void => {
  r.pic.setLine(irq, false);
  r.pic.setLine(irq, true);
};
const eoi = (r: Rig): void => r.out(0x20, 0x20);
/** Vectors that INTA gives until INT falls, each ended by EOIs as a driver sends them. */
function served(r: Rig): number[] {
  const seen: number[] = [];
  while (r.int()) {
    const v = r.pic.acknowledge();
    seen.push(v);
    if (v >= 0x38) r.out(0xa0, 0x20);
    eoi(r);
  }
  return seen;
}

describe('requests', () => {
  it('come as vectors in the order of their priority, the slave between pins 1 and 3 of the master', () => {
    const r = rig();
    for (const irq of [7, 3, 15, 0, 8, 1]) pulse(r, irq);
    expect(served(r)).toEqual([0x30, 0x31, 0x38, 0x3f, 0x33, 0x37]);
  });

  it('of a lower or equal priority wait until the one in service has ended', () => {
    const r = rig();
    pulse(r, 3);
    expect(r.pic.acknowledge()).toBe(0x33);
    pulse(r, 5);
    pulse(r, 3);
    expect(r.int()).toBe(false);
    pulse(r, 1);
    expect(r.pic.acknowledge()).toBe(0x31);
    eoi(r);
    expect(r.int()).toBe(false);
    eoi(r);
    expect(served(r)).toEqual([0x33, 0x35]);
  });

  it('that are masked do not ask, and are not forgotten', () => {
    const r = rig();
    r.out(0x21, 0x08);
    pulse(r, 3);
    expect([r.int(), r.in(0x20)]).toEqual([false, 0x08]);
    r.out(0x21, 0);
    expect(served(r)).toEqual([0x33]);
  });

  it('by edge are one for each edge; the level alone asks no more', () => {
    const r = rig();
    r.pic.setLine(4, true);
    r.pic.setLine(4, true);
    expect(served(r)).toEqual([0x34]);
    expect(r.int()).toBe(false);
  });

  it('that have gone before INTA give vector 7 and set nothing in service ("default IR7")', () => {
    const r = rig();
    pulse(r, 4);
    r.pic.setLine(4, false);
    expect(r.pic.acknowledge()).toBe(0x37);
    r.out(0x20, 0x0b);
    expect(r.in(0x20)).toBe(0);
  });

  it('by level (ELCR, PIIX3 2.3.4) ask again after EOI for as long as the line is up', () => {
    const r = rig();
    r.out(0x4d1, 0x0c);
    expect(r.in(0x4d1)).toBe(0x0c);
    r.pic.setLine(10, true);
    expect(r.pic.acknowledge()).toBe(0x3a);
    r.out(0xa0, 0x20);
    eoi(r);
    expect(r.pic.acknowledge()).toBe(0x3a);
    r.pic.setLine(10, false);
    r.out(0xa0, 0x20);
    eoi(r);
    expect(r.int()).toBe(false);
  });

  it('of two slave pins at once both reach the master, though its pin is edge-triggered', () => {
    const r = rig();
    pulse(r, 9);
    expect(r.pic.acknowledge()).toBe(0x39);
    pulse(r, 8);
    r.out(0xa0, 0x20);
    eoi(r);
    expect(served(r)).toEqual([0x38]);
  });

  it('ELCR bits of timer, keyboard, cascade, clock and FPU cannot be set', () => {
    const r = rig();
    r.out(0x4d0, 0xff);
    r.out(0x4d1, 0xff);
    expect([r.in(0x4d0), r.in(0x4d1)]).toEqual([0xf8, 0xde]);
  });
});

describe('commands', () => {
  it.each([
    ['non-specific EOI ends the one of highest priority', [0x20], 0x20],
    ['specific EOI ends the one that is named', [0x65], 0x02],
    ['an EOI with nothing in service does nothing', [0x20, 0x20, 0x20], 0],
  ])('%s', (_what, commands, left) => {
    const r = rig();
    pulse(r, 5);
    r.pic.acknowledge();
    pulse(r, 1);
    r.pic.acknowledge();
    for (const c of commands) r.out(0x20, c);
    r.out(0x20, 0x0b);
    expect(r.in(0x20)).toBe(left);
  });

  it('rotation on non-specific EOI makes the one that was served the lowest', () => {
    const r = rig();
    pulse(r, 4);
    r.pic.acknowledge();
    r.out(0x20, 0xa0);
    for (const irq of [0, 4, 5]) pulse(r, irq);
    expect(served(r)).toEqual([0x35, 0x30, 0x34]);
  });

  it('set priority and rotate on specific EOI name the lowest', () => {
    const r = rig();
    r.out(0x20, 0xc5);
    for (const irq of [0, 5, 6]) pulse(r, irq);
    expect(r.pic.acknowledge()).toBe(0x36);
    r.out(0x20, 0xe6);
    expect(served(r)).toEqual([0x30, 0x35]);
  });

  it('automatic EOI sets nothing in service, and rotates where that is asked', () => {
    const r = rig({ master4: 3 });
    r.out(0x20, 0x80);
    for (const irq of [0, 1]) pulse(r, irq);
    expect(r.pic.acknowledge()).toBe(0x30);
    pulse(r, 0);
    expect(r.pic.acknowledge()).toBe(0x31);
    expect(r.pic.acknowledge()).toBe(0x30);
    r.out(0x20, 0x0b);
    expect(r.in(0x20)).toBe(0);
  });

  it('special mask mode lets lower requests through when the one in service is masked', () => {
    const r = rig();
    pulse(r, 1);
    r.pic.acknowledge();
    pulse(r, 6);
    r.out(0x21, 0x02);
    expect(r.int()).toBe(false);
    r.out(0x20, 0x68);
    expect(r.pic.acknowledge()).toBe(0x36);
    r.out(0x20, 0x48);
    expect(r.int()).toBe(false);
  });

  it('special fully nested mode lets the slave interrupt itself', () => {
    for (const [master4, nested] of [
      [0x01, false],
      [0x11, true],
    ] as const) {
      const r = rig({ master4 });
      pulse(r, 12);
      expect(r.pic.acknowledge()).toBe(0x3c);
      pulse(r, 9);
      expect(r.int()).toBe(nested);
    }
  });

  it('a poll is an INTA whose answer is read: bit 7 and the pin', () => {
    const r = rig();
    pulse(r, 5);
    r.out(0x20, 0x0c);
    expect(r.in(0x20)).toBe(0x85);
    r.out(0x20, 0x0c);
    expect(r.in(0x20)).toBe(0);
    r.out(0x20, 0x0b);
    expect(r.in(0x20)).toBe(0x20);
  });

  it('ICW1 clears masks and in-service bits and resets the edge detectors', () => {
    const r = rig();
    pulse(r, 3);
    r.pic.acknowledge();
    r.out(0x21, 0xff);
    r.pic.setLine(4, true);
    r.out(0x20, 0x11);
    for (const v of [0x50, 4, 1]) r.out(0x21, v);
    expect([r.in(0x21), r.int()]).toEqual([0, false]);
    pulse(r, 4);
    expect(r.pic.acknowledge()).toBe(0x54);
  });

  it('without ICW4 or a cascade those words are not awaited', () => {
    const r = rig();
    r.out(0x20, 0x12);
    r.out(0x21, 0x60);
    r.out(0x21, 0xfe);
    expect(r.in(0x21)).toBe(0xfe);
    pulse(r, 0);
    expect(r.pic.acknowledge()).toBe(0x60);
  });
});
