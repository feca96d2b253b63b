// Multiboot 1 and 2 against their specifications: headers found and refused, information structures field by field.

import { describe, expect, it } from 'vitest';
import { type BareLoad, type BarePlatform, E820 } from './bare-image.ts';
import { findMultiboot1, loadMultiboot1 } from './bare-multiboot.ts';
import { findMultiboot2, loadMultiboot2 } from './bare-multiboot2.ts';
import { DomainBuildError } from './errors.ts';
import { tinyElf } from './testing/tiny-elf.ts';

const MIB = 1 << 20;
const platform: BarePlatform = {
  memory: [
    { base: 0, size: 0x9fc00, type: E820.ram },
    { base: MIB, size: 15 * MIB, type: E820.ram },
  ],
  rsdp: { address: 0xe0000, bytes: new Uint8Array(36).fill(0x52) },
  vga: true,
};
const words = (...v: number[]): number[] => [...new Uint8Array(Uint32Array.from(v).buffer)];
const header1 = (flags: number, ...rest: number[]): number[] => words(0x1badb002, flags, -(0x1badb002 + flags) >>> 0, ...rest);
/** Tags as [type, flags, ...words]; an end tag is added. */
function header2(tags: readonly (readonly number[])[], architecture = 0): number[] {
  const body = [...tags, [0, 0]].flatMap(([type, flags, ...rest]) => {
    const size = 8 + rest.length * 4;
    return [...words((type! | (flags! << 16)) >>> 0, size, ...rest), ...new Array<number>((8 - (size % 8)) % 8).fill(0)];
  });
  const length = 16 + body.length;
  return [...words(0xe85250d6, architecture, length, -(0xe85250d6 + architecture + length) >>> 0), ...body];
}
const elf = (header: readonly number[], bits: 32 | 64 = 32): Uint8Array =>
  tinyElf({
    bits,
    entry: MIB + 0x100,
    segments: [{ paddr: MIB, vaddr: MIB, data: Uint8Array.from([...header, ...new Array<number>(0x200).fill(0xf4)]), memsz: 0x2000 }],
  });
/** ELF headers make offsets odd: one that puts the header on a boundary of 8. */
const aligned = (header: readonly number[]): Uint8Array => {
  for (let pad = 0; pad < 8; pad++) {
    const bytes = elf([...new Array<number>(pad).fill(0), ...header]);
    if (findMultiboot2(bytes) !== undefined) return bytes;
  }
  throw new Error('no alignment found');
};
const files = (bytes: Uint8Array, modules: { bytes: Uint8Array; cmdline: string }[] = []) => ({
  kernel: { file: 'k', bytes },
  modules: modules.map((m, i) => ({ file: `m${i}`, ...m })),
  cmdline: 'one two',
});
const two = [
  { bytes: new Uint8Array(100).fill(1), cmdline: 'first' },
  { bytes: new Uint8Array(5000).fill(2), cmdline: '' },
];
const at = (load: BareLoad, address: number): Uint8Array => {
  const s = load.segments.find((x) => address >= x.at && address < x.at + x.size)!;
  return s.bytes.subarray(address - s.at);
};
const u32 = (b: Uint8Array, o: number): number => new DataView(b.buffer, b.byteOffset).getUint32(o, true);
const text = (b: Uint8Array): string => new TextDecoder().decode(b.subarray(0, b.indexOf(0)));
const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (e) {
    if (e instanceof DomainBuildError) return e.message;
    throw e;
  }
  return 'accepted';
};

describe('multiboot 1', () => {
  it('information: memory, command line, modules, map, loader, text screen (3.3)', () => {
    const load = loadMultiboot1(platform, files(elf(header1(3)), two));
    expect(load.entry).toMatchObject({ mode: 'protected32', ip: MIB + 0x100, eax: 0x2badb002 });
    const info = at(load, load.entry.ebx!);
    expect([u32(info, 0), u32(info, 4), u32(info, 8)]).toEqual([0x124d, 639, 15 * 1024]);
    expect([text(at(load, u32(info, 16))), text(at(load, u32(info, 64)))]).toEqual(['one two', 'ringworld']);
    expect(u32(info, 20)).toBe(2);
    const mods = at(load, u32(info, 24));
    expect([0, 16].map((o) => [u32(mods, o) % 4096, u32(mods, o + 4) - u32(mods, o), at(load, u32(mods, o))[0]])).toEqual([
      [0, 100, 1],
      [0, 5000, 2],
    ]);
    expect(text(at(load, u32(mods, 8)))).toBe('first');
    const map = at(load, u32(info, 48));
    expect([u32(info, 44), u32(map, 0), u32(map, 24), u32(map, 28), u32(map, 36), u32(map, 44)]).toEqual([48, 20, 20, MIB, 15 * MIB, 1]);
    expect([u32(info, 88), info[109]]).toEqual([0xb8000, 2]);
  });

  it('an image of no known format is placed by the addresses of its header (3.1.3)', () => {
    const bytes = Uint8Array.from([
      ...new Array<number>(8).fill(0x90),
      ...header1(0x10000, MIB + 8, MIB, MIB + 60, MIB + 0x100, MIB + 4),
      ...new Array<number>(100).fill(7),
    ]);
    const load = loadMultiboot1(platform, files(bytes));
    expect(load.entry.ip).toBe(MIB + 4);
    const s = load.segments.find((x) => x.at === MIB)!;
    expect([s.bytes.length, s.size, s.bytes[0], s.bytes[59]]).toEqual([60, 0x100, 0x90, 7]);
  });

  it('a 64-bit ELF is entered in 32-bit mode, as by GRUB', () => {
    expect(loadMultiboot1(platform, files(elf(header1(0), 64))).entry.mode).toBe('protected32');
  });

  it('a header counts only on a boundary of 4, within 8192 bytes, with a true checksum', () => {
    const header = Uint8Array.from(header1(0));
    const place = (offset: number, bytes = header) => {
      const b = new Uint8Array(9000);
      b.set(bytes, offset);
      return findMultiboot1(b);
    };
    expect([place(4), place(6), place(8180), place(8184)]).toEqual([4, undefined, 8180, undefined]);
    expect(place(4, header.with(11, 0))).toBeUndefined();
  });

  it.each([
    ['features nobody knows', elf(header1(0x8)), 'k: its multiboot header asks for features that are not known: flags 0x8'],
    [
      'neither ELF nor addresses',
      Uint8Array.from([...header1(0), ...new Array<number>(100).fill(0)]),
      'k: is neither an ELF nor says in its multiboot header where it is to be loaded',
    ],
    [
      'more bytes than it has',
      Uint8Array.from(header1(0x10000, MIB, MIB, MIB + 4096, 0, MIB)),
      'k: its multiboot header names more bytes than the file has',
    ],
    [
      'a header below its load address',
      Uint8Array.from(header1(0x10000, MIB, MIB + 4096, 0, 0, MIB)),
      'k: its multiboot header lies below its own load address',
    ],
    [
      'a bss that ends before the data',
      Uint8Array.from(header1(0x10000, MIB, MIB, MIB + 32, MIB + 8, MIB)),
      'k: its multiboot header ends the bss before the data',
    ],
    ['addresses that are cut off', Uint8Array.from(header1(0x10000)), 'k: its multiboot header is cut short'],
    [
      'a place where there is no RAM',
      Uint8Array.from(header1(0x10000, 0x2000_0000, 0x2000_0000, 0, 0, 0x2000_0000)),
      'k: the image belongs at [0x20000000, 0x20000020), where the machine has no RAM: give it more memory',
    ],
  ])('refuses %s', (_what, bytes, message) => {
    expect(refusal(() => loadMultiboot1(platform, files(bytes)))).toBe(message);
  });
});

describe('multiboot 2', () => {
  /** Tags of the information by type: offset of each in it. */
  function tagsOf(info: Uint8Array): Map<number, number[]> {
    const found = new Map<number, number[]>();
    for (let o = 8; o < u32(info, 0); o += (u32(info, o + 4) + 7) & ~7) found.set(u32(info, o), [...(found.get(u32(info, o)) ?? []), o]);
    return found;
  }

  it('information is tags on boundaries of 8: memory, modules, map, ACPI, screen (3.6)', () => {
    const load = loadMultiboot2(platform, files(aligned(header2([[6, 0]])), two));
    expect(load.entry).toMatchObject({ mode: 'protected32', ip: MIB + 0x100, eax: 0x36d76289 });
    expect(load.entry.ebx! % 8).toBe(0);
    const info = at(load, load.entry.ebx!);
    const tags = tagsOf(info);
    expect([...tags.keys()].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 6, 8, 15, 21]);
    const tag = (type: number, i = 0) => info.subarray(tags.get(type)![i]!);
    expect([text(tag(1).subarray(8)), text(tag(2).subarray(8))]).toEqual(['one two', 'ringworld']);
    expect([u32(tag(4), 8), u32(tag(4), 12)]).toEqual([639, 15 * 1024]);
    expect([u32(tag(6), 4), u32(tag(6), 8), u32(tag(6), 12), u32(tag(6), 40), u32(tag(6), 48), u32(tag(6), 56)]).toEqual([
      64,
      24,
      0,
      MIB,
      15 * MIB,
      1,
    ]);
    const module = tag(3, 1);
    expect([u32(module, 8) % 4096, u32(module, 12) - u32(module, 8), at(load, u32(module, 8))[0]]).toEqual([0, 5000, 2]);
    expect(text(tag(3).subarray(16))).toBe('first');
    expect([u32(tag(15), 4), tag(15)[8]]).toEqual([44, 0x52]);
    expect([u32(tag(8), 8), tag(8)[29]]).toEqual([0xb8000, 2]);
    expect([u32(tag(21), 8), u32(tag(0), 4)]).toEqual([MIB, 8]);
  });

  it('an entry tag overrides the ELF entry; an address tag places the image (3.1.5, 3.1.6)', () => {
    expect(loadMultiboot2(platform, files(aligned(header2([[3, 0, MIB + 0x40]])))).entry.ip).toBe(MIB + 0x40);
    const raw = Uint8Array.from([
      ...header2([
        [2, 0, MIB, MIB, 0, MIB + 0x1000],
        [3, 0, MIB + 0x40],
      ]),
      ...new Array<number>(40).fill(9),
    ]);
    const load = loadMultiboot2(platform, files(raw));
    expect(load.entry.ip).toBe(MIB + 0x40);
    expect(load.segments.find((s) => s.at === MIB)).toMatchObject({ size: 0x1000 });
  });

  it.each([
    ['optional tags that are not known', [[99, 1, 5]], 'accepted'],
    ['a framebuffer as a wish', [[5, 0, 1024, 768, 32]], 'accepted'],
    ['information that is there', [[1, 0, 1, 6, 15]], 'accepted'],
    ['information that is not, if it is optional', [[1, 1, 12]], 'accepted'],
    ['information that is not', [[1, 0, 12]], 'k: its multiboot2 header asks for information of type 12, which is not there'],
    ['tags that are not known', [[99, 0, 5]], 'k: its multiboot2 header asks for a feature that is not known (tag 99)'],
    ['EFI boot services', [[7, 0]], 'k: its multiboot2 header asks for a feature that is not known (tag 7)'],
    ['an address without an entry', [[2, 0, MIB, MIB, 0, 0]], 'k: its multiboot2 header has an address tag and no entry tag'],
    ['a tag that is too short', [[3, 0]], 'k: tag 3 of its multiboot2 header is too short'],
  ])('asked for %s', (_what, tags, message) => {
    expect(refusal(() => loadMultiboot2(platform, files(aligned(header2(tags)))))).toBe(message);
  });

  it('a console that must be there needs a screen', () => {
    const bytes = aligned(header2([[4, 0, 1]]));
    expect(refusal(() => loadMultiboot2({ ...platform, vga: false }, files(bytes)))).toBe('k: needs a console, and the machine has none');
    expect(refusal(() => loadMultiboot2(platform, files(bytes)))).toBe('accepted');
  });

  it.each([
    ['another architecture', aligned(header2([], 4)), 'k: its multiboot2 header is for another architecture (4)'],
    ['no header', elf([]), 'k: has no multiboot2 header in its first 32768 bytes'],
  ])('refuses %s', (_what, bytes, message) => {
    expect(refusal(() => loadMultiboot2(platform, files(bytes)))).toBe(message);
  });
});
