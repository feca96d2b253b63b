// Linux's boot protocols and PVH, field by field: what boot.rst and start_info.h promise a kernel, and what is refused.

import { hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { type BareLoad, type BarePlatform, E820 } from './bare-image.ts';
import { loadBareKernel } from './bare-kernel.ts';
import { loadLinux } from './bare-linux.ts';
import { loadPvh } from './bare-pvh.ts';
import { gzipNode } from './decompress/gzip-node.ts';
import { decompressorsWith } from './decompress/index.ts';
import { parseElf } from './elf.ts';
import { DomainBuildError } from './errors.ts';
import { tinyElf } from './testing/tiny-elf.ts';

const MIB = 1 << 20;
const platform: BarePlatform = {
  memory: [
    { base: 0, size: 0x9fc00, type: E820.ram },
    { base: 0xe0000, size: 0x20000, type: E820.reserved },
    { base: MIB, size: 63 * MIB, type: E820.ram },
  ],
  rsdp: { address: 0xe0000, bytes: new Uint8Array(36) },
  vga: true,
};

interface Header {
  readonly protocol?: number;
  readonly loadflags?: number;
  readonly xloadflags?: number;
  readonly relocatable?: number;
  readonly pref?: number;
  readonly initSize?: number;
  readonly cmdlineSize?: number;
}
/** A bzImage with one setup sector and a kernel of 600 bytes. */
function bzImage(h: Header = {}): Uint8Array {
  const bytes = new Uint8Array(1024 + 600).fill(0xcc, 1024);
  const v = new DataView(bytes.buffer);
  v.setUint8(0x1f1, 1);
  v.setUint16(0x1fe, 0xaa55, true);
  v.setUint8(0x201, 0x6a);
  v.setUint32(0x202, 0x53726448, true);
  v.setUint16(0x206, h.protocol ?? 0x20f, true);
  v.setUint8(0x211, h.loadflags ?? 1);
  v.setUint32(0x22c, 0x7fffffff, true);
  v.setUint8(0x234, h.relocatable ?? 1);
  v.setUint16(0x236, h.xloadflags ?? 1, true);
  v.setUint32(0x238, h.cmdlineSize ?? 255, true);
  v.setBigUint64(0x258, BigInt(h.pref ?? 16 * MIB), true);
  v.setUint32(0x260, h.initSize ?? 0x10000, true);
  return bytes;
}
const files = (bytes: Uint8Array, cmdline = 'quiet') => ({
  kernel: { file: '/boot/k', bytes },
  ramdisk: { file: '/boot/i', bytes: new Uint8Array(5000).fill(7) },
  cmdline,
});
const at = (load: BareLoad, address: number): Uint8Array => {
  const s = load.segments.find((x) => address >= x.at && address < x.at + x.size);
  if (!s) throw new Error(`nothing at ${address.toString(16)}`);
  return s.bytes.subarray(address - s.at);
};
const text = (b: Uint8Array): string => new TextDecoder().decode(b.subarray(0, b.indexOf(0)));
const u32 = (b: Uint8Array, o: number): number => new DataView(b.buffer, b.byteOffset).getUint32(o, true);
const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (e) {
    if (e instanceof DomainBuildError) return e.message;
    throw e;
  }
  return 'accepted';
};

describe('Linux', () => {
  it('by the 64-bit protocol starts 512 bytes into the kernel, in long mode, with the zero page at RSI', () => {
    const load = loadLinux(platform, files(bzImage()), 64);
    expect(load.entry).toMatchObject({ mode: 'long64', ip: 16 * MIB + 0x200, codeSelector: 0x10, dataSelector: 0x18 });
    expect(at(load, 16 * MIB)[0]).toBe(0xcc);
    const zero = at(load, load.entry.esi!);
    expect([u32(zero, 0x202), zero[0x210], u32(zero, 0x214)]).toEqual([0x53726448, 0xff, 16 * MIB]);
    expect(text(at(load, u32(zero, 0x228)))).toBe('quiet');
    expect([u32(zero, 0x21c), at(load, u32(zero, 0x218))[0], u32(zero, 0x218) % 4096]).toEqual([5000, 7, 0]);
    expect([zero[0x1e8], u32(zero, 0x70), zero[6], zero[15]]).toEqual([3, 0xe0000, 3, 1]);
    expect([0, 1, 2].map((i) => u32(zero, 0x2d0 + 20 * i + 16))).toEqual([1, 2, 1]);
    // Identity: entry n of the page directories maps n * 2 MiB.
    const tables = at(load, load.entry.cr3!);
    expect(u32(tables, 0)).toBe(load.entry.cr3! + 0x1003);
    expect([0, 1, 2047].map((n) => u32(tables, 0x2000 + 8 * n))).toEqual([0x83, 0x200083, 0xffe00083]);
    const gdt = at(load, load.entry.gdt!.base);
    expect([u32(gdt, 0x14), u32(gdt, 0x1c)]).toEqual([0x00af9b00, 0x00cf9300]);
  });

  it('by the 32-bit protocol starts at the kernel itself, without paging', () => {
    const load = loadLinux(platform, files(bzImage({ protocol: 0x206 })), 32);
    expect(load.entry).toMatchObject({ mode: 'protected32', ip: MIB });
    expect(load.entry.cr3).toBeUndefined();
  });

  it('that cannot be moved is placed at 1 MiB; no other segment overlaps what it unpacks into', () => {
    const load = loadLinux(platform, files(bzImage({ relocatable: 0, initSize: 40 * MIB })), 64);
    expect(load.entry.ip).toBe(MIB + 0x200);
    const sorted = [...load.segments].sort((a, b) => a.at - b.at);
    for (let i = 1; i < sorted.length; i++) expect(sorted[i]!.at).toBeGreaterThanOrEqual(sorted[i - 1]!.at + sorted[i - 1]!.size);
  });

  it.each([
    ['not a bzImage', () => loadLinux(platform, files(new Uint8Array(2000)), 64), '/boot/k: not a Linux bzImage'],
    [
      'an old protocol',
      () => loadLinux(platform, files(bzImage({ protocol: 0x203 })), 32),
      '/boot/k: Linux boot protocol 2.3 is too old: 2.4 or later is needed',
    ],
    [
      'a zImage',
      () => loadLinux(platform, files(bzImage({ loadflags: 0 })), 32),
      '/boot/k: a zImage, loaded low: only bzImages can be booted',
    ],
    [
      'no 64-bit entry',
      () => loadLinux(platform, files(bzImage({ xloadflags: 0 })), 64),
      '/boot/k: has no 64-bit entry (XLF_KERNEL_64): boot it by the 32-bit protocol',
    ],
    [
      'too long a command line',
      () => loadLinux(platform, files(bzImage(), 'x'.repeat(256)), 64),
      '/boot/k: its command line may have 255 bytes, and has 256',
    ],
    [
      'too little memory',
      () => loadLinux(platform, files(bzImage({ relocatable: 0, initSize: 63 * MIB })), 64),
      '/boot/k: the machine has no room for the ramdisk (5000 bytes): give it more memory',
    ],
    [
      'less than the kernel',
      () => loadLinux(platform, files(bzImage({ initSize: 64 * MIB })), 64),
      '/boot/k: the kernel belongs at [0x1000000, 0x5000000), where the machine has no RAM: give it more memory',
    ],
    [
      'cut short',
      () => loadLinux(platform, files(bzImage().subarray(0, 1024)), 64),
      '/boot/k: the image is cut short: nothing follows its setup code',
    ],
  ])('refuses %s', (_what, run, message) => {
    expect(refusal(run)).toBe(message);
  });
});

describe('PVH', () => {
  const code = Uint8Array.of(0xf4);
  const elf = tinyElf({
    bits: 64,
    segments: [{ paddr: 2 * MIB, vaddr: -0x7fe00000, data: code, memsz: 0x3000 }],
    notes: { PHYS32_ENTRY: 2 * MIB },
  });

  it('starts at its note in 32-bit mode, with hvm_start_info at EBX', () => {
    const load = loadPvh(platform, parseElf('/boot/k', elf), files(elf));
    expect(load.entry).toMatchObject({ mode: 'protected32', ip: 2 * MIB });
    expect(load.segments.find((s) => s.at === 2 * MIB)).toMatchObject({ size: 0x3000 });
    const info = hvm_start_info.decode('x86_64', at(load, load.entry.ebx!).slice(0, 56));
    expect(info).toMatchObject({ magic: 0x336ec578, version: 1, flags: 0, nr_modules: 1, rsdp_paddr: 0xe0000, memmap_entries: 3 });
    expect(text(at(load, info.cmdline_paddr))).toBe('quiet');
    const module = hvm_modlist_entry.decode('x86_64', at(load, info.modlist_paddr).slice(0, 32));
    expect([module.size, at(load, module.paddr)[0]]).toEqual([5000, 7]);
    const last = hvm_memmap_table_entry.decode('x86_64', at(load, info.memmap_paddr).slice(48, 72));
    expect(last).toMatchObject({ addr: MIB, size: 63 * MIB, type: 1 });
  });

  it.each([
    [
      'without the note',
      tinyElf({ bits: 64, segments: [{ paddr: MIB, vaddr: 0, data: code }] }),
      '/boot/k: has no PVH entry (the ELF note XEN_ELFNOTE_PHYS32_ENTRY)',
    ],
    [
      'with its entry outside',
      tinyElf({ bits: 64, segments: [{ paddr: 2 * MIB, vaddr: 0, data: code }], notes: { PHYS32_ENTRY: MIB } }),
      '/boot/k: its PVH entry 0x100000 lies in no segment',
    ],
    [
      'below the ROMs',
      tinyElf({ bits: 64, segments: [{ paddr: 0xa0000, vaddr: 0, data: code }], notes: { PHYS32_ENTRY: 0xa0000 } }),
      '/boot/k: segment 0 belongs at [0xa0000, 0xa0001), where the machine has no RAM: give it more memory',
    ],
    [
      'with segments that overlap',
      tinyElf({
        bits: 64,
        segments: [
          { paddr: 2 * MIB, vaddr: 0, data: code, memsz: 0x1001 },
          { paddr: 2 * MIB + 0x1000, vaddr: 0, data: code },
        ],
        notes: { PHYS32_ENTRY: 2 * MIB },
      }),
      '/boot/k: segment 1 belongs at [0x201000, 0x201001), over something that is there already',
    ],
  ])('is refused %s', (_what, bytes, message) => {
    expect(refusal(() => loadPvh(platform, parseElf('/boot/k', bytes), files(bytes)))).toBe(message);
  });
});

describe('the protocol of an image', () => {
  const load = (bytes: Uint8Array, protocol: Parameters<typeof loadBareKernel>[2] = null) =>
    loadBareKernel(platform, { ...files(bytes), modules: [] }, protocol, decompressorsWith(gzipNode));
  it('of a bzImage is the 64-bit one where it has that entry', () => {
    expect([load(bzImage()).protocol, load(bzImage({ xloadflags: 0 })).protocol]).toEqual(['linux64', 'linux32']);
    expect(load(bzImage(), 'linux32').protocol).toBe('linux32');
  });
  it.each([
    ['empty', new Uint8Array(0), '/boot/k: the kernel file is empty'],
    [
      'of no kind',
      new Uint8Array(9000),
      '/boot/k: not a kernel for a bare machine: neither a Linux bzImage, nor a multiboot image, nor an ELF with a PVH entry',
    ],
    [
      'an ELF for something else',
      tinyElf({ bits: 64, segments: [{ paddr: MIB, vaddr: 0, data: Uint8Array.of(1) }] }),
      '/boot/k: an ELF without a way to start on a bare machine: no multiboot header, no PVH entry',
    ],
  ])('that is %s is refused', (_what, bytes, message) => {
    expect(refusal(() => load(bytes))).toBe(message);
  });
});
