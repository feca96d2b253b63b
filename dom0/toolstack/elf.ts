// Reads ELF32 and ELF64 little-endian images: program headers, section headers, notes and symbols.
// Sources: the System V gABI (chapters 4 and 5) and its processor supplements for i386 and x86-64.
//
// The file is untrusted: every offset is checked against its length before use, and whatever is wrong becomes a
// DomainBuildError that names the file. Virtual addresses come out as signed numbers (canonical addresses, exact in a double);
// those of an ELF32 image are unsigned 32-bit.
import { DomainBuildError } from './errors.ts';

export const PT_LOAD = 1;
export const PT_NOTE = 4;
export const SHT_SYMTAB = 2;
export const SHT_NOTE = 7;
export const EM_386 = 3;
export const EM_X86_64 = 62;

const EI_CLASS = 4;
const EI_DATA = 5;
const ELFCLASS32 = 1;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;

export interface ElfSegment {
  readonly type: number;
  readonly flags: number;
  readonly vaddr: number;
  readonly paddr: number;
  readonly memsz: number;
  /** The bytes that the file holds (p_filesz of them); the rest up to memsz is zero. */
  readonly data: Uint8Array;
}

export interface ElfSection {
  readonly name: string;
  readonly type: number;
  readonly addr: number;
  readonly link: number;
  readonly data: Uint8Array;
}

export interface ElfNote {
  /** The owner, without its terminating zero ("Xen", "GNU"). */
  readonly name: string;
  readonly type: number;
  readonly desc: Uint8Array;
}

export interface ElfSymbol {
  readonly name: string;
  readonly value: number;
  readonly size: number;
  readonly info: number;
  readonly shndx: number;
}

export interface ElfImage {
  /** Where it came from: what error messages name. */
  readonly file: string;
  readonly bits: 32 | 64;
  readonly machine: number;
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
  readonly sections: readonly ElfSection[];
}

export const isElf = (bytes: Uint8Array): boolean =>
  bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;

/** Fields of a record by name, whichever class the file has: [offset in ELF32, offset in ELF64], all words unless noted. */
const PHDR = { type: [0, 0], flags: [24, 4], offset: [4, 8], vaddr: [8, 16], paddr: [12, 24], filesz: [16, 32], memsz: [20, 40] } as const;
const SHDR = { name: [0, 0], type: [4, 4], addr: [12, 16], offset: [16, 24], size: [20, 32], link: [24, 40] } as const;
const SYM = { name: [0, 0], value: [4, 8], size: [8, 16], info: [12, 4], shndx: [14, 6] } as const;

class Reader {
  readonly view: DataView;
  readonly bits: 32 | 64;

  constructor(bytes: Uint8Array, bits: 32 | 64) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.bits = bits;
  }

  half(at: number, field: readonly [number, number]): number {
    return this.view.getUint16(at + field[this.bits === 32 ? 0 : 1], true);
  }

  word(at: number, field: readonly [number, number]): number {
    return this.view.getUint32(at + field[this.bits === 32 ? 0 : 1], true);
  }

  /** Elf_Addr, Elf_Off, Elf_Xword: 32 or 64 bits wide, by class. */
  address(at: number, field: readonly [number, number]): number {
    if (this.bits === 32) return this.view.getUint32(at + field[0], true);
    return Number(this.view.getBigInt64(at + field[1], true));
  }
}

const cString = (bytes: Uint8Array, at: number): string => {
  let end = at;
  while (end < bytes.length && bytes[end] !== 0) end++;
  return new TextDecoder('latin1').decode(bytes.subarray(at, end));
};

/** Reads headers and section names. Throws DomainBuildError. */
export function parseElf(file: string, bytes: Uint8Array): ElfImage {
  const fail = (reason: string): never => {
    throw new DomainBuildError(file, `not an ELF: ${reason}`);
  };
  if (!isElf(bytes)) fail(bytes.length === 0 ? 'the file is empty' : 'no ELF magic at its start');
  if (bytes.length < 52) fail('the file ends inside the ELF header');
  const elfClass = bytes[EI_CLASS];
  if (elfClass !== ELFCLASS32 && elfClass !== ELFCLASS64) fail(`unknown class ${elfClass}`);
  if (bytes[EI_DATA] !== ELFDATA2LSB) fail('it is big-endian');
  const bits = elfClass === ELFCLASS32 ? 32 : 64;
  if (bits === 64 && bytes.length < 64) fail('the file ends inside the ELF header');
  const r = new Reader(bytes, bits);

  const slice = (what: string, offset: number, size: number): Uint8Array => {
    if (offset < 0 || size < 0 || offset + size > bytes.length) fail(`${what} lies outside the file (offset ${offset}, ${size} bytes)`);
    return bytes.subarray(offset, offset + size);
  };
  const table = (what: string, offset: number, entsize: number, count: number, least: number): number[] => {
    if (count === 0) return [];
    if (entsize < least) fail(`${what} has entries of ${entsize} bytes`);
    slice(what, offset, entsize * count);
    return Array.from({ length: count }, (_, i) => offset + i * entsize);
  };

  const phdrs = table('the program header table', r.address(0, [28, 32]), r.half(0, [42, 54]), r.half(0, [44, 56]), bits === 32 ? 32 : 56);
  const segments = phdrs.map((at, i): ElfSegment => {
    const filesz = r.address(at, PHDR.filesz);
    const memsz = r.address(at, PHDR.memsz);
    const type = r.word(at, PHDR.type);
    if (type === PT_LOAD && memsz < filesz) fail(`segment ${i} is larger in the file than in memory`);
    return {
      type,
      flags: r.word(at, PHDR.flags),
      vaddr: r.address(at, PHDR.vaddr),
      paddr: r.address(at, PHDR.paddr),
      memsz,
      data: slice(`segment ${i}`, r.address(at, PHDR.offset), filesz),
    };
  });

  const shdrs = table('the section header table', r.address(0, [32, 40]), r.half(0, [46, 58]), r.half(0, [48, 60]), bits === 32 ? 40 : 64);
  const SHT_NOBITS = 8;
  const contents = (at: number, i: number): Uint8Array =>
    r.word(at, SHDR.type) === SHT_NOBITS || r.word(at, SHDR.type) === 0
      ? new Uint8Array(0)
      : slice(`section ${i}`, r.address(at, SHDR.offset), r.address(at, SHDR.size));
  const shstrndx = r.half(0, [50, 62]);
  const namesAt = shdrs[shstrndx];
  const names = namesAt === undefined ? new Uint8Array(0) : contents(namesAt, shstrndx);
  const sections = shdrs.map(
    (at, i): ElfSection => ({
      name: cString(names, r.word(at, SHDR.name)),
      type: r.word(at, SHDR.type),
      addr: r.address(at, SHDR.addr),
      link: r.word(at, SHDR.link),
      data: contents(at, i),
    }),
  );
  return { file, bits, machine: r.half(0, [18, 18]), entry: r.address(0, [24, 24]), segments, sections };
}

/**
 * The notes of one PT_NOTE segment or SHT_NOTE section; stops at the first whose header or name does not fit. A description that runs over
 * the end is taken as far as it goes, as Xen's libelf takes it: GRUB's i386-xen image ends within its last note.
 */
export function parseNotes(data: Uint8Array): ElfNote[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const notes: ElfNote[] = [];
  const aligned = (n: number) => (n + 3) & ~3;
  for (let at = 0; at + 12 <= data.length; ) {
    const namesz = view.getUint32(at, true);
    const type = view.getUint32(at + 8, true);
    const descAt = at + 12 + aligned(namesz);
    if (namesz > data.length || descAt > data.length) break;
    const descsz = Math.min(view.getUint32(at + 4, true), data.length - descAt);
    notes.push({ name: cString(data.subarray(0, at + 12 + namesz), at + 12), type, desc: data.subarray(descAt, descAt + descsz) });
    at = descAt + aligned(descsz);
  }
  return notes;
}

/** The symbols of SHT_SYMTAB (empty for a stripped image). */
export function elfSymbols(elf: ElfImage): ElfSymbol[] {
  const entsize = elf.bits === 32 ? 16 : 24;
  return elf.sections
    .filter((s) => s.type === SHT_SYMTAB)
    .flatMap((symtab) => {
      const strings = elf.sections[symtab.link]?.data ?? new Uint8Array(0);
      const r = new Reader(symtab.data, elf.bits);
      return Array.from({ length: Math.floor(symtab.data.length / entsize) }, (_, i): ElfSymbol => {
        const at = i * entsize;
        return {
          name: cString(strings, r.word(at, SYM.name)),
          value: r.address(at, SYM.value),
          size: r.address(at, SYM.size),
          info: symtab.data[at + SYM.info[elf.bits === 32 ? 0 : 1]] ?? 0,
          shndx: r.half(at, SYM.shndx),
        };
      });
    });
}
