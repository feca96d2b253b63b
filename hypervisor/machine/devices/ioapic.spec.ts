// The I/O APIC against the 82093AA data sheet (290566): what it sends for edges and levels, and what its registers answer.

import { describe, expect, it } from 'vitest';
import type { ApicMessage } from './apic-message.ts';
import { BROADCAST, DELIVERY } from './apic-message.ts';
import { IoApic } from './ioapic.ts';

const IOREGSEL = 0;
const IOWIN = 0x10;

function rig(taken = true) {
  const sent: ApicMessage[] = [];
  const apic = new IoApic((m) => {
    sent.push(m);
    return taken;
  });
  const write = (register: number, value: number) => {
    apic.write(IOREGSEL, 4, register);
    apic.write(IOWIN, 4, value);
  };
  const read = (register: number) => {
    apic.write(IOREGSEL, 4, register);
    return apic.read(IOWIN, 4);
  };
  const entry = (pin: number, low: number, high = 0) => {
    write(0x11 + 2 * pin, high);
    write(0x10 + 2 * pin, low);
  };
  return {
    apic,
    sent,
    write,
    read,
    entry,
  };
}
const EDGE = 0x31;
const LEVEL = 0x8041;
const MASKED = 0x1_0000;

describe('registers', () => {
  it('tell 24 pins, all masked after reset, and version 0x20', () => {
    const r = rig();
    expect(r.read(1)).toBe(0x0017_0020);
    expect(Array.from({ length: 24 }, (_, i) => r.read(0x10 + 2 * i))).toEqual(new Array(24).fill(MASKED));
  });

  it.each([
    ['ID has four bits', 0, 0xffff_ffff, 0x0f00_0000],
    ['the version is read-only', 1, 0, 0x0017_0020],
    ['delivery status and remote IRR are read-only', 0x10, 0x1_5000 | EDGE, 0x1_0031],
    ['the polarity is kept', 0x10, 0x1_2031, 0x1_2031],
    ['of the high half only the destination is there', 0x11, 0xffff_ffff, 0xff00_0000],
    ['there is nothing after the last pin', 0x40, 0x1234, 0],
  ])('%s', (_what, register, value, expected) => {
    const r = rig();
    r.write(register, value);
    expect(r.read(register)).toBe(expected);
  });
});

describe('an edge', () => {
  it('is one message, with destination, mode and vector of its entry', () => {
    const r = rig();
    r.entry(4, 0x0931, 0x0300_0000);
    r.apic.setLine(4, true);
    r.apic.setLine(4, true);
    expect(r.sent).toEqual([{ destination: 3, logical: true, delivery: DELIVERY.lowest, vector: 0x31, level: false }]);
    r.apic.setLine(4, false);
    r.apic.setLine(4, true);
    expect(r.sent).toHaveLength(2);
  });

  it('that comes while the pin is masked is lost', () => {
    const r = rig();
    r.entry(4, MASKED | EDGE);
    r.apic.setLine(4, true);
    r.entry(4, EDGE);
    expect(r.sent).toEqual([]);
  });

  it('to physical destination 0xff goes to everybody, to logical 0xff to those it names', () => {
    const r = rig();
    r.entry(4, EDGE, 0xff00_0000);
    r.entry(5, 0x800 | EDGE, 0xff00_0000);
    r.apic.setLine(4, true);
    r.apic.setLine(5, true);
    expect(r.sent.map((m) => m.destination)).toEqual([BROADCAST, 0xff]);
  });
});

describe('a level', () => {
  it('sets remote IRR and asks again after the EOI of its vector, while it is up', () => {
    const r = rig();
    r.entry(10, LEVEL);
    r.apic.setLine(10, true);
    expect([r.sent.length, r.read(0x24)]).toEqual([1, LEVEL | 0x4000]);
    r.apic.eoi(0x42);
    expect(r.sent).toHaveLength(1);
    r.apic.eoi(0x41);
    expect(r.sent).toHaveLength(2);
    r.apic.setLine(10, false);
    r.apic.eoi(0x41);
    expect([r.sent.length, r.read(0x24)]).toEqual([2, LEVEL]);
  });

  it('that is up when its entry is opened asks at once', () => {
    const r = rig();
    r.apic.setLine(10, true);
    r.entry(10, LEVEL);
    expect(r.sent).toHaveLength(1);
  });

  it('is ended by the EOI register as well (version 0x20)', () => {
    const r = rig();
    r.entry(10, LEVEL);
    r.apic.setLine(10, true);
    r.apic.write(0x40, 4, 0x41);
    expect(r.sent).toHaveLength(2);
  });

  it('that nobody took leaves no remote IRR behind', () => {
    const r = rig(false);
    r.entry(10, LEVEL);
    r.apic.setLine(10, true);
    expect(r.read(0x24)).toBe(LEVEL);
  });

  it('made edge-triggered forgets its remote IRR (how kernels clear a stuck one)', () => {
    const r = rig();
    r.entry(10, LEVEL);
    r.apic.setLine(10, true);
    r.write(0x24, MASKED | EDGE);
    r.write(0x24, MASKED | LEVEL);
    expect(r.read(0x24)).toBe(MASKED | LEVEL);
  });

  it('as NMI or INIT sets no remote IRR: no EOI will come', () => {
    const r = rig();
    r.entry(10, 0x8400);
    r.apic.setLine(10, true);
    expect(r.read(0x24)).toBe(0x8400);
  });
});
