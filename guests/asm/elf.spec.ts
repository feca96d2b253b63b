// The ELF writer, read back field by field; and by readelf and nm, where there are any.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { assembler, at, Image, w, writeElf, xenNotes } from './index.ts';

const BASE = { 64: 0xffffffff80000000n, 32: 0xc0000000n } as const;

function build(bits: 32 | 64): Uint8Array {
  const image = new Image();
  const a = assembler<32 | 64>(image, bits);
  a.section('.text', { align: 4096 }).label('_start').lea(w.ax, at('counter')).hlt();
  a.section('.data', { align: 4096 }).label('counter').word(7);
  a.section('.bss').label('room').reserve(0x3000);
  const linked = image.link(BASE[bits] + 0x100000n);
  const notes = xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: 'generic', VIRT_BASE: BASE[bits], ENTRY: linked.address('_start') });
  return writeElf(linked, { bits, entry: '_start', notes, virtToPhys: BASE[bits] });
}

interface Phdr {
  type: number;
  flags: number;
  offset: number;
  vaddr: bigint;
  paddr: bigint;
  filesz: number;
  memsz: number;
}
function programHeaders(file: Uint8Array): Phdr[] {
  const v = new DataView(file.buffer);
  const is64 = file[4] === 2;
  const address = (at: number) => (is64 ? v.getBigUint64(at, true) : BigInt(v.getUint32(at, true)));
  const count = v.getUint16(is64 ? 56 : 44, true);
  const size = is64 ? 56 : 32;
  const start = is64 ? 64 : 52;
  return Array.from({ length: count }, (_, i) => {
    const p = start + i * size;
    const A = is64 ? 8 : 4;
    const first = is64 ? p + 8 : p + 4;
    const word = (n: number) => address(first + n * A);
    return {
      type: v.getUint32(p, true),
      flags: v.getUint32(is64 ? p + 4 : p + 24, true),
      offset: Number(word(0)),
      vaddr: word(1),
      paddr: word(2),
      filesz: Number(word(3)),
      memsz: Number(word(4)),
    };
  });
}

describe('an ELF file', () => {
  for (const bits of [64, 32] as const) {
    test(`of ${bits} bits has a segment for code, one for data with .bss behind it, and the notes`, () => {
      const [text, data, note, ...more] = programHeaders(build(bits));
      expect(more).toEqual([]);
      expect(text).toMatchObject({ type: 1, flags: 5, vaddr: BASE[bits] + 0x100000n, paddr: 0x100000n });
      expect(data).toMatchObject({ type: 1, flags: 6, vaddr: BASE[bits] + 0x101000n, filesz: bits / 8, memsz: 0x3000 + 16 });
      expect(note).toMatchObject({ type: 4 });
      expect((text!.offset - Number(text!.vaddr & 0xfffn)) % 4096).toBe(0);
    });

    test(`of ${bits} bits carries Xen's notes with words of its own class`, () => {
      const file = build(bits);
      const { offset } = programHeaders(file)[2]!;
      const v = new DataView(file.buffer);
      // XEN_VERSION: owner of 4 bytes, text of 8.
      expect([v.getUint32(offset, true), v.getUint32(offset + 4, true), v.getUint32(offset + 8, true)]).toEqual([4, 8, 5]);
      expect(new TextDecoder().decode(file.subarray(offset + 12, offset + 24))).toBe('Xen\0xen-3.0\0');
      const virtBase = offset + 48;
      expect([v.getUint32(virtBase + 4, true), v.getUint32(virtBase + 8, true)]).toEqual([bits / 8, 3]);
    });

    test.skipIf(spawnSync('readelf', ['--version']).status !== 0)(`of ${bits} bits satisfies readelf and nm`, () => {
      const folder = mkdtempSync(join(tmpdir(), 'ringworld-elf-'));
      try {
        const path = join(folder, 'kernel');
        writeFileSync(path, build(bits));
        const said = spawnSync('readelf', ['-a', path], { encoding: 'utf8' });
        expect(said.stderr).toBe('');
        expect(said.stdout).toMatch(/_start/);
        const digits = (n: bigint) => n.toString(16).padStart(bits / 4, '0');
        expect(execFileSync('nm', ['-n', path], { encoding: 'utf8' }).trim().split('\n')).toEqual([
          `${digits(BASE[bits] + 0x100000n)} T _start`,
          `${digits(BASE[bits] + 0x101000n)} D counter`,
          `${digits(BASE[bits] + 0x101010n)} B room`,
        ]);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }
});
