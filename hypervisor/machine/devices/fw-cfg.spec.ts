// fw_cfg against QEMU's docs/specs/fw_cfg: both interfaces, byte order, directory, the error cases; used the way SeaBIOS's qemu_cfg_init() does.

import { describe, expect, it } from 'vitest';
import { FakeBus, FakeRam } from './fake-board.ts';
import { FwCfg, type FwCfgFile } from './fw-cfg.ts';
import { pcFirmwareConfig } from './fw-cfg-pc.ts';

function firmware(files: FwCfgFile[] = []) {
  const bus = new FakeBus();
  const ram = new FakeRam(0x40000);
  const config = pcFirmwareConfig({ ramBelow4G: 3 * 2 ** 30, ramAbove4G: 2 ** 30, cpus: 2, bootOrder: ['/a', '/b'], files });
  const device = new FwCfg({ dma: ram, ...config });
  device.attach(bus);
  const select = (key: number) => bus.out(0x510, key, 2);
  const take = (n: number) => Uint8Array.from({ length: n }, () => bus.in(0x511));
  const view = new DataView(ram.bytes.buffer);
  /** One DMA access; returns its control word afterwards. */
  const dma = (control: number, length: number, address: number) => {
    view.setUint32(0x100, control);
    view.setUint32(0x104, length);
    view.setBigUint64(0x108, BigInt(address));
    bus.out(0x518, 0x0001_0000, 4);
    return view.getUint32(0x100);
  };
  const directory = () => {
    select(0x19);
    const d = new DataView(take(4).buffer).getUint32(0);
    return Array.from({ length: d }, () => {
      const e = take(64);
      const v = new DataView(e.buffer);
      return { size: v.getUint32(0), key: v.getUint16(4), name: String.fromCharCode(...e.subarray(8)).replace(/\0.*$/s, '') };
    });
  };
  return { bus, ram, device, select, take, dma, directory, view };
}
const text = (b: Uint8Array) => String.fromCharCode(...b);

describe('the data port', () => {
  it('signs with QEMU, and offers the old interface and DMA', () => {
    const f = firmware();
    f.select(0);
    expect(text(f.take(4))).toBe('QEMU');
    f.select(1);
    expect([...f.take(5)]).toEqual([3, 0, 0, 0, 0]);
  });
  it('selecting starts again from the beginning; what is not there is zeros', () => {
    const f = firmware();
    f.select(0);
    f.take(2);
    f.select(0);
    expect(text(f.take(2))).toBe('QE');
    f.select(0x3fff);
    expect([...f.take(3)]).toEqual([0, 0, 0]);
  });
  it('has a directory in the order of names', () => {
    const f = firmware([{ name: 'etc/acpi/tables', content: new Uint8Array(300) }]);
    expect(f.directory()).toEqual([
      { name: 'bootorder', key: 0x20, size: 6 },
      { name: 'etc/acpi/tables', key: 0x21, size: 300 },
      { name: 'etc/boot-cpus', key: 0x22, size: 2 },
      { name: 'etc/e820', key: 0x23, size: 40 },
    ]);
    f.select(0x20);
    expect(text(f.take(6))).toBe('/a\n/b\0');
  });
  it('the memory map says RAM below and above the hole', () => {
    const f = firmware();
    f.select(f.directory().find((e) => e.name === 'etc/e820')!.key);
    const v = new DataView(f.take(40).buffer);
    const entry = (at: number) => [v.getBigUint64(at, true), v.getBigUint64(at + 8, true), v.getUint32(at + 16, true)];
    expect([entry(0), entry(20)]).toEqual([
      [0n, 0xc000_0000n, 1],
      [0x1_0000_0000n, 0x4000_0000n, 1],
    ]);
  });
  it.each([
    [0x05, 2],
    [0x0f, 2],
    [0x8002, 1],
    [0x8000, 0],
    [0x0e, 0],
  ])('item %i begins with %i', (key, value) => {
    const f = firmware();
    f.select(key);
    expect(f.take(1)[0]).toBe(value);
  });
});

describe('DMA', () => {
  it('says that it is there', () => {
    const f = firmware();
    const bytes = Array.from({ length: 8 }, (_, i) => f.bus.in(0x514 + i));
    expect(String.fromCharCode(...bytes)).toBe('QEMU CFG');
    expect([f.bus.in(0x514, 4), f.bus.in(0x518, 4)]).toEqual([0x554d_4551, 0x4746_4320]);
  });
  it('selects and reads in one go, zeros past the end', () => {
    const f = firmware();
    f.ram.bytes.fill(0xcc, 0x2000, 0x2010);
    expect(f.dma((0 << 16) | 8 | 2, 8, 0x2000)).toBe(0);
    expect([...f.ram.read(0x2000, 9)]).toEqual([0x51, 0x45, 0x4d, 0x55, 0, 0, 0, 0, 0xcc]);
  });
  it('reads on from where it was, and skips', () => {
    const f = firmware();
    f.select(0);
    expect([f.dma(4, 1, 0), f.dma(2, 2, 0x2000)]).toEqual([0, 0]);
    expect(text(f.ram.read(0x2000, 2))).toBe('EM');
  });
  it('writes into a file that can be written, and into no other, and not past its end', () => {
    const got: string[] = [];
    const f = firmware([
      { name: 'a', content: new Uint8Array(4), written: (c) => got.push(text(c)) },
      { name: 'b', content: new Uint8Array(4) },
    ]);
    f.ram.write(
      0x2000,
      Uint8Array.from('wxyz', (c) => c.charCodeAt(0)),
    );
    const key = (name: string) => f.directory().find((e) => e.name === name)!.key << 16;
    expect(f.dma(key('a') | 8 | 16, 4, 0x2000)).toBe(0);
    expect(f.dma(key('a') | 8 | 16, 5, 0x2000)).toBe(1);
    expect(f.dma(key('b') | 8 | 16, 4, 0x2000)).toBe(1);
    expect(got).toEqual(['wxyz']);
    f.select(key('a') >> 16);
    expect(text(f.take(4))).toBe('wxyz');
  });
});
