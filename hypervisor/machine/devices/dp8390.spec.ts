// The network card at its registers, as drivers/net/ethernet/8390 drives it.

import { describe, expect, it } from 'vitest';
import { multicastIndex } from './dp8390.ts';
import { FakeBus, FakeLine, FakeTimeline } from './fake-board.ts';
import { Rtl8029 } from './rtl8029.ts';

const BASE = 0xc100;
const MAC = Uint8Array.of(0x00, 0x16, 0x3e, 0x12, 0x34, 0x56);
const START = 0x4c;
const STOP = 0x80;

function setUp() {
  const timeline = new FakeTimeline();
  const bus = new FakeBus();
  const irq = new FakeLine(timeline);
  const sent: Uint8Array[] = [];
  const card = new Rtl8029(bus, MAC, irq.drive, (f) => sent.push(f.slice()));
  card.write(0x10, 4, BASE);
  card.write(4, 2, 1);
  const out = (r: number, v: number): void => bus.out(BASE + r, v);
  const read = (r: number): number => bus.in(BASE + r);
  /** Remote DMA, a word at a time. */
  const dma = (at: number, count: number, command: number): void => {
    out(0, 0x22);
    out(8, at & 0xff);
    out(9, at >>> 8);
    out(10, count & 0xff);
    out(11, count >>> 8);
    out(0, command | 2);
  };
  const t = {
    bus,
    irq,
    card,
    sent,
    out,
    read,
    store: (at: number, bytes: Uint8Array): void => {
      dma(at, bytes.length, 0x10);
      for (let i = 0; i < bytes.length; i += 2) bus.out(BASE + 0x10, bytes[i]! | ((bytes[i + 1] ?? 0) << 8), 2);
    },
    load: (at: number, length: number): Uint8Array => {
      dma(at, length, 0x08);
      const bytes = new Uint8Array(length);
      for (let i = 0; i < length; i += 4) new DataView(bytes.buffer).setUint32(i, bus.in(BASE + 0x10, 4), true);
      return bytes;
    },
    /** NS8390_init(1). */
    start: (rcr = 0x04): void => {
      out(0, 0x21);
      out(0x0e, 0x49);
      out(0x0c, rcr);
      out(0x0d, 0);
      out(1, START);
      out(3, START);
      out(2, STOP);
      out(7, 0xff);
      out(0x0f, 0x3f);
      out(0, 0x61);
      MAC.forEach((b, i) => {
        out(1 + i, b);
      });
      out(7, START + 1);
      out(0, 0x22);
    },
    current: (): number => {
      out(0, 0x62);
      const page = read(7);
      out(0, 0x22);
      return page;
    },
  };
  return t;
}
const frame = (to: readonly number[], length: number, fill = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => to[i] ?? (i * 7 + fill) & 0xff);

describe('an RTL8029', () => {
  it('is found by its identifiers, and appears where its BAR is', () => {
    const t = setUp();
    expect([t.card.read(0, 2), t.card.read(2, 2), t.card.read(0x0a, 2), t.card.read(0x3d, 1)]).toEqual([0x10ec, 0x8029, 0x0200, 1]);
    expect([t.read(0x0a), t.read(0x0b)]).toEqual([0x50, 0x43]);
    t.card.write(4, 2, 0);
    expect(t.read(0)).toBe(0xff);
  });

  it('shows its station address in the PROM, each byte twice, as ne2k-pci reads it', () => {
    const t = setUp();
    t.out(0, 0x21);
    t.out(0x0e, 0x49);
    t.out(0x0a, 32);
    t.out(0x0b, 0);
    t.out(8, 0);
    t.out(9, 0);
    t.out(0, 0x0a);
    // A byte access on a word-wide card takes a word.
    const prom = Array.from({ length: 16 }, () => t.bus.in(BASE + 0x10));
    expect(prom.slice(0, 6)).toEqual([...MAC]);
    expect(prom.slice(14)).toEqual([0x57, 0x57]);
  });

  it('says by RST that it is stopped, and that a read of the reset port has reset it', () => {
    const t = setUp();
    t.start();
    expect(t.read(7) & 0x80).toBe(0);
    t.read(0x1f);
    expect(t.read(7)).toBe(0x80);
  });

  it('sends what the driver has put into its memory, and interrupts', () => {
    const t = setUp();
    t.start();
    const f = frame([2, 0, 0, 0, 0, 1], 100);
    t.store(0x4000, f);
    expect(t.read(7)).toBe(0x40);
    t.out(7, 0x40);
    t.out(4, 0x40);
    t.out(5, 100);
    t.out(6, 0);
    t.out(0, 0x26);
    expect(t.sent).toEqual([f]);
    expect([t.read(0) & 4, t.read(4), t.read(7), t.irq.level]).toEqual([0, 1, 2, true]);
    t.out(7, 2);
    expect(t.irq.level).toBe(false);
  });

  it('sends nothing from outside its memory', () => {
    const t = setUp();
    t.start();
    for (const [page, count] of [
      [0x10, 60],
      [0x7f, 300],
      [0xff, 60],
      [0x40, 0xffff],
    ] as const) {
      t.out(4, page);
      t.out(5, count & 0xff);
      t.out(6, count >>> 8);
      t.out(0, 0x26);
    }
    expect(t.sent).toEqual([]);
  });

  it('receives into its ring with a header before each frame, padded to the least length', () => {
    const t = setUp();
    t.start();
    const f = frame([...MAC], 42);
    expect(t.card.receive(f)).toBe(true);
    expect([t.irq.level, t.read(7)]).toEqual([true, 1]);
    expect(t.current()).toBe(START + 2);
    const got = t.load((START + 1) << 8, 64);
    expect([...got.subarray(0, 4)]).toEqual([1, START + 2, 64, 0]);
    expect([...got.subarray(4)]).toEqual([...f, ...new Array<number>(18).fill(0)]);
  });

  it('wraps a frame at the end of the ring, and so does reading it', () => {
    const t = setUp();
    t.start();
    t.out(0, 0x62);
    t.out(7, STOP - 1);
    t.out(0, 0x22);
    t.out(3, STOP - 2);
    const f = frame([...MAC], 600);
    expect(t.card.receive(f)).toBe(true);
    expect(t.current()).toBe(START + 2);
    expect([...t.load((STOP - 1) << 8, 604)].slice(4)).toEqual([...f]);
  });

  it('drops frames while the ring is full, counts them, and goes on when the boundary has moved', () => {
    const t = setUp();
    t.start();
    let taken = 0;
    while (t.card.receive(frame([...MAC], 1514))) taken++;
    // 52 pages, six to a frame, one page that stays free.
    expect(taken).toBe(8);
    expect(t.read(7) & 0x10).toBe(0x10);
    expect([t.read(0x0f), t.read(0x0f)]).toEqual([1, 0]);
    t.out(3, START + 12);
    expect(t.card.receive(frame([...MAC], 1514))).toBe(true);
  });

  it.each([
    ['its own address', [...MAC], 0x00, true],
    ['another address', [2, 0, 0, 0, 0, 9], 0x0c, false],
    ['another address, promiscuous', [2, 0, 0, 0, 0, 9], 0x10, true],
    ['broadcast', [255, 255, 255, 255, 255, 255], 0x04, true],
    ['broadcast, switched off', [255, 255, 255, 255, 255, 255], 0x00, false],
    ['a group that it is in', [1, 0, 0x5e, 0, 0, 1], 0x08, true],
    ['a group that it is not in', [1, 0, 0x5e, 0, 0, 2], 0x08, false],
    ['anything, in monitor mode', [...MAC], 0x20, false],
  ])('filters: %s', (_what, to, rcr, expected) => {
    const t = setUp();
    t.start(rcr);
    const index = multicastIndex(Uint8Array.of(1, 0, 0x5e, 0, 0, 1));
    t.out(0, 0x62);
    t.out(8 + (index >>> 3), 1 << (index & 7));
    t.out(0, 0x22);
    t.card.receive(frame(to, 60));
    expect(t.current()).toBe(expected ? START + 2 : START + 1);
  });

  it('survives a ring that lies outside its memory', () => {
    const t = setUp();
    t.start();
    for (const [start, stop, current] of [
      [0, 0xff, 0x10],
      [0x80, 0x40, 0x50],
      [0x40, 0x80, 0x90],
      [0x40, 0x40, 0x40],
    ] as const) {
      t.out(1, start);
      t.out(2, stop);
      t.out(0, 0x62);
      t.out(7, current);
      t.out(0, 0x22);
      expect(t.card.receive(frame([...MAC], 60))).toBe(false);
    }
  });
});

it('the hash of 01:00:5e:00:00:01 is the one that Linux computes', () => {
  // ether_crc() >> 26, big-endian: the all-hosts group is bit 31 or the table of every NIC driver is wrong.
  expect(multicastIndex(Uint8Array.of(0x01, 0x00, 0x5e, 0x00, 0x00, 0x01))).toBe(crc32be([0x01, 0x00, 0x5e, 0, 0, 1]) >>> 26);
});
/** ether_crc() by its definition: bitwise, most significant bit first, over bits that come least significant first. */
function crc32be(bytes: readonly number[]): number {
  let crc = 0xffff_ffffn;
  for (const byte of bytes)
    for (let i = 0; i < 8; i++) {
      const bit = BigInt((byte >>> i) & 1) ^ (crc >> 31n);
      crc = ((crc << 1n) & 0xffff_ffffn) ^ (bit ? 0x04c1_1db7n : 0n);
    }
  return Number(crc);
}
