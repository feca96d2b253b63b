// What SeaBIOS and guests find in memory before the first instruction: read back as those read it.
import { hvm_info_table } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { hvmAcpi } from '../xl/device-model-parts.ts';
import { DomainBuildError } from './errors.ts';
import { PCI_IO, PCI_MEMORY, type PciAccess, setUpPci } from './hvm-firmware-pci.ts';
import { type FirmwareConfig, loadFirmware, SEABIOS_INFO } from './hvm-loader.ts';

const MIB = 2 ** 20;
const RAM = 64 * MIB;
const UUID = Uint8Array.from({ length: 16 }, (_, i) => 0x10 + i);
const config: FirmwareConfig = {
  vcpus: 3,
  ramBelow4G: RAM,
  ramAbove4G: 0,
  uuid: UUID,
  xenVersion: '4.17',
  cpuSignature: 0x6f1,
  cpuFeatures: 0x201,
};
const noPci: PciAccess = { read: (_devfn, _at, size) => 2 ** (8 * size) - 1, write: () => {} };
const bios = Uint8Array.from({ length: 256 * 1024 }, (_, i) => i >>> 8);

function load(more: Partial<FirmwareConfig> = {}, image = bios) {
  const ram = new Uint8Array(RAM);
  const loaded = loadFirmware(
    { ...config, ...more },
    { bios: image, acpi: hvmAcpi(more.vcpus ?? config.vcpus) },
    (at, bytes) => ram.set(bytes, at),
    noPci,
  );
  const view = new DataView(ram.buffer);
  const text = (at: number, length: number) => String.fromCharCode(...ram.subarray(at, at + length));
  const sum = (at: number, length: number) => ram.subarray(at, at + length).reduce((a, b) => a + b, 0) & 0xff;
  const tables = Array.from({ length: view.getUint32(SEABIOS_INFO + 20, true) }, (_, i) =>
    view.getUint32(view.getUint32(SEABIOS_INFO + 16, true) + 4 * i, true),
  );
  return { ram, loaded, view, text, sum, tables };
}

describe('the information for SeaBIOS', () => {
  it('has the bytes that validate_info() and xen_biostable_setup() of src/fw/xen.c look at', () => {
    const t = load();
    expect([t.text(0x1000, 14), t.ram[0x100e], t.sum(0x1000, 32)]).toEqual(['XenHVMSeaBIOS\0', 32, 0]);
    expect(t.tables.map((at) => t.text(at, 4))).toEqual(['RSD ', '_SM_', '_MP_']);
    // copy_acpi_rsdp, copy_smbios_21, copy_mptable: all want whole sums.
    expect([t.sum(t.tables[0]!, 20), t.sum(t.tables[0]!, 36), t.sum(t.tables[1]!, 31), t.sum(t.tables[2]!, 16)]).toEqual([0, 0, 0, 0]);
  });

  it.each([
    [0, 5],
    [512 * MIB, 6],
  ])('has a memory map with %i bytes above 4 GiB', (ramAbove4G, entries) => {
    const t = load({ ramAbove4G });
    const at = t.view.getUint32(0x1018, true);
    const map = Array.from({ length: t.view.getUint32(0x101c, true) }, (_, i) => ({
      base: Number(t.view.getBigUint64(at + 20 * i, true)),
      size: Number(t.view.getBigUint64(at + 20 * i + 8, true)),
      type: t.view.getUint32(at + 20 * i + 16, true),
    }));
    expect(map).toEqual(t.loaded.memoryMap);
    expect(map).toHaveLength(entries);
    map.slice(1).forEach((e, i) => {
      expect(e.base).toBeGreaterThanOrEqual(map[i]!.base + map[i]!.size);
    });
    const reserved = (from: number) => map.some((e) => e.type === 2 && from >= e.base && from < e.base + e.size);
    expect([0xc0000, 0xfffff, ...t.tables, 0xfee0_0000, 0xfffe_0000].map(reserved)).toEqual(new Array(7).fill(true));
    expect(map.at(-1)).toEqual(
      ramAbove4G > 0 ? { base: 2 ** 32, size: ramAbove4G, type: 1 } : { base: 0xfc00_0000, size: 0x400_0000, type: 2 },
    );
  });
});

describe('tables', () => {
  it('of ACPI are linked: RSDP to FADT, with the blocks of Xen and a local APIC for each vCPU', () => {
    const t = load();
    const rsdt = t.view.getUint32(t.tables[0]! + 16, true);
    const listed = Array.from({ length: (t.view.getUint32(rsdt + 4, true) - 36) / 4 }, (_, i) => t.view.getUint32(rsdt + 36 + 4 * i, true));
    expect(listed.map((at) => t.text(at, 4))).toEqual(['FACP', 'APIC', 'HPET']);
    for (const at of [rsdt, ...listed]) expect(t.sum(at, t.view.getUint32(at + 4, true))).toBe(0);
    const fadt = listed[0]!;
    expect([56, 64, 76, 80].map((o) => t.view.getUint32(fadt + o, true))).toEqual([0xb000, 0xb004, 0xb008, 0xafe0]);
    expect(t.text(t.view.getUint32(fadt + 40, true), 4)).toBe('DSDT');
    const madt = listed[1]!;
    expect([0, 1, 2].map((i) => t.ram[madt + 44 + 8 * i + 3])).toEqual([0, 2, 4]);
  });

  it('of SMBIOS say Xen, the UUID and the memory', () => {
    const t = load();
    const entry = t.tables[1]!;
    let at = t.view.getUint32(entry + 24, true);
    const end = at + t.view.getUint16(entry + 22, true);
    const found = new Map<number, number>();
    let count = 0;
    for (; at < end; count++) {
      found.set(t.ram[at]!, at);
      at += t.ram[at + 1]!;
      while (t.ram[at] !== 0 || t.ram[at + 1] !== 0) at++;
      at += 2;
    }
    expect([at, count, [...found.keys()]]).toEqual([end, t.view.getUint16(entry + 28, true), [0, 1, 3, 16, 17, 19, 32, 127]]);
    const system = found.get(1)!;
    expect([...t.ram.subarray(system + 8, system + 24)]).toEqual([...[3, 2, 1, 0, 5, 4, 7, 6].map((i) => 0x10 + i), ...UUID.subarray(8)]);
    expect(t.text(system + t.ram[system + 1]!, 13)).toBe('Xen\0HVM domU\0');
    expect(t.view.getUint32(found.get(19)! + 8, true)).toBe(64 * 1024 - 1);
  });

  it('of the MultiProcessor Specification list processors and interrupts', () => {
    const t = load();
    const at = t.view.getUint32(t.tables[2]! + 4, true);
    expect([t.text(at, 4), t.sum(at, t.view.getUint16(at + 4, true))]).toEqual(['PCMP', 0]);
    const kinds = [0, 0, 0, 0, 0];
    let next = at + 44;
    for (let i = 0; i < t.view.getUint16(at + 34, true); i++) {
      kinds[t.ram[next]!]!++;
      next += t.ram[next] === 0 ? 20 : 8;
    }
    expect([kinds, next]).toEqual([[3, 1, 1, 15, 2], at + t.view.getUint16(at + 4, true)]);
  });

  it('of Xen: hvm_info_table at 0x9f800', () => {
    const t = load({ ramAbove4G: 16 * MIB });
    const size = hvm_info_table.size('x86_64');
    expect(t.sum(0x9f800, size)).toBe(0);
    const info = hvm_info_table.decode('x86_64', t.ram.slice(0x9f800, 0x9f800 + size));
    expect(info).toMatchObject({ signature: 'HVM INFO', length: size, nr_vcpus: 3, low_mem_pgend: 0x4000, high_mem_pgend: 0x10_1000 });
    expect(info.vcpu_online[0]).toBe(7);
  });
});

describe('the start', () => {
  it('is at the image below 1 MiB, after code that ends in a jump to the reset vector', () => {
    const t = load();
    expect(Buffer.compare(t.ram.subarray(0xc0000, 0x100000), bios)).toBe(0);
    const { entry } = t.loaded;
    expect([entry.selector, entry.base]).toEqual([0, 0]);
    const code = t.ram.subarray(entry.ip, 0x2000);
    expect([...code.subarray(0, 6)]).toEqual([0xfa, 0x0f, 0x01, 0x16, 0x00, 0x12]);
    const end = [...code].lastIndexOf(0xea);
    expect([...code.subarray(end, end + 5)]).toEqual([0xea, 0xf0, 0xff, 0x00, 0xf0]);
    // The descriptor table that it loads: itself 16 bytes long, at the address in its first entry; flat data in the second.
    expect([t.view.getUint16(0x1200, true), t.view.getUint32(0x1202, true), t.view.getBigUint64(0x1208, true)]).toEqual([
      15,
      0x1200,
      0x00cf_9300_0000_ffffn,
    ]);
  });

  it.each([
    ['an empty image', () => load({}, new Uint8Array(0))],
    ['an image that is too large', () => load({}, new Uint8Array(512 * 1024))],
    ['an image of odd size', () => load({}, new Uint8Array(1000))],
    ['too little memory', () => load({ ramBelow4G: MIB })],
    ['memory in the hole', () => load({ ramBelow4G: 0xf800_0000 })],
  ])('is refused with %s', (_what, run) => {
    expect(run).toThrow(DomainBuildError);
  });
});

describe('the PCI set-up', () => {
  /** Functions with BARs of given sizes; 'io' ones have bit 0 set. */
  function bus(
    functions: Record<number, { readonly bars: readonly (number | `io${number}`)[]; readonly pin?: number; readonly class?: number }>,
  ) {
    const space = new Map<number, Uint8Array>();
    const decodedWhileSizing: number[] = [];
    for (const [devfn, f] of Object.entries(functions)) {
      const bytes = new Uint8Array(256);
      new DataView(bytes.buffer).setUint32(0, 0x1234_5678, true);
      new DataView(bytes.buffer).setUint16(0x0a, f.class ?? 0x0200, true);
      bytes[0x3d] = f.pin ?? 0;
      space.set(Number(devfn), bytes);
    }
    const access: PciAccess = {
      read: (devfn, at, size) => {
        const b = space.get(devfn);
        if (b === undefined) return 2 ** (8 * size) - 1;
        const view = new DataView(b.buffer);
        return size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
      },
      write: (devfn, at, size, value) => {
        const b = space.get(devfn);
        if (b === undefined) return;
        const bar = functions[devfn]!.bars[(at - 0x10) / 4];
        const view = new DataView(b.buffer);
        if (size === 4 && at >= 0x10 && at < 0x28) {
          const isIo = typeof bar === 'string';
          const length = isIo ? Number(bar.slice(2)) : (bar ?? 0);
          if (value === 0xffff_ffff && view.getUint16(4, true) & 3) decodedWhileSizing.push(devfn);
          view.setUint32(at, length === 0 ? 0 : ((value & -length) | (isIo ? 1 : 0)) >>> 0, true);
        } else if (size === 4 && at === 0x30) view.setUint32(at, 0, true);
        else if (size === 1) view.setUint8(at, value);
        else if (size === 2) view.setUint16(at, value, true);
        else view.setUint32(at, value, true);
      },
    };
    return { access, space, decodedWhileSizing };
  }

  it('gives each BAR a place of its own, aligned to its size, and lets it decode', () => {
    const t = bus({
      8: { bars: [] },
      16: { bars: ['io256', 0x100_0000], pin: 1 },
      24: { bars: [0x1000, 'io16', 0x200_0000], pin: 2 },
      32: { bars: ['io32'] },
    });
    const bars = setUpPci(t.access);
    expect(bars).toHaveLength(6);
    for (const b of bars) {
      const room = b.kind === 'io' ? PCI_IO : PCI_MEMORY;
      expect(b.base % b.size).toBe(0);
      expect(b.base >= room.start && b.base + b.size <= room.end).toBe(true);
      for (const c of bars) if (c !== b && c.kind === b.kind) expect(b.base + b.size <= c.base || c.base + c.size <= b.base).toBe(true);
      expect(t.access.read(b.devfn, b.register, 4) & ~15).toBe(b.base | 0);
    }
    expect([8, 16, 24, 32].map((fn) => t.access.read(fn, 4, 2))).toEqual([4, 7, 7, 5]);
    expect(t.decodedWhileSizing).toEqual([]);
  });

  it('routes pins by the barber pole: INTA# of slot 2 to link 2, INTB# of slot 3 to link 0', () => {
    const t = bus({ 8: { bars: [] }, 16: { bars: [], pin: 1 }, 24: { bars: [], pin: 2 }, 32: { bars: [], pin: 2 } });
    setUpPci(t.access);
    expect([...t.space.get(8)!.subarray(0x60, 0x64)]).toEqual([5, 10, 11, 5]);
    expect([16, 24, 32].map((fn) => t.access.read(fn, 0x3c, 1))).toEqual([11, 5, 10]);
  });

  it('leaves out what does not fit', () => {
    const t = bus({ 8: { bars: [] }, 16: { bars: [0x800_0000, 0x800_0000] }, 24: { bars: [0x1000] } });
    expect(setUpPci(t.access).map((b) => b.size)).toEqual([0x800_0000, 0x1000]);
  });
});
