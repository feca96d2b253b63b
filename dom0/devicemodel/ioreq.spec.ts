// Requests as Xen sends them, round the whole way: through the shared page to a device and back.
import {
  domid,
  IOREQ_TYPE_COPY,
  IOREQ_TYPE_INVALIDATE,
  IOREQ_TYPE_PCI_CONFIG,
  IOREQ_TYPE_PIO,
  IOREQ_TYPE_TIMEOFFSET,
} from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { DmOp } from './dm-op.ts';
import { GuestMemory } from './guest-memory.ts';
import { IoSpace } from './io-space.ts';
import { IoreqHandler } from './ioreq-handler.ts';
import { IoreqServer } from './ioreq-server.ts';
import { FakeHypervisor } from './testing/fake-hypervisor.ts';

const DOM = domid(1);
const MMIO = 0xf000_0000;

/** A server with a port device at 0x100, memory at MMIO (4 KiB of a device's own), and one function at devfn 8. */
function setUp() {
  const xen = new FakeHypervisor(16);
  const dmOp = new DmOp(xen.xen, DOM);
  const broken: string[] = [];
  const server = new IoreqServer(xen, dmOp, DOM, (reason) => broken.push(reason));
  const space = new IoSpace({
    ports: (first, last, isMapped) => (isMapped ? server.mapRange('port', first, last) : server.unmapRange('port', first, last)),
    memory: (first, last, isMapped) => (isMapped ? server.mapRange('memory', first, last) : server.unmapRange('memory', first, last)),
  });
  const log: string[] = [];
  let next = 0x11;
  space.attachPorts(0x100, 4, {
    in: (port, size) => {
      log.push(`in ${port.toString(16)} ${size}`);
      return size === 1 ? next++ : size === 2 ? 0xbeef : 0xdeadbeef;
    },
    out: (port, size, value) => log.push(`out ${port.toString(16)} ${size} ${value.toString(16)}`),
  });
  const device = new Uint8Array(4096);
  const view = new DataView(device.buffer);
  space.attachMemory(MMIO, 4096, {
    read: (at, size) => (size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true)),
    write: (at, size, v) => (size === 1 ? view.setUint8(at, v) : size === 2 ? view.setUint16(at, v, true) : view.setUint32(at, v, true)),
  });
  const config = new Uint8Array(256).map((_, i) => i);
  const times: number[] = [];
  const memory = new GuestMemory(xen, DOM);
  server.enable(
    new IoreqHandler({
      space,
      memory,
      pci: (sbdf) =>
        sbdf === 8
          ? {
              read: (at, size) => (size === 1 ? config[at]! : config[at]! | (config[at + 1]! << 8)),
              write: (at, _size, v) => config.fill(v, at, at + 1),
            }
          : undefined,
      timeOffset: (s) => times.push(s),
    }),
    2,
  );
  return { xen, server, space, log, device, view, config, times, memory, broken };
}

describe('a request', () => {
  it.each([
    [1, 0x11],
    [2, 0xbeef],
    [4, 0xdeadbeef],
  ])('IN of %i bytes is answered with what the device gave', (size, value) => {
    const t = setUp();
    expect(t.xen.in(0x100, size)).toBe(value);
    expect(t.log).toEqual([`in 100 ${size}`]);
  });

  it('OUT reaches the device cut to its size, and a port that nobody answers reads as ones', () => {
    const t = setUp();
    t.xen.out(0x102, 0x1_2345 & 0xffff_ffff, 2);
    expect(t.log).toEqual(['out 102 2 2345']);
    expect([t.xen.in(0x200, 1), t.xen.in(0x200, 4)]).toEqual([0xff, 0xffff_ffff]);
  });

  it('comes from each vCPU by its own slot and event channel', () => {
    const t = setUp();
    expect(t.xen.request({ type: IOREQ_TYPE_PIO, isRead: true, addr: 0x100, size: 2 }, 1)).toBe(0xbeefn);
    expect(() => t.xen.request({ type: IOREQ_TYPE_PIO, isRead: true, addr: 0x100, size: 2 }, 2)).toThrow();
  });

  it('moves memory of 1, 2, 4 and 8 bytes', () => {
    const t = setUp();
    for (const [size, value] of [
      [1, 0x12n],
      [2, 0x3456n],
      [4, 0x89abcdefn],
      [8, 0xfedc_ba98_7654_3210n],
    ] as const) {
      t.xen.request({ type: IOREQ_TYPE_COPY, isRead: false, addr: MMIO + 64, size, data: value });
      expect(t.view.getBigUint64(64, true) & ((1n << BigInt(8 * size)) - 1n)).toBe(value);
      expect(t.xen.request({ type: IOREQ_TYPE_COPY, isRead: true, addr: MMIO + 64, size })).toBe(value);
    }
  });

  it('INS and OUTS with REP go to guest memory, up or down, and across a page', () => {
    const t = setUp();
    t.xen.request({ type: IOREQ_TYPE_PIO, isRead: true, addr: 0x100, size: 1, count: 4, isPointer: true, data: 0x1ffe });
    expect([...t.xen.bytes(0x1ffe, 4)]).toEqual([0x11, 0x12, 0x13, 0x14]);
    t.xen.request({ type: IOREQ_TYPE_PIO, isRead: true, addr: 0x100, size: 1, count: 3, isPointer: true, data: 0x3002, df: true });
    expect([...t.xen.bytes(0x3000, 3)]).toEqual([0x17, 0x16, 0x15]);
    t.xen.poke(0x4000, [1, 2, 3, 4]);
    t.log.length = 0;
    t.xen.request({ type: IOREQ_TYPE_PIO, isRead: false, addr: 0x100, size: 2, count: 2, isPointer: true, data: 0x4000 });
    t.xen.request({ type: IOREQ_TYPE_PIO, isRead: false, addr: 0x100, size: 2, count: 2, isPointer: true, data: 0x4002, df: true });
    expect(t.log).toEqual(['out 100 2 201', 'out 100 2 403', 'out 100 2 403', 'out 100 2 201']);
  });

  it('MOVS with REP steps on both sides, down too', () => {
    const t = setUp();
    t.xen.poke(0x5000, [1, 2, 3, 4, 5, 6, 7, 8]);
    t.xen.request({ type: IOREQ_TYPE_COPY, isRead: false, addr: MMIO, size: 4, count: 2, isPointer: true, data: 0x5000 });
    expect([...t.device.subarray(0, 8)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    t.xen.request({ type: IOREQ_TYPE_COPY, isRead: true, addr: MMIO + 6, size: 2, count: 3, isPointer: true, data: 0x6006, df: true });
    expect([...t.xen.bytes(0x6000, 8)]).toEqual([0, 0, 3, 4, 5, 6, 7, 8]);
    t.xen.request({ type: IOREQ_TYPE_COPY, isRead: false, addr: MMIO + 16, size: 8, count: 1, isPointer: true, data: 0x5000 });
    expect(t.view.getBigUint64(16, true)).toBe(0x0807_0605_0403_0201n);
  });

  it('reads and writes configuration space of functions that are there', () => {
    const t = setUp();
    expect(t.xen.config(8, 0x3c, 1)).toBe(0x3c);
    expect(t.xen.config(8, 0x42, 2)).toBe(0x4342);
    t.xen.setConfig(8, 0x3c, 1, 5);
    expect(t.config[0x3c]).toBe(5);
    expect([t.xen.config(9, 0, 4), t.xen.config(8, 0x100, 4), t.xen.config(8, 0x43, 2)]).toEqual([0xffff_ffff, 0xffff_ffff, 0xffff]);
    t.xen.request({ type: IOREQ_TYPE_PCI_CONFIG, isRead: true, addr: (8n << 32n) | 4n, size: 1, count: 1, isPointer: true, data: 0x7000 });
    expect(t.xen.bytes(0x7000, 1)[0]).toBe(4);
  });

  it('for memory that the guest has not reads as ones and is lost', () => {
    const t = setUp();
    t.xen.request({ type: IOREQ_TYPE_PIO, isRead: true, addr: 0x100, size: 1, count: 2, isPointer: true, data: 0x80_0000 });
    t.xen.request({ type: IOREQ_TYPE_PIO, isRead: false, addr: 0x100, size: 2, count: 1, isPointer: true, data: 0x80_0000 });
    expect(t.log.at(-1)).toBe('out 100 2 ffff');
  });

  it('INVALIDATE lets go of guest memory; TIMEOFFSET is told, signed', () => {
    const t = setUp();
    const before = t.xen.mapped;
    t.xen.request({ type: IOREQ_TYPE_PIO, isRead: true, addr: 0x100, size: 1, count: 2, isPointer: true, data: 0x1000 });
    expect(t.xen.mapped).toBe(before + 1);
    t.xen.request({ type: IOREQ_TYPE_INVALIDATE, isRead: false, addr: 0, size: 4 });
    expect(t.xen.mapped).toBe(before);
    for (const s of [3600n, -7200n, 2n ** 33n])
      t.xen.request({ type: IOREQ_TYPE_TIMEOFFSET, isRead: false, addr: 0, size: 8, data: BigInt.asUintN(64, s) });
    expect(t.times).toEqual([3600, -7200, 2 ** 33]);
  });

  it.each([
    ['a size of 3', { type: IOREQ_TYPE_PIO, size: 3 }],
    ['eight bytes at a port', { type: IOREQ_TYPE_PIO, size: 8 }],
    ['a count without a pointer', { type: IOREQ_TYPE_COPY, size: 4, count: 2 }],
    ['no items', { type: IOREQ_TYPE_COPY, size: 4, count: 0 }],
    ['a type that there is not', { type: 5, size: 4 }],
  ])('with %s ends the domain, and is not answered', (_what, r) => {
    const t = setUp();
    expect(() => t.xen.request({ isRead: true, addr: MMIO, ...r })).toThrow('not answered');
    expect(t.broken).toHaveLength(1);
  });
});

describe('the buffered ring', () => {
  it('is emptied by its event, in order, eight bytes from two slots', () => {
    const t = setUp();
    // Addresses have 20 bits: the range must lie there.
    t.space.attachMemory(0xa0000, 4096, { read: () => 0, write: (at, size, v) => t.log.push(`w ${at} ${size} ${v.toString(16)}`) });
    t.xen.buffer(IOREQ_TYPE_PIO, 0x100, 0, 0xab);
    t.xen.buffer(IOREQ_TYPE_COPY, 0xa0010, 3, 0x11223344, 0x55667788);
    t.xen.buffer(IOREQ_TYPE_COPY, 0xa0020, 1, 0xcdef);
    t.xen.kick();
    expect(t.log).toEqual(['out 100 1 ab', 'w 16 4 11223344', 'w 20 4 55667788', 'w 32 2 cdef']);
    expect(t.xen.buffered).toBe(0);
  });

  it('comes before the request that follows, over the end of the ring', () => {
    const t = setUp();
    for (let i = 0; i < 600; i++) {
      t.xen.buffer(IOREQ_TYPE_PIO, 0x101, 0, i & 0xff);
      t.xen.out(0x100, i & 0xff);
      expect(t.log.splice(0)).toEqual([`out 101 1 ${(i & 0xff).toString(16)}`, `out 100 1 ${(i & 0xff).toString(16)}`]);
    }
  });
});

describe('ranges', () => {
  it('are told as they come and go, each port once', () => {
    const t = setUp();
    t.space.attachPorts(0x0fe, 8, { in: () => 0, out: () => {} });
    expect([...t.xen.ranges].filter((r) => r.startsWith('port')).sort()).toEqual([
      'port 0x100-0x103',
      'port 0x104-0x105',
      'port 0xfe-0xff',
    ]);
    t.space.detachMemory(MMIO, 4096);
    expect([...t.xen.ranges].some((r) => r.startsWith('memory'))).toBe(false);
  });

  it('are gone, as is everything else, when the server closes', () => {
    const t = setUp();
    t.xen.request({ type: IOREQ_TYPE_PIO, isRead: true, addr: 0x100, size: 1, count: 1, isPointer: true, data: 0x1000 });
    t.server.close();
    t.memory.invalidate();
    expect([t.xen.isOn, t.xen.boundPorts, t.xen.mapped]).toEqual([false, 0, 0]);
  });
});
