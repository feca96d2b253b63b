import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { gzipNode } from './decompress/gzip-node.ts';
import { decompressorsWith } from './decompress/index.ts';
import { elfSymbols, parseElf } from './elf.ts';
import { DomainBuildError } from './errors.ts';
import { loadKernelImage } from './kernel-image.ts';
import { PV64_NOTES, type TinyElf, tinyBzImage, tinyElf } from './testing/tiny-elf.ts';

const decompressors = decompressorsWith(gzipNode);
const load = (bytes: Uint8Array) => loadKernelImage('/boot/k', bytes, decompressors);
const code = Uint8Array.of(0x90, 0xf4);
const pv64: TinyElf = {
  bits: 64,
  segments: [{ paddr: 0x100000, vaddr: -0x7ff00000, data: code, memsz: 0x2345 }],
  notes: PV64_NOTES,
};
const without = (bytes: TinyElf, ...names: (keyof typeof PV64_NOTES)[]): TinyElf => ({
  ...bytes,
  notes: Object.fromEntries(Object.entries(PV64_NOTES).filter(([name]) => !names.includes(name as keyof typeof PV64_NOTES))),
});

describe('ELF reader', () => {
  it('reads segments, sections and symbols of both classes', () => {
    for (const bits of [32, 64] as const) {
      const elf = parseElf(
        'k',
        tinyElf({
          bits,
          entry: 0x1234,
          segments: [{ paddr: 0x1000, vaddr: 0x2000, data: code, memsz: 9 }],
          symbols: { start: 0x1234, other: 5 },
        }),
      );
      expect(elf).toMatchObject({ bits, entry: 0x1234, machine: bits === 64 ? 62 : 3 });
      expect(elf.segments[0]).toMatchObject({ paddr: 0x1000, vaddr: 0x2000, memsz: 9, data: code });
      expect(elf.sections.map((s) => s.name)).toContain('.symtab');
      expect(elfSymbols(elf).map((s) => [s.name, s.value])).toEqual([
        ['start', 0x1234],
        ['other', 5],
      ]);
    }
  });

  it('names the file in every complaint and never reads outside it', () => {
    const whole = tinyElf(pv64);
    for (let length = 0; length < whole.length; length++) {
      try {
        parseElf('short.elf', whole.slice(0, length));
        expect.unreachable(`an ELF of ${length} bytes was accepted`);
      } catch (e) {
        expect(e).toBeInstanceOf(DomainBuildError);
        expect((e as Error).message).toMatch(/^short\.elf: not an ELF: /);
      }
    }
  });

  it('survives any single damaged byte with a kernel or a DomainBuildError', () => {
    const whole = tinyElf(pv64);
    for (let at = 0; at < whole.length; at++) {
      for (const value of [0x00, 0x7f, 0xff]) {
        const damaged = whole.slice();
        damaged[at] = value;
        try {
          load(damaged);
        } catch (e) {
          expect(e, `byte ${at}`).toBeInstanceOf(DomainBuildError);
        }
      }
    }
  });
});

describe('Xen notes', () => {
  it('come from a segment, else from a section, else from __xen_guest', () => {
    const expected = {
      virtBase: -0x80000000,
      virtEntry: -0x7ff00000,
      virtStart: -0x7ff00000,
      virtEnd: -0x7ff00000 + 0x2345,
      virtHypercall: null,
    };
    expect(load(tinyElf(pv64)).xen).toMatchObject(expected);
    expect(load(tinyElf({ ...pv64, notesIn: 'section' })).xen).toMatchObject(expected);
    const legacy = load(
      tinyElf({
        bits: 32,
        entry: 0xc0100000,
        segments: [{ paddr: 0xc0100000, vaddr: 0xc0100000, data: code }],
        xenGuest:
          'GUEST_OS=linux,XEN_VER=xen-3.0,VIRT_BASE=0xC0000000,HYPERCALL_PAGE=0x102,PAE=yes,FEATURES=writable_page_tables,LOADER=generic',
      }),
    );
    expect(legacy.guestType).toBe('xen-3.0-x86_32p');
    // ELF_PADDR_OFFSET defaults to VIRT_BASE here; the hypercall page is given as a frame.
    expect(legacy.xen).toMatchObject({
      virtBase: 0xc0000000,
      virtStart: 0xc0100000,
      virtHypercall: 0xc0102000,
      pae: 'yes',
      features: { supported: 1, required: 0 },
    });
  });

  it('tell INIT_P2M, MOD_START_PFN, HYPERCALL_PAGE and features', () => {
    const k = load(
      tinyElf({
        ...pv64,
        notes: { ...PV64_NOTES, INIT_P2M: 0x8000000000, MOD_START_PFN: 1, HYPERCALL_PAGE: -0x7fefe000, SUPPORTED_FEATURES: 0x8801 },
      }),
    );
    expect(k.xen).toMatchObject({
      p2mBase: 0x8000000000,
      unmappedInitrd: true,
      virtHypercall: -0x7fefe000,
      features: { supported: 0x8811, required: 1 },
    });
  });

  it('must be there, for PV, and for this Xen', () => {
    expect(() => load(tinyElf({ bits: 64, segments: pv64.segments }))).toThrow('/boot/k: not a Xen kernel: it has no Xen ELF notes');
    expect(() => load(tinyElf(without(pv64, 'XEN_VERSION')))).toThrow('/boot/k: built for Xen interface ""');
    expect(() => load(tinyElf(without(pv64, 'LOADER')))).toThrow(/not a PV kernel/);
    expect(() => load(tinyElf({ ...pv64, notes: { PHYS32_ENTRY: 0x100000 } }))).toThrow(/PVH, but not as PV/);
    expect(() => load(tinyElf({ ...pv64, notes: { ...PV64_NOTES, FEATURES: '!telepathy' } }))).toThrow(/requires the feature "telepathy"/);
    expect(() => load(tinyElf({ ...pv64, notes: { ...PV64_NOTES, FEATURES: '!dom0' } }))).toThrow(/privileged domain/);
    expect(() => load(tinyElf({ ...pv64, notes: { ...PV64_NOTES, ENTRY: 0x10 } }))).toThrow(/entry 0x10 .* does not fit/);
    expect(() => load(tinyElf({ ...pv64, bits: 32, notes: { ...PV64_NOTES, VIRT_BASE: 0, ENTRY: 0x100000 } }))).toThrow(/without PAE/);
    expect(() => load(tinyElf({ ...pv64, machine: 183 }))).toThrow(/not an x86 kernel/);
  });
});

describe('kernel file', () => {
  const elf = tinyElf(pv64);
  const sized = (b: Uint8Array, size: number) => Uint8Array.from([...b, size & 0xff, size >> 8, 0, 0]);

  it('may be a bzImage, an ELF, or either behind gzip', () => {
    const bz = tinyBzImage(new Uint8Array(gzipSync(elf)));
    for (const bytes of [elf, bz, new Uint8Array(gzipSync(elf)), new Uint8Array(gzipSync(bz)), tinyBzImage(elf)])
      expect(load(bytes).xen.virtEntry).toBe(-0x7ff00000);
  });

  it('that is none is refused, with its name and the reason', () => {
    expect(() => load(new Uint8Array(0))).toThrow('/boot/k: the kernel file is empty');
    expect(() => load(new TextEncoder().encode('#!/bin/sh\n'))).toThrow('/boot/k: not a kernel: neither');
    expect(() => load(tinyBzImage(elf, 0x0207))).toThrow('/boot/k: Linux boot protocol 2.7 is too old');
    expect(() => load(tinyBzImage(new Uint8Array(gzipSync(elf))).subarray(0, 1200))).toThrow(/cut short/);
    expect(() => load(tinyBzImage(sized(Uint8Array.of(0x89, 0x4c, 0x5a, 0x4f, 0, 0, 0, 0), 900)))).toThrow(/lzo/);
    expect(() => load(new Uint8Array(gzipSync(elf)).subarray(0, 90))).toThrow(/gzip data cannot be unpacked/);
  });
});
