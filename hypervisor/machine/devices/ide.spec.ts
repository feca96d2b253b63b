// An ATA disk behind its channel, as a driver sees it: task file, PIO, multiple, DMA, interrupts, reset.

import { describe, expect, it } from 'vitest';
import { AtaDisk } from './ata.ts';
import { MemoryBlockStore, OverlayBlockStore, SECTOR } from './block-store.ts';
import { FakeBus, FakeLine, FakeRam, FakeTimeline } from './fake-board.ts';
import { IdeChannel } from './ide.ts';

const BASE = 0x1f0;
const STATUS = BASE + 7;
const ALTERNATE = 0x3f6;
const MILLISECOND = 1e6;

/** Each sector begins with its number and goes on with bytes that depend on it. */
function numbered(sectors: number): Uint8Array {
  const bytes = new Uint8Array(sectors * SECTOR);
  for (let i = 0; i < sectors; i++) {
    bytes.fill(i * 7 + 1, i * SECTOR, (i + 1) * SECTOR);
    bytes.set([i & 0xff, i >>> 8], i * SECTOR);
  }
  return bytes;
}

function setUp(sectors = 2048, bytes = numbered(sectors)) {
  const timeline = new FakeTimeline();
  const bus = new FakeBus();
  const ram = new FakeRam(1 << 20);
  const irq = new FakeLine(timeline);
  const store = new MemoryBlockStore(bytes);
  const channel = new IdeChannel(ram, irq.drive);
  const disk = new AtaDisk(timeline, store);
  channel.attachDrive(0, disk);
  channel.attachPorts(bus, BASE, ALTERNATE);
  const out = (register: number, value: number): void => bus.out(BASE + register, value);
  return {
    timeline,
    bus,
    ram,
    irq,
    store,
    channel,
    disk,
    out,
    wait: () => timeline.pass(MILLISECOND),
    lba28: (lba: number, count: number): void => {
      out(2, count & 0xff);
      out(3, lba & 0xff);
      out(4, (lba >>> 8) & 0xff);
      out(5, (lba >>> 16) & 0xff);
      out(6, 0xe0 | ((lba >>> 24) & 15));
    },
    sector: (): Uint8Array => {
      const words = Array.from({ length: SECTOR / 2 }, () => bus.in(BASE, 2));
      return new Uint8Array(Uint16Array.from(words).buffer);
    },
    writeSector: (data: Uint8Array): void => {
      for (let i = 0; i < SECTOR; i += 4) bus.out(BASE, new DataView(data.buffer, data.byteOffset + i, 4).getUint32(0, true), 4);
    },
  };
}

describe('a disk', () => {
  it('says who it is, with strings and sizes in their places', () => {
    const t = setUp(300_000, new Uint8Array(300_000 * SECTOR));
    t.out(7, 0xec);
    expect(t.bus.in(STATUS) & 0x80).toBe(0x80);
    t.wait();
    expect(t.irq.level).toBe(true);
    expect(t.bus.in(STATUS)).toBe(0x58);
    expect(t.irq.level).toBe(false);
    const id = t.sector();
    const word = (n: number): number => new DataView(id.buffer).getUint16(n * 2, true);
    const text = (n: number, length: number): string =>
      Array.from({ length }, (_, i) => String.fromCharCode(id[n * 2 + (i ^ 1)]!))
        .join('')
        .trimEnd();
    expect(text(27, 40)).toBe('RINGWORLD HARDDISK');
    expect([word(1), word(3), word(6)]).toEqual([Math.floor(300_000 / 1008), 16, 63]);
    expect(word(60) | (word(61) << 16)).toBe(300_000);
    expect(word(100) | (word(101) << 16)).toBe(300_000);
    expect(word(49) & 0x300).toBe(0x300);
    // SMART is not promised.
    expect(word(82) & 1).toBe(0);
    expect(t.bus.in(STATUS)).toBe(0x50);
  });

  it('reads sectors one by one, each with an interrupt', () => {
    const t = setUp();
    t.lba28(7, 3);
    t.out(7, 0x20);
    for (let i = 0; i < 3; i++) {
      t.wait();
      expect(t.irq.level).toBe(true);
      expect(t.bus.in(STATUS)).toBe(0x58);
      expect(t.sector()).toEqual(t.store.read(7 + i, 1));
    }
    t.wait();
    expect(t.irq.level).toBe(false);
    expect(t.irq.rises.length).toBe(3);
    expect(t.bus.in(STATUS)).toBe(0x50);
  });

  it('reads the same by cylinder, head and sector', () => {
    const t = setUp();
    // Cylinder 1, head 2, sector 5: (16 + 2) * 63 + 4.
    t.out(2, 1);
    t.out(3, 5);
    t.out(4, 1);
    t.out(5, 0);
    t.out(6, 0xa2);
    t.out(7, 0x20);
    t.wait();
    expect(t.sector()).toEqual(t.store.read(18 * 63 + 4, 1));
  });

  it('reads several sectors per interrupt after SET MULTIPLE', () => {
    const t = setUp();
    t.out(2, 8);
    t.out(7, 0xc6);
    t.wait();
    expect(t.bus.in(STATUS)).toBe(0x50);
    t.lba28(0, 11);
    t.out(7, 0xc4);
    const got: Uint8Array[] = [];
    const before = t.irq.rises.length;
    for (const n of [8, 3]) {
      t.wait();
      t.bus.in(STATUS);
      for (let i = 0; i < n; i++) got.push(t.sector());
    }
    expect(t.irq.rises.length - before).toBe(2);
    expect(new Uint8Array(got.flatMap((s) => [...s]))).toEqual(t.store.read(0, 11));
  });

  it('writes: no interrupt before the first sector, one after each', () => {
    const t = setUp();
    t.lba28(100, 2);
    t.out(7, 0x30);
    expect(t.bus.in(STATUS)).toBe(0x58);
    expect(t.irq.rises.length).toBe(0);
    t.writeSector(new Uint8Array(SECTOR).fill(0x11));
    t.wait();
    expect(t.bus.in(STATUS)).toBe(0x58);
    t.writeSector(new Uint8Array(SECTOR).fill(0x22));
    t.wait();
    expect(t.bus.in(STATUS)).toBe(0x50);
    expect(t.irq.rises.length).toBe(2);
    expect([...t.store.read(100, 2)]).toEqual([...new Array(512).fill(0x11), ...new Array(512).fill(0x22)]);
  });

  it('takes 48-bit addresses and shows their upper halves under HOB', () => {
    const t = setUp();
    for (const [register, high, low] of [
      [2, 0, 1],
      [3, 0, 0x34],
      [4, 0, 0x02],
      [5, 0, 0],
    ] as const) {
      t.out(register, high);
      t.out(register, low);
    }
    t.out(6, 0x40);
    t.out(7, 0x24);
    t.wait();
    expect(t.sector()).toEqual(t.store.read(0x234, 1));
    t.out(3, 0xaa);
    t.out(3, 0xbb);
    t.bus.out(ALTERNATE, 0x80);
    expect(t.bus.in(BASE + 3)).toBe(0xaa);
    t.out(2, 0);
    expect(t.bus.in(BASE + 3)).toBe(0xbb);
  });

  it('refuses what lies beyond its end, SMART, and commands it does not know', () => {
    const t = setUp();
    t.lba28(2047, 2);
    t.out(7, 0x20);
    expect([t.bus.in(STATUS), t.bus.in(BASE + 1)]).toEqual([0x51, 0x10]);
    for (const command of [0xb0, 0x00, 0xff]) {
      t.out(7, command);
      expect([t.bus.in(STATUS), t.bus.in(BASE + 1)]).toEqual([0x51, 0x04]);
    }
    expect(t.irq.rises.length).toBe(4);
  });

  it('holds its interrupt back under nIEN', () => {
    const t = setUp();
    t.bus.out(ALTERNATE, 2);
    t.out(7, 0xec);
    t.wait();
    expect(t.irq.level).toBe(false);
    expect(t.bus.in(ALTERNATE)).toBe(0x58);
    t.bus.out(ALTERNATE, 0);
    expect(t.irq.level).toBe(true);
    t.bus.in(STATUS);
    expect(t.irq.level).toBe(false);
  });

  it('is busy under SRST and shows its signature after it', () => {
    const t = setUp();
    t.lba28(9, 1);
    t.out(7, 0x20);
    t.bus.out(ALTERNATE, 4);
    expect(t.bus.in(ALTERNATE)).toBe(0x80);
    t.wait();
    t.bus.out(ALTERNATE, 0);
    expect([1, 2, 3, 4, 5].map((r) => t.bus.in(BASE + r))).toEqual([1, 1, 1, 0, 0]);
    expect(t.bus.in(STATUS)).toBe(0x50);
    expect(t.irq.rises.length).toBe(0);
  });

  it('leaves the other place on the cable empty', () => {
    const t = setUp();
    t.out(6, 0xb0);
    expect(t.bus.in(STATUS)).toBe(0);
    t.out(7, 0xec);
    t.wait();
    expect(t.irq.level).toBe(false);
  });
});

describe('the bus master', () => {
  /** PRDs at 0x1000: (address, bytes) pairs. */
  function table(t: ReturnType<typeof setUp>, entries: readonly (readonly [number, number])[]): void {
    entries.forEach(([address, bytes], i) => {
      const last = i === entries.length - 1 ? 0x8000_0000 : 0;
      t.ram.write(0x1000 + i * 8, new Uint8Array(Uint32Array.of(address, (bytes & 0xffff) + last).buffer));
    });
    for (let i = 0; i < 4; i++) t.channel.busMaster.writeByte(4 + i, (0x1000 >>> (8 * i)) & 0xff);
  }

  it('reads along its table', () => {
    const t = setUp();
    table(t, [
      [0x8000, 512],
      [0x20000, 1024],
    ]);
    t.lba28(50, 3);
    t.out(7, 0xc8);
    t.wait();
    expect(t.irq.level).toBe(false);
    t.channel.busMaster.writeByte(0, 9);
    expect(t.channel.busMaster.readByte(2)).toBe(1);
    t.wait();
    expect(t.irq.level).toBe(true);
    expect(t.channel.busMaster.readByte(2)).toBe(4);
    expect(t.ram.read(0x8000, 512)).toEqual(t.store.read(50, 1));
    expect(t.ram.read(0x20000, 1024)).toEqual(t.store.read(51, 2));
    t.channel.busMaster.writeByte(2, 4);
    expect(t.channel.busMaster.readByte(2)).toBe(0);
  });

  it('writes, and stays active when its table is longer than the transfer', () => {
    const t = setUp();
    t.ram.bytes.fill(0x77, 0x8000, 0x8400);
    table(t, [[0x8000, 4096]]);
    t.lba28(5, 2);
    t.channel.busMaster.writeByte(0, 1);
    t.out(7, 0xca);
    t.wait();
    expect(t.channel.busMaster.readByte(2)).toBe(5);
    expect(new Set(t.store.read(5, 2))).toEqual(new Set([0x77]));
    t.channel.busMaster.writeByte(0, 0);
    expect(t.channel.busMaster.readByte(2)).toBe(4);
  });

  it('waits for ever when its table ends too early, until the channel is reset', () => {
    const t = setUp();
    table(t, [[0x8000, 512]]);
    t.lba28(5, 2);
    t.out(7, 0xc8);
    t.channel.busMaster.writeByte(0, 9);
    t.wait();
    expect(t.irq.level).toBe(false);
    expect(t.channel.busMaster.readByte(2)).toBe(0);
    t.bus.out(ALTERNATE, 4);
    t.bus.out(ALTERNATE, 0);
    expect(t.bus.in(STATUS)).toBe(0x50);
  });
});

describe('an overlay', () => {
  it('keeps writes to itself', () => {
    const below = new MemoryBlockStore(new Uint8Array(4 * SECTOR).fill(1), true);
    const over = new OverlayBlockStore(below);
    over.write(1, new Uint8Array(SECTOR).fill(2));
    expect([0, 1, 2].map((lba) => over.read(lba, 1)[0])).toEqual([1, 2, 1]);
    expect(over.read(0, 4)[SECTOR]).toBe(2);
    expect(below.read(1, 1)[0]).toBe(1);
  });
});
