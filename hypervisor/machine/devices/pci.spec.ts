// PCI configuration mechanism 1, base address registers, and the interrupt wires through the PIIX3.

import { describe, expect, it } from 'vitest';
import { FakeBus, FakeLine, FakeTimeline } from './fake-board.ts';
import { I440fx } from './i440fx.ts';
import { PciBus } from './pci.ts';
import { COMMAND, PCI, PciFunction } from './pci-function.ts';
import { Piix3 } from './piix3.ts';
import { Piix4Pm } from './piix4-pm.ts';

const address = (slot: number, fn: number, at: number): number => 0x8000_0000 + slot * 0x800 + fn * 0x100 + (at & 0xfc);

function setUp(...functions: [slot: number, fn: number, PciFunction][]) {
  const bus = new FakeBus();
  const pci = new PciBus();
  pci.attach(bus);
  for (const [slot, fn, device] of functions) pci.add(slot, fn, device);
  return {
    bus,
    pci,
    read: (slot: number, fn: number, at: number, size = 4): number => {
      bus.out(0xcf8, address(slot, fn, at), 4);
      return bus.in(0xcfc + (at & 3), size);
    },
    write: (slot: number, fn: number, at: number, value: number, size = 4): void => {
      bus.out(0xcf8, address(slot, fn, at), 4);
      bus.out(0xcfc + (at & 3), value, size);
    },
  };
}

const noMap = { setShadow: () => {}, setSmram: () => {} };

describe('configuration mechanism 1', () => {
  it('reads and writes bytes, words and dwords of the selected function', () => {
    const { read, write } = setUp([0, 0, new I440fx(noMap)]);
    expect(read(0, 0, 0)).toBe(0x1237_8086);
    expect(read(0, 0, 2, 2)).toBe(0x1237);
    expect(read(0, 0, 1, 1)).toBe(0x80);
    write(0, 0, 0x53, 0xab, 1);
    write(0, 0, 0x50, 0x1234, 2);
    expect(read(0, 0, 0x50)).toBe(0xab00_1234);
  });

  it('reads as ones where no function is, on other buses, and without the enable bit', () => {
    const { bus, read } = setUp([0, 0, new I440fx(noMap)]);
    expect(read(1, 0, 0)).toBe(0xffff_ffff);
    expect(read(0, 1, 0, 2)).toBe(0xffff);
    bus.out(0xcf8, 0x8001_0000, 4);
    expect(bus.in(0xcfc, 4)).toBe(0xffff_ffff);
    bus.out(0xcf8, 0, 4);
    expect(bus.in(0xcfc, 4)).toBe(0xffff_ffff);
  });

  it('takes the address as a dword only', () => {
    const { bus } = setUp([0, 0, new I440fx(noMap)]);
    bus.out(0xcf8, 0x8000_0008, 4);
    bus.out(0xcf8, 0, 1);
    bus.out(0xcf9, 0, 1);
    expect(bus.in(0xcf8, 4)).toBe(0x8000_0008);
    expect(bus.in(0xcf8, 1)).toBe(0xff);
  });

  it('keeps read-only registers', () => {
    const { read, write } = setUp([0, 0, new I440fx(noMap)]);
    write(0, 0, PCI.vendor, 0);
    write(0, 0, PCI.baseClass, 0, 1);
    write(0, 0, PCI.command, 0xffff, 2);
    expect(read(0, 0, 0)).toBe(0x1237_8086);
    expect(read(0, 0, PCI.baseClass, 1)).toBe(6);
    expect(read(0, 0, PCI.command, 2)).toBe(0x507);
  });
});

describe('base address registers', () => {
  function withBars() {
    const log: string[] = [];
    const note = (name: string) => ({
      map: (base: number) => void log.push(`${name} at ${base.toString(16)}`),
      unmap: (base: number) => void log.push(`${name} gone from ${base.toString(16)}`),
    });
    const device = new PciFunction({ vendor: 1, device: 2, classCode: 0x020000 }, [
      { index: 0, kind: 'io', size: 32, ...note('ports') },
      { index: 1, kind: 'memory', size: 0x10000, prefetchable: true, ...note('memory') },
      { index: 'rom', kind: 'memory', size: 0x8000, ...note('rom') },
    ]);
    return { log, ...setUp([3, 0, device]) };
  }

  it('tell their size and kind (PCI 2.2, 6.2.5.1)', () => {
    const { read, write } = withBars();
    for (const at of [0x10, 0x14, 0x18, 0x30]) write(3, 0, at, 0xffff_ffff);
    expect([0x10, 0x14, 0x18, 0x30].map((at) => read(3, 0, at))).toEqual([0xffff_ffe1, 0xffff_0008, 0, 0xffff_8001]);
  });

  it('decode when their space is enabled, move, and go away', () => {
    const { log, write } = withBars();
    write(3, 0, 0x10, 0xc000);
    write(3, 0, 0x14, 0xe000_0000);
    expect(log).toEqual([]);
    write(3, 0, PCI.command, COMMAND.io | COMMAND.memory, 2);
    write(3, 0, 0x10, 0xc100);
    write(3, 0, PCI.command, COMMAND.memory, 2);
    expect(log).toEqual(['ports at c000', 'memory at e0000000', 'ports gone from c000', 'ports at c100', 'ports gone from c100']);
  });

  it('decode nothing while they are sized, and the ROM only with its own enable bit', () => {
    const { log, write } = withBars();
    write(3, 0, PCI.command, COMMAND.memory, 2);
    write(3, 0, 0x14, 0xffff_ffff);
    write(3, 0, 0x30, 0xfeb0_0000);
    expect(log).toEqual([]);
    write(3, 0, 0x30, 0xfeb0_0001);
    expect(log).toEqual(['rom at feb00000']);
  });

  it('are off after a reset', () => {
    const { log, pci, read, write } = withBars();
    write(3, 0, 0x10, 0xc000);
    write(3, 0, PCI.command, COMMAND.io, 2);
    pci.reset();
    expect(log).toEqual(['ports at c000', 'ports gone from c000']);
    expect(read(3, 0, 0x10)).toBe(1);
  });
});

describe('interrupt wires', () => {
  it('turn by one from slot to slot, are or-ed, and go where the PIIX3 routes them', () => {
    const timeline = new FakeTimeline();
    const lines = Array.from({ length: 16 }, () => new FakeLine(timeline));
    const isa = new Piix3(lines.map((l) => l.drive));
    const { pci, write } = setUp([1, 0, isa]);
    pci.onPirq = isa.pirq;
    const slot2 = pci.pin(2, 1);
    const slot6 = pci.pin(6, 1);
    const levels = (): number[] => lines.flatMap((l, i) => (l.level ? [i] : []));
    slot2(true);
    // Not routed at power-on.
    expect(levels()).toEqual([]);
    // Slot 2's INTA# is wire B.
    write(1, 0, 0x61, 11, 1);
    expect(levels()).toEqual([11]);
    slot6(true);
    slot2(false);
    expect(levels()).toEqual([11]);
    write(1, 0, 0x61, 5, 1);
    expect(levels()).toEqual([5]);
    slot6(false);
    expect(levels()).toEqual([]);
  });
});

describe('the host bridge', () => {
  it('tells the board what PAM registers say (82441FX, 3.2.17)', () => {
    const log: string[] = [];
    const bridge = new I440fx({
      setShadow: (base, size, r, w) => void log.push(`${base.toString(16)}+${size.toString(16)} ${r ? 'r' : '-'}${w ? 'w' : '-'}`),
      setSmram: (open) => void log.push(`smram ${open}`),
    });
    const { write, pci } = setUp([0, 0, bridge]);
    write(0, 0, 0x5a, 0x33, 1);
    write(0, 0, 0x59, 0x30, 1);
    write(0, 0, 0x59, 0x10, 1);
    pci.reset();
    expect(log).toEqual([
      'c0000+4000 rw',
      'c4000+4000 rw',
      'f0000+10000 rw',
      'f0000+10000 r-',
      'c0000+4000 --',
      'c4000+4000 --',
      'f0000+10000 --',
    ]);
  });

  it('opens SMRAM until it is locked', () => {
    const log: boolean[] = [];
    const { read, write } = setUp([0, 0, new I440fx({ setShadow: () => {}, setSmram: (open) => void log.push(open) })]);
    expect(read(0, 0, 0x72, 1)).toBe(0x02);
    write(0, 0, 0x72, 0x4a, 1);
    write(0, 0, 0x72, 0x1a, 1);
    write(0, 0, 0x72, 0x4a, 1);
    expect(log).toEqual([true, false]);
    expect(read(0, 0, 0x72, 1)).toBe(0x1a);
  });
});

describe('the power-management function', () => {
  it('puts the ACPI registers where PMBA says once PMREGMISC lets it', () => {
    const log: (number | undefined)[] = [];
    const { read, write, pci } = setUp([1, 3, new Piix4Pm({ place: (base) => void log.push(base) })]);
    write(1, 3, 0x40, 0x0601);
    expect(log).toEqual([]);
    write(1, 3, 0x80, 1, 1);
    write(1, 3, 0x40, 0xb001);
    expect(read(1, 3, 0x40)).toBe(0xb001);
    pci.reset();
    expect(log).toEqual([0x600, 0xb000, undefined]);
  });
});
