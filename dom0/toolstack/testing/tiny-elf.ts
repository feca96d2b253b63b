// Makes small kernel images for tests: an ELF32 or ELF64 with PT_LOAD segments, Xen notes in a PT_NOTE segment or an SHT_NOTE
// section, or a __xen_guest section, and a bzImage around one.
import { XEN_ELFNOTE } from '../elfnote-numbers.ts';

export interface TinySegment {
  readonly paddr: number;
  readonly vaddr: number;
  readonly data: Uint8Array;
  readonly memsz?: number;
}

export interface TinyElf {
  readonly bits: 32 | 64;
  readonly entry?: number;
  readonly segments: readonly TinySegment[];
  readonly notes?: Partial<Record<keyof typeof XEN_ELFNOTE, string | number>>;
  /** Where the notes go; 'segment' unless told. */
  readonly notesIn?: 'segment' | 'section';
  readonly xenGuest?: string;
  readonly symbols?: Readonly<Record<string, number>>;
  readonly machine?: number;
}

const concat = (parts: readonly Uint8Array[]): Uint8Array => {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
};

const ascii = (s: string): Uint8Array => new TextEncoder().encode(s);

/** Little-endian words: [width in bytes, value] pairs. */
const words = (...fields: readonly (readonly [1 | 2 | 4 | 8, number])[]): Uint8Array => {
  const out = new DataView(new ArrayBuffer(fields.reduce((n, [w]) => n + w, 0)));
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 8) out.setBigInt64(at, BigInt(value), true);
    else if (width === 4) out.setUint32(at, value, true);
    else if (width === 2) out.setUint16(at, value, true);
    else out.setUint8(at, value);
    at += width;
  }
  return new Uint8Array(out.buffer);
};

const padded = (b: Uint8Array): Uint8Array => concat([b, new Uint8Array((4 - (b.length % 4)) % 4)]);

export function xenNotes(bits: 32 | 64, notes: NonNullable<TinyElf['notes']>): Uint8Array {
  return concat(
    Object.entries(notes).map(([name, value]) => {
      const desc = typeof value === 'string' ? ascii(`${value}\0`) : words([bits === 32 ? 4 : 8, value]);
      return concat([words([4, 4], [4, desc.length], [4, XEN_ELFNOTE[name as keyof typeof XEN_ELFNOTE]]), ascii('Xen\0'), padded(desc)]);
    }),
  );
}

export function tinyElf(spec: TinyElf): Uint8Array {
  const { bits } = spec;
  const A = bits === 64 ? 8 : 4;
  const notes = xenNotes(bits, spec.notes ?? {});
  const notesInSegment = spec.notes !== undefined && spec.notesIn !== 'section';
  const strings = ['\0'];
  const symbols = Object.entries(spec.symbols ?? {}).map(([name, value]) => {
    const at = strings.join('').length;
    strings.push(`${name}\0`);
    return bits === 64
      ? words([4, at], [1, 0x10], [1, 0], [2, 1], [8, value], [8, 0])
      : words([4, at], [4, value], [4, 0], [1, 0x10], [1, 0], [2, 1]);
  });
  const sections = [
    { name: '', type: 0, data: new Uint8Array(0), link: 0 },
    ...(spec.notes !== undefined && spec.notesIn === 'section' ? [{ name: '.notes', type: 7, data: notes, link: 0 }] : []),
    ...(spec.xenGuest !== undefined ? [{ name: '__xen_guest', type: 1, data: ascii(`${spec.xenGuest}\0`), link: 0 }] : []),
    ...(symbols.length > 0 ? [{ name: '.strtab', type: 3, data: ascii(strings.join('')), link: 0 }] : []),
  ];
  if (symbols.length > 0) sections.push({ name: '.symtab', type: 2, data: concat(symbols), link: sections.length - 1 });
  const nameTable = `${sections.map((s) => s.name).join('\0')}\0.shstrtab\0`;
  sections.push({ name: '.shstrtab', type: 3, data: ascii(nameTable), link: 0 });

  const ehsize = bits === 64 ? 64 : 52;
  const phsize = bits === 64 ? 56 : 32;
  const phnum = spec.segments.length + (notesInSegment ? 1 : 0);
  let at = ehsize + phsize * phnum;
  const bodies: Uint8Array[] = [];
  const place = (data: Uint8Array): number => {
    const here = at;
    const whole = padded(data);
    bodies.push(whole);
    at += whole.length;
    return here;
  };
  const phdr = (type: number, vaddr: number, paddr: number, data: Uint8Array, memsz: number) => {
    const offset = place(data);
    return bits === 64
      ? words([4, type], [4, 7], [8, offset], [8, vaddr], [8, paddr], [8, data.length], [8, memsz], [8, 4096])
      : words([4, type], [4, offset], [4, vaddr], [4, paddr], [4, data.length], [4, memsz], [4, 7], [4, 4096]);
  };
  const phdrs = spec.segments.map((s) => phdr(1, s.vaddr, s.paddr, s.data, s.memsz ?? s.data.length));
  if (notesInSegment) phdrs.push(phdr(4, 0, 0, notes, notes.length));
  let nameAt = 0;
  const shdrs = sections.map((s) => {
    const offset = place(s.data);
    const name = s.name === '.shstrtab' ? nameTable.indexOf('.shstrtab') : nameAt;
    nameAt += s.name.length + 1;
    return words([4, name], [4, s.type], [A, 0], [A, 0], [A, offset], [A, s.data.length], [4, s.link], [4, 0], [A, 4], [A, 0]);
  });
  const shoff = at;
  const ident = new Uint8Array(16);
  ident.set([0x7f, 0x45, 0x4c, 0x46, bits === 64 ? 2 : 1, 1, 1]);
  const ehdr = concat([
    ident,
    words([2, 2], [2, spec.machine ?? (bits === 64 ? 62 : 3)], [4, 1], [A, spec.entry ?? 0], [A, ehsize], [A, shoff], [4, 0]),
    words([2, ehsize], [2, phsize], [2, phnum], [2, bits === 64 ? 64 : 40], [2, shdrs.length], [2, shdrs.length - 1]),
  ]);
  return concat([ehdr, ...phdrs, ...bodies, ...shdrs]);
}

/** A bzImage of one setup sector around a payload, boot protocol 2.15 unless told. */
export function tinyBzImage(payload: Uint8Array, protocol = 0x020f): Uint8Array {
  const head = new Uint8Array(1024 + 64);
  const view = new DataView(head.buffer);
  head[0x1f1] = 1;
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, protocol, true);
  view.setUint32(0x248, 64, true);
  view.setUint32(0x24c, payload.length, true);
  return concat([head, payload]);
}

/** The notes of a minimal 64-bit PV kernel at 0xffffffff80000000. */
export const PV64_NOTES = {
  XEN_VERSION: 'xen-3.0',
  GUEST_OS: 'test',
  LOADER: 'generic',
  VIRT_BASE: -0x80000000,
  ENTRY: -0x80000000 + 0x100000,
  FEATURES: '!writable_page_tables|pae_pgdir_above_4gb',
} as const;
