// What code is assembled into: sections that grow, labels, fixups; and the linking of it all to one range of addresses.
import { AsmError, type Encoded, type Fixup } from './encode.ts';
import type { Sym } from './operands.ts';

export interface SectionOptions {
  readonly align?: number;
  readonly write?: boolean;
  readonly execute?: boolean;
  /** Takes room in memory but not in the file (.bss). */
  readonly noBits?: boolean;
}

interface Section extends Required<SectionOptions> {
  readonly name: string;
  data: Uint8Array;
  length: number;
  readonly fixups: Fixup[];
}

interface Label {
  readonly section: Section;
  readonly offset: number;
}

export interface LinkedSection extends Required<SectionOptions> {
  readonly name: string;
  readonly address: bigint;
  /** Empty for a section without bits. */
  readonly bytes: Uint8Array;
  readonly size: number;
}

export interface LinkedSymbol {
  readonly name: string;
  readonly address: bigint;
  /** Up to the next symbol of the section, or its end. */
  readonly size: number;
  readonly section: number;
}

export interface Linked {
  readonly sections: readonly LinkedSection[];
  /** Without local labels; by address. */
  readonly symbols: readonly LinkedSymbol[];
  address(label: string): bigint;
}

const DEFAULTS: Readonly<Record<string, SectionOptions>> = {
  '.text': { execute: true },
  '.rodata': {},
  '.data': { write: true },
  '.bss': { write: true, noBits: true },
};

const roundUp = (n: bigint, to: bigint): bigint => ((n + to - 1n) / to) * to;

export class Image {
  private readonly sections = new Map<string, Section>();
  private readonly labels = new Map<string, Label>();
  private current: Section;
  private scope = '';
  private unique = 0;

  constructor() {
    this.current = this.open('.text', {});
  }

  private open(name: string, options: SectionOptions): Section {
    const known = this.sections.get(name);
    if (known !== undefined) return known;
    const { align = 16, write = false, execute = false, noBits = false } = { ...DEFAULTS[name], ...options };
    const section: Section = { name, align, write, execute, noBits, data: new Uint8Array(4096), length: 0, fixups: [] };
    this.sections.set(name, section);
    return section;
  }

  /** Sections lie in the image in the order of their first mention. */
  section(name: string, options: SectionOptions = {}): void {
    this.current = this.open(name, options);
  }

  /** Runs `body` in another section and comes back. */
  within(name: string, body: () => void): void {
    const { current, scope } = this;
    this.section(name);
    body();
    this.current = current;
    this.scope = scope;
  }

  /** Labels that begin with a dot belong to the last one that does not. */
  qualify(label: string): string {
    return label.startsWith('.') ? this.scope + label : label;
  }

  /** A local label that nothing else has. */
  fresh(stem: string): string {
    this.unique++;
    return `.${stem}.${this.unique}`;
  }

  label(name: string): void {
    if (!name.startsWith('.')) this.scope = name;
    const full = this.qualify(name);
    if (this.labels.has(full)) throw new AsmError(`label ${full} is there twice`);
    this.labels.set(full, { section: this.current, offset: this.current.length });
  }

  /** A label that leaves the scope of local labels as it is: for macros that need an address all may know. */
  alias(name: string): void {
    const { scope } = this;
    this.label(name);
    this.scope = scope;
  }

  get offset(): number {
    return this.current.length;
  }

  get executable(): boolean {
    return this.current.execute;
  }

  reserve(bytes: number): void {
    if (this.current.noBits) this.current.length += bytes;
    else this.emit({ bytes: new Array<number>(bytes).fill(0), fixups: [] });
  }

  emit({ bytes, fixups }: Encoded): void {
    const section = this.current;
    if (section.noBits) throw new AsmError(`section ${section.name} holds no bytes`);
    const end = section.length + bytes.length;
    if (end > section.data.length) {
      const grown = new Uint8Array(Math.max(end, section.data.length * 2));
      grown.set(section.data);
      section.data = grown;
    }
    section.data.set(bytes, section.length);
    for (const { at, next, sym, ...rest } of fixups)
      section.fixups.push({
        ...rest,
        at: section.length + at,
        next: next === undefined ? undefined : section.length + next,
        sym: { ...sym, label: this.qualify(sym.label), minus: sym.minus === undefined ? undefined : this.qualify(sym.minus) },
      });
    section.length = end;
  }

  /** Gives every section its address, from `base` on, and resolves all fixups. Does not change the image: it can be linked again. */
  link(base: bigint): Linked {
    const used = [...this.sections.values()].filter((s) => s.length > 0 || [...this.labels.values()].some((l) => l.section === s));
    const addresses = new Map<Section, bigint>();
    let next = base;
    for (const section of used) {
      next = roundUp(next, BigInt(section.align));
      addresses.set(section, next);
      next += BigInt(section.length);
    }
    const address = (name: string): bigint => {
      const label = this.labels.get(name);
      if (label === undefined) throw new AsmError(`no label ${name}`);
      return addresses.get(label.section)! + BigInt(label.offset);
    };
    const sections = used.map((s): LinkedSection => {
      const bytes = s.noBits ? new Uint8Array(0) : s.data.slice(0, s.length);
      for (const fixup of s.fixups) apply(fixup, bytes, addresses.get(s)!, address);
      const { name, align, write, execute, noBits } = s;
      return { name, align, write, execute, noBits, address: addresses.get(s)!, bytes, size: s.length };
    });
    return { sections, symbols: this.symbols(used, addresses), address };
  }

  private symbols(sections: readonly Section[], addresses: ReadonlyMap<Section, bigint>): LinkedSymbol[] {
    return sections.flatMap((section, index) => {
      const own = [...this.labels]
        .filter(([name, label]) => label.section === section && !name.includes('.'))
        .sort(([, a], [, b]) => a.offset - b.offset);
      return own.map(([name, { offset }], i) => ({
        name,
        address: addresses.get(section)! + BigInt(offset),
        size: (own.slice(i + 1).find(([, l]) => l.offset > offset)?.[1].offset ?? section.length) - offset,
        section: index,
      }));
    });
  }
}

function apply(fixup: Fixup, bytes: Uint8Array, sectionAddress: bigint, address: (label: string) => bigint): void {
  const { sym, size, at, next, signed } = fixup;
  let value = address(sym.label) + sym.offset - (sym.minus === undefined ? 0n : address(sym.minus));
  if (next !== undefined) value -= sectionAddress + BigInt(next);
  const bits = size * 8;
  const canonical = BigInt.asIntN(64, value);
  const ok = signed
    ? BigInt.asIntN(bits, canonical) === canonical
    : value === BigInt.asUintN(bits, value) || value === BigInt.asIntN(bits, value);
  if (!ok) throw new AsmError(`${describe(sym)} = ${value} does not fit ${bits} bits${signed ? ', signed' : ''}`);
  for (let i = 0; i < size; i++) bytes[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
}

const describe = (sym: Sym): string =>
  `${sym.label}${sym.minus === undefined ? '' : ` - ${sym.minus}`}${sym.offset === 0n ? '' : ` + ${sym.offset}`}`;
