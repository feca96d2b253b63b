// Names of addresses in a guest: from a System.map, which is also the format of /proc/kallsyms, or from the symbol table of an ELF file.
import { readInputFile } from './node-files.ts';
import { UserError } from './user-error.ts';

/** name+0x1c, or null where nothing is known. */
export type SymbolAt = (address: number) => string | null;

interface Symbol {
  /** As the CPU has it: signed. */
  readonly address: number;
  readonly name: string;
}

/** Beyond this an address belongs to no function any more. */
const FARTHEST = 1 << 20;

export class Symbols {
  private readonly sorted: readonly Symbol[];

  constructor(symbols: readonly Symbol[]) {
    this.sorted = [...symbols].sort((a, b) => a.address - b.address);
  }

  get size(): number {
    return this.sorted.length;
  }

  /** The last symbol at or below an address. */
  private find(address: number): Symbol | null {
    let [low, high] = [0, this.sorted.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.sorted[middle]!.address <= address) low = middle + 1;
      else high = middle;
    }
    const found = this.sorted[low - 1];
    return found === undefined || address - found.address > FARTHEST ? null : found;
  }
  /** The function alone. */
  nameOf(address: number): string | null {
    return this.find(address)?.name ?? null;
  }
  readonly at: SymbolAt = (address) => {
    const s = this.find(address);
    if (s === null) return null;
    return address === s.address ? s.name : `${s.name}+0x${(address - s.address).toString(16)}`;
  };
}

/** Signed, as linear addresses are throughout. */
const signed = (hex: string): number => Number(BigInt.asIntN(64, BigInt(`0x${hex}`)));

/** System.map or /proc/kallsyms: "ffffffff81000000 T _text", perhaps with "[module]" behind. Labels that nobody jumps to are left out. */
export function parseSystemMap(text: string): Symbol[] {
  const symbols: Symbol[] = [];
  for (const line of text.split('\n')) {
    const m = /^([0-9a-fA-F]{8,16}) ([a-zA-Z]) (\S+)(?:\s+\[(\S+)\])?$/.exec(line.trim());
    if (m === null || !/[tw]/i.test(m[2]!)) continue;
    symbols.push({ address: signed(m[1]!), name: m[4] === undefined ? m[3]! : `${m[3]} [${m[4]}]` });
  }
  return symbols;
}

const SHT_SYMTAB = 2;
const STT_NOTYPE = 0;
const STT_FUNC = 2;

/** The functions of an ELF file's symbol table, 32- or 64-bit; none when it has been stripped. System V gABI, chapter 4. */
export function elfSymbols(bytes: Uint8Array): Symbol[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 64 || view.getUint32(0, true) !== 0x464c_457f) return [];
  const is64 = bytes[4] === 2;
  const word = (at: number) => (is64 ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true));
  const table = word(is64 ? 0x28 : 0x20);
  const [entry, count] = [view.getUint16(is64 ? 0x3a : 0x2e, true), view.getUint16(is64 ? 0x3c : 0x30, true)];
  const section = (i: number) => {
    const at = table + i * entry;
    return {
      type: view.getUint32(at + 4, true),
      offset: word(at + (is64 ? 0x18 : 0x10)),
      size: word(at + (is64 ? 0x20 : 0x14)),
      link: view.getUint32(at + (is64 ? 0x28 : 0x18), true),
    };
  };
  const symbols: Symbol[] = [];
  for (let i = 0; i < count; i++) {
    const s = section(i);
    if (s.type !== SHT_SYMTAB) continue;
    const strings = section(s.link);
    const size = is64 ? 24 : 16;
    for (let at = s.offset; at + size <= s.offset + s.size; at += size) {
      const type = view.getUint8(at + (is64 ? 4 : 12)) & 15;
      const nameAt = view.getUint32(at, true);
      if (nameAt === 0 || (type !== STT_FUNC && type !== STT_NOTYPE)) continue;
      const from = strings.offset + nameAt;
      const name = new TextDecoder('latin1').decode(bytes.subarray(from, bytes.indexOf(0, from)));
      const address = is64 ? Number(view.getBigInt64(at + 8, true)) : view.getUint32(at + 4, true);
      symbols.push({ address, name });
    }
  }
  return symbols;
}

/** What --system-map names; without it the symbols that the kernels themselves bring. */
export function readSymbols(file: string | null, kernels: readonly Uint8Array[]): Symbols {
  if (file === null) return new Symbols(kernels.flatMap(elfSymbols));
  const bytes = readInputFile(file, 'symbols');
  const elf = elfSymbols(bytes);
  const symbols = new Symbols(elf.length > 0 ? elf : parseSystemMap(new TextDecoder().decode(bytes)));
  // Debian's own System.map is one line that says where the real one is.
  if (symbols.size < 2)
    throw new UserError(`${file}: no symbols in it: neither a System.map (or /proc/kallsyms) nor an ELF file with a symbol table`);
  return symbols;
}
export const guestSymbols = (file: string | null, kernels: readonly Uint8Array[]): SymbolAt => readSymbols(file, kernels).at;
