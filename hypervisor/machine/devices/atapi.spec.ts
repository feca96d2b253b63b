// A CD drive behind its channel: packets by PIO and DMA, and the commands that operating systems and firmware send.

import { describe, expect, it } from 'vitest';
import { AtapiCdrom } from './atapi.ts';
import { MemoryBlockStore } from './block-store.ts';
import { FakeBus, FakeLine, FakeRam, FakeTimeline } from './fake-board.ts';
import { IdeChannel } from './ide.ts';

const BASE = 0x170;
const CONTROL = 0x376;

function setUp(blocks: number | 'empty' = 100) {
  const timeline = new FakeTimeline();
  const bus = new FakeBus();
  const ram = new FakeRam(1 << 20);
  const irq = new FakeLine(timeline);
  const image = Uint8Array.from({ length: (blocks === 'empty' ? 0 : blocks) * 2048 }, (_, i) => (i >>> 11) + i * 7);
  const channel = new IdeChannel(ram, irq.drive);
  const drive = new AtapiCdrom(timeline, blocks === 'empty' ? undefined : new MemoryBlockStore(image, true));
  channel.attachDrive(0, drive);
  channel.attachPorts(bus, BASE, CONTROL);
  const out = (register: number, value: number): void => bus.out(BASE + register, value);
  const wait = (): void => timeline.pass(1e6);
  const send = (packet: readonly number[], limit: number, dma = false): void => {
    out(1, dma ? 1 : 0);
    out(4, limit & 0xff);
    out(5, limit >>> 8);
    out(7, 0xa0);
    expect([bus.in(BASE + 7), bus.in(BASE + 2)]).toEqual([0x58, 1]);
    const bytes = [...packet, ...new Array<number>(12 - packet.length).fill(0)];
    for (let i = 0; i < 12; i += 2) bus.out(BASE, bytes[i]! | (bytes[i + 1]! << 8), 2);
  };
  return {
    ram,
    bus,
    irq,
    channel,
    drive,
    image,
    out,
    wait,
    send,
    /** A whole command by PIO: the data, the lengths of its blocks, and the final status and error registers. */
    packet: (packet: readonly number[], limit = 2048) => {
      send(packet, limit);
      const data: number[] = [];
      const pieces: number[] = [];
      for (;;) {
        wait();
        expect(irq.level).toBe(true);
        const status = bus.in(BASE + 7);
        if (!(status & 8)) {
          expect(bus.in(BASE + 2)).toBe(3);
          return { data, pieces, status, error: bus.in(BASE + 1) };
        }
        expect(bus.in(BASE + 2)).toBe(2);
        const n = bus.in(BASE + 4) | (bus.in(BASE + 5) << 8);
        pieces.push(n);
        for (let i = 0; i < n; i += 2) {
          const w = bus.in(BASE, 2);
          data.push(w & 0xff, w >>> 8);
        }
      }
    },
  };
}

describe('a CD drive', () => {
  it('tells by its signature what it is, and refuses IDENTIFY DEVICE with it', () => {
    const t = setUp();
    expect([t.bus.in(BASE + 4), t.bus.in(BASE + 5), t.bus.in(BASE + 7)]).toEqual([0x14, 0xeb, 0]);
    t.out(4, 0);
    t.out(5, 0);
    t.out(7, 0xec);
    expect([t.bus.in(BASE + 7) & 1, t.bus.in(BASE + 1), t.bus.in(BASE + 4), t.bus.in(BASE + 5)]).toEqual([1, 4, 0x14, 0xeb]);
    t.out(7, 0xa1);
    t.wait();
    expect(t.bus.in(BASE, 2)).toBe(0x85c0);
  });

  it('introduces itself as an MMC device with a removable medium', () => {
    const { data, status } = setUp().packet([0x12, 0, 0, 0, 36]);
    expect([status, data.length, data[0], data[1]]).toEqual([0x50, 36, 5, 0x80]);
    expect(String.fromCharCode(...data.slice(8, 32)).replace(/ +/g, ' ')).toBe('RINGWORLDVD-ROM ');
  });

  it('tells its capacity and its table of contents', () => {
    const t = setUp(100);
    expect(t.packet([0x25]).data).toEqual([0, 0, 0, 99, 0, 0, 8, 0]);
    expect(t.packet([0x43, 0, 0, 0, 0, 0, 0, 0, 100]).data).toEqual([
      ...[0, 18, 1, 1],
      ...[0, 0x14, 1, 0, 0, 0, 0, 0],
      ...[0, 0x14, 0xaa, 0, 0, 0, 0, 100],
    ]);
    // In minutes, seconds and frames: two seconds of lead-in, and 100 frames are one second and 25 frames.
    expect(t.packet([0x43, 2, 0, 0, 0, 0, 0xaa, 0, 100]).data.slice(8)).toEqual([0, 0, 3, 25]);
  });

  it('reads blocks by READ(10) and READ(12), in pieces as the host wants them', () => {
    const t = setUp();
    const ten = t.packet([0x28, 0, 0, 0, 0, 5, 0, 0, 3], 2048);
    expect(ten.pieces).toEqual([2048, 2048, 2048]);
    expect(ten.data).toEqual([...t.image.subarray(5 * 2048, 8 * 2048)]);
    const twelve = t.packet([0xa8, 0, 0, 0, 0, 7, 0, 0, 0, 2], 3001);
    expect(twelve.pieces).toEqual([3000, 1096]);
    expect(twelve.data).toEqual([...t.image.subarray(7 * 2048, 9 * 2048)]);
  });

  it('reads blocks by DMA', () => {
    const t = setUp();
    t.ram.write(0x100, new Uint8Array(Uint32Array.of(0x4000, 0x8000_0000 | 4096).buffer));
    t.channel.busMaster.writeByte(5, 1);
    t.send([0x28, 0, 0, 0, 0, 9, 0, 0, 2], 0, true);
    t.wait();
    t.channel.busMaster.writeByte(0, 9);
    t.wait();
    expect(t.channel.busMaster.readByte(2)).toBe(4);
    expect([t.bus.in(BASE + 7), t.bus.in(BASE + 2)]).toEqual([0x50, 3]);
    expect(t.ram.read(0x4000, 4096)).toEqual(t.image.subarray(9 * 2048, 11 * 2048));
  });

  it('keeps the reason of a failure for REQUEST SENSE', () => {
    const t = setUp(100);
    const beyond = t.packet([0x28, 0, 0, 0, 0, 99, 0, 0, 2]);
    expect([beyond.status, beyond.error]).toEqual([0x51, 0x54]);
    const sense = (): number[] => {
      const { data } = t.packet([0x03, 0, 0, 0, 18]);
      return [data[2]!, data[12]!, data[13]!];
    };
    expect(sense()).toEqual([5, 0x21, 0]);
    expect(sense()).toEqual([0, 0, 0]);
    expect(t.packet([0x99]).error).toBe(0x54);
    expect(sense()).toEqual([5, 0x20, 0]);
  });

  it('says that it is empty, and once that the medium was changed', () => {
    const t = setUp('empty');
    expect(t.packet([0x00]).error >>> 4).toBe(2);
    t.drive.cdrom.insert(new MemoryBlockStore(new Uint8Array(4096)));
    expect(t.packet([0x00]).error >>> 4).toBe(6);
    expect(t.packet([0x00]).status).toBe(0x50);
    expect(t.packet([0x25]).data).toEqual([0, 0, 0, 1, 0, 0, 8, 0]);
  });

  it('answers MODE SENSE(10) with its capabilities', () => {
    const { data } = setUp().packet([0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128]);
    expect([data[1], data[8], data[9], data.length]).toEqual([data.length - 2, 0x2a, 18, 28]);
  });
});
