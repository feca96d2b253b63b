// Writes ELF32 and ELF64 executables from a linked image: program headers, section headers, symbols (for gdb, nm and the hypervisor's
// own traces) and notes. Layout and numbers: System V gABI, chapters 4 and 5.
//
// One PT_LOAD per permission change; the notes stand in a PT_NOTE segment of their own that is not loaded.
import type { Linked, LinkedSection } from './image.ts';
import { concat, type ElfNote, encodeNotes, padTo, type Word, words } from './notes.ts';

export interface ElfOptions {
  readonly bits: 32 | 64;
  /** Label where execution begins (e_entry). */
  readonly entry: string;
  readonly notes: readonly ElfNote[];
  /** What to subtract from virtual addresses to get p_paddr: where the image lies in a domain's memory. */
  readonly virtToPhys: bigint;
}

const ET_EXEC = 2;
const EM_386 = 3;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_NOTE = 4;
const PF = { X: 1, W: 2, R: 4 } as const;
const SHT = { PROGBITS: 1, SYMTAB: 2, STRTAB: 3, NOTE: 7, NOBITS: 8 } as const;
const SHF = { WRITE: 1, ALLOC: 2, EXECINSTR: 4 } as const;
const STB_GLOBAL_FUNC = 0x12;
const STB_GLOBAL_OBJECT = 0x11;
const PAGE = 4096n;

interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly address: bigint;
  readonly data: Uint8Array;
  readonly memsz: number;
  readonly align: number;
}

interface Header {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly address: bigint;
  readonly offset: number;
  readonly size: number;
  readonly link?: number;
  readonly info?: number;
  readonly align: number;
  readonly entsize?: number;
}

const flagsOf = (s: LinkedSection): number => PF.R | (s.write ? PF.W : 0) | (s.execute ? PF.X : 0);

/** Neighbours with the same permissions become one segment; a section without bits can only end one. */
function segmentsOf(sections: readonly LinkedSection[]): Segment[] {
  const segments: Segment[] = [];
  let group: LinkedSection[] = [];
  const close = () => {
    const first = group[0];
    const last = group[group.length - 1];
    if (first === undefined || last === undefined) return;
    const withBits = group.filter((s) => !s.noBits);
    const end =
      withBits.length === 0 ? 0 : Number(withBits[withBits.length - 1]!.address - first.address) + withBits[withBits.length - 1]!.size;
    const data = new Uint8Array(end);
    for (const s of withBits) data.set(s.bytes, Number(s.address - first.address));
    const memsz = Number(last.address - first.address) + last.size;
    segments.push({ type: PT_LOAD, flags: flagsOf(first), address: first.address, data, memsz, align: Number(PAGE) });
    group = [];
  };
  for (const section of sections) {
    const previous = group[group.length - 1];
    if (previous !== undefined && (flagsOf(previous) !== flagsOf(section) || (previous.noBits && !section.noBits))) close();
    group.push(section);
  }
  close();
  return segments;
}

class StringTable {
  private text = '\0';
  add(name: string): number {
    const at = this.text.length;
    this.text += `${name}\0`;
    return at;
  }
  get bytes(): Uint8Array {
    return new TextEncoder().encode(this.text);
  }
}

/** The file, byte for byte the same for the same image. */
export function writeElf(linked: Linked, options: ElfOptions): Uint8Array {
  const { bits, virtToPhys } = options;
  const is64 = bits === 64;
  const A = is64 ? 8 : 4;
  const ehsize = is64 ? 64 : 52;
  const phentsize = is64 ? 56 : 32;
  const shentsize = is64 ? 64 : 40;
  const symentsize = is64 ? 24 : 16;

  const loads = segmentsOf(linked.sections);
  const notes = encodeNotes(options.notes, bits);
  const phnum = loads.length + 1;

  const parts: Uint8Array[] = [];
  let at = ehsize + phentsize * phnum;
  const put = (data: Uint8Array, align: number, congruentTo = 0): number => {
    const pad = (((congruentTo - at) % align) + align) % align;
    parts.push(new Uint8Array(pad), data);
    const offset = at + pad;
    at = offset + data.length;
    return offset;
  };

  const noteOffset = put(notes, 4);
  const noteHeader = programHeader(
    is64,
    { type: PT_NOTE, flags: PF.R, address: 0n, data: notes, memsz: notes.length, align: 4 },
    noteOffset,
    0n,
  );
  const offsets = loads.map((s) => put(s.data, Number(PAGE), Number(s.address % PAGE)));
  const programHeaders = [...loads.map((s, i) => programHeader(is64, s, offsets[i]!, virtToPhys)), noteHeader];

  const fileOffset = (s: LinkedSection): number => {
    const index = loads.findIndex((l) => s.address >= l.address && s.address + BigInt(s.size) <= l.address + BigInt(l.memsz));
    return offsets[index]! + Number(s.address - loads[index]!.address);
  };
  const headers: Header[] = linked.sections.map((s) => ({
    name: s.name,
    type: s.noBits ? SHT.NOBITS : SHT.PROGBITS,
    flags: SHF.ALLOC | (s.write ? SHF.WRITE : 0) | (s.execute ? SHF.EXECINSTR : 0),
    address: s.address,
    offset: fileOffset(s),
    size: s.size,
    align: s.align,
  }));
  headers.push({ name: '.note.Xen', type: SHT.NOTE, flags: 0, address: 0n, offset: noteOffset, size: notes.length, align: 4 });

  const names = new StringTable();
  const symbols: Uint8Array[] = [new Uint8Array(symentsize)];
  for (const { name, address, size, section } of linked.symbols) {
    const info = linked.sections[section]!.execute ? STB_GLOBAL_FUNC : STB_GLOBAL_OBJECT;
    const nameAt = names.add(name);
    // Section 0 is the empty one.
    const fields: Word[] = is64
      ? [
          [4, nameAt],
          [1, info],
          [1, 0],
          [2, section + 1],
          [8, address],
          [8, size],
        ]
      : [
          [4, nameAt],
          [4, address],
          [4, size],
          [1, info],
          [1, 0],
          [2, section + 1],
        ];
    symbols.push(words(fields));
  }
  const symtab = concat(symbols);
  const symtabOffset = put(symtab, 8);
  const strtab = names.bytes;
  const strtabIndex = headers.length + 2;
  const common = { flags: 0, address: 0n } as const;
  headers.push({
    ...common,
    name: '.symtab',
    type: SHT.SYMTAB,
    offset: symtabOffset,
    size: symtab.length,
    link: strtabIndex,
    info: 1,
    align: 8,
    entsize: symentsize,
  });
  headers.push({ ...common, name: '.strtab', type: SHT.STRTAB, offset: put(strtab, 1), size: strtab.length, align: 1 });

  const sectionNames = new StringTable();
  const nameOffsets = [...headers.map((h) => sectionNames.add(h.name)), sectionNames.add('.shstrtab')];
  const shstrtab = sectionNames.bytes;
  headers.push({ ...common, name: '.shstrtab', type: SHT.STRTAB, offset: put(shstrtab, 1), size: shstrtab.length, align: 1 });

  const sectionHeaders = headers.map((h, i) =>
    words([
      [4, nameOffsets[i]!],
      [4, h.type],
      [A, h.flags],
      [A, h.address],
      [A, h.offset],
      [A, h.size],
      [4, h.link ?? 0],
      [4, h.info ?? 0],
      [A, h.align],
      [A, h.entsize ?? 0],
    ]),
  );
  const shoff = put(concat([new Uint8Array(shentsize), ...sectionHeaders]), 8);

  const ident = padTo(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1), 16);
  const header = words([
    [2, ET_EXEC],
    [2, is64 ? EM_X86_64 : EM_386],
    [4, 1],
    [A, linked.address(options.entry)],
    [A, ehsize],
    [A, shoff],
    [4, 0],
    [2, ehsize],
    [2, phentsize],
    [2, phnum],
    [2, shentsize],
    [2, headers.length + 1],
    [2, headers.length],
  ]);
  return concat([ident, header, ...programHeaders, ...parts]);
}

function programHeader(is64: boolean, s: Segment, offset: number, virtToPhys: bigint): Uint8Array {
  const paddr = s.type === PT_LOAD ? s.address - virtToPhys : 0n;
  return words(
    is64
      ? [
          [4, s.type],
          [4, s.flags],
          [8, offset],
          [8, s.address],
          [8, paddr],
          [8, s.data.length],
          [8, s.memsz],
          [8, s.align],
        ]
      : [
          [4, s.type],
          [4, offset],
          [4, s.address],
          [4, paddr],
          [4, s.data.length],
          [4, s.memsz],
          [4, s.flags],
          [4, s.align],
        ],
  );
}
