// What a boot loader leaves for a bare machine: bytes in memory and the state of the first CPU. One loader per boot protocol gives such a
// BareLoad from files alone; whoever has a board carries it out.
import { DomainBuildError } from './errors.ts';

/** Types as in E820 (ACPI 6.5, 15.1), which all protocols share. */
export const E820 = { ram: 1, reserved: 2, acpi: 3, nvs: 4 } as const;

export interface MemoryRange {
  readonly base: number;
  readonly size: number;
  readonly type: number;
}

/** What the loader is told of the machine. */
export interface BarePlatform {
  /** By address, without overlaps. */
  readonly memory: readonly MemoryRange[];
  /** Physical address of ACPI's root pointer, and its bytes; null without ACPI. */
  readonly rsdp: { readonly address: number; readonly bytes: Uint8Array } | null;
  /** Is there a VGA in text mode, 80 by 25? */
  readonly vga: boolean;
}

export interface BareFile {
  readonly file: string;
  readonly bytes: Uint8Array;
}

/** Bytes at a physical address, zeros up to `size`. */
export interface BareSegment {
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly size: number;
}

/** Registers that a protocol names; all others are zero. Segments are flat: base 0, limit 4 GiB. */
export interface BareEntry {
  /** protected32: paging off. long64: paging on with the tables at `cr3`. */
  readonly mode: 'protected32' | 'long64';
  readonly ip: number;
  readonly sp?: number;
  readonly eax?: number;
  readonly ebx?: number;
  readonly esi?: number;
  readonly cr3?: number;
  readonly codeSelector: number;
  readonly dataSelector: number;
  /** Table that holds the two selectors; without one their descriptors are nowhere but in the CPU. */
  readonly gdt?: { readonly base: number; readonly limit: number };
}

export interface BareLoad {
  readonly protocol: 'linux64' | 'linux32' | 'pvh' | 'multiboot1' | 'multiboot2';
  readonly segments: readonly BareSegment[];
  readonly entry: BareEntry;
}

/** Low memory that loaders may use: above the real-mode vectors, below the extended BIOS data area. */
export const LOW_MEMORY = { start: 0x1000, end: 0x9f000 } as const;
const TOP = 0x1_0000_0000;

/** Hands out memory for what a loader places, and refuses what is not RAM or is taken. Throws DomainBuildError in the file's name. */
export class Placement {
  readonly segments: BareSegment[] = [];
  private readonly platform: BarePlatform;
  private readonly file: string;

  constructor(platform: BarePlatform, file: string) {
    this.platform = platform;
    this.file = file;
  }

  fail(reason: string): never {
    throw new DomainBuildError(this.file, reason);
  }
  private isRam(at: number, size: number): boolean {
    return this.platform.memory.some((m) => m.type === E820.ram && at >= m.base && at + size <= m.base + m.size);
  }
  private isFree(at: number, size: number): boolean {
    return this.segments.every((s) => at + size <= s.at || at >= s.at + s.size);
  }

  /** At an address that the file asks for. */
  put(what: string, at: number, bytes: Uint8Array, size = bytes.length): void {
    if (size === 0) return;
    const range = `[0x${at.toString(16)}, 0x${(at + size).toString(16)})`;
    if (!this.isRam(at, size)) this.fail(`${what} belongs at ${range}, where the machine has no RAM: give it more memory`);
    if (!this.isFree(at, size)) this.fail(`${what} belongs at ${range}, over something that is there already`);
    this.segments.push({ at, bytes, size });
  }
  /** Keeps memory that the kernel will use before it knows the map. */
  claim(what: string, at: number, size: number): void {
    this.put(what, at, new Uint8Array(0), size);
  }
  /** At the lowest free address in [from, to). */
  low(what: string, bytes: Uint8Array, from: number, to: number, align: number): number {
    const candidates = [from, ...this.segments.map((s) => s.at + s.size), ...this.platform.memory.map((m) => m.base)];
    const fits = candidates
      .map((c) => Math.ceil(c / align) * align)
      .filter((c) => c >= from && c + bytes.length <= to && this.isRam(c, bytes.length) && this.isFree(c, bytes.length));
    if (fits.length === 0) this.fail(`the machine has no room for ${what} (${bytes.length} bytes): give it more memory`);
    const at = Math.min(...fits);
    this.put(what, at, bytes);
    return at;
  }
  /** At the highest free address below `to` and 4 GiB. */
  high(what: string, bytes: Uint8Array, to: number, align: number): number {
    const ends = [...this.segments.map((s) => s.at), ...this.platform.memory.map((m) => m.base + m.size), to].filter(
      (e) => e <= Math.min(to, TOP),
    );
    const fits = ends
      .map((e) => Math.floor((e - bytes.length) / align) * align)
      .filter((c) => c >= 0x10_0000 && this.isRam(c, bytes.length) && this.isFree(c, bytes.length));
    if (fits.length === 0) this.fail(`the machine has no room for ${what} (${bytes.length} bytes): give it more memory`);
    const at = Math.max(...fits);
    this.put(what, at, bytes);
    return at;
  }
}

export const cString = (text: string): Uint8Array => new TextEncoder().encode(`${text}\0`);

/** Flat 4 GiB descriptors at the selectors that the Linux and PVH protocols name: 64- or 32-bit code at 0x10, data at 0x18. */
export function flatGdt(long: boolean): Uint8Array {
  const gdt = new Uint8Array(32);
  const view = new DataView(gdt.buffer);
  view.setBigUint64(16, long ? 0x00af_9b00_0000_ffffn : 0x00cf_9b00_0000_ffffn, true);
  view.setBigUint64(24, 0x00cf_9300_0000_ffffn, true);
  return gdt;
}
export const FLAT_CODE = 0x10;
export const FLAT_DATA = 0x18;

/** Page tables that map the first 4 GiB one to one in pages of 2 MiB, to lie at `at`: PML4, PDPT, four page directories. */
export function identityTables(at: number): Uint8Array {
  const tables = new Uint8Array(6 * 4096);
  const view = new DataView(tables.buffer);
  const PRESENT_WRITABLE = 3;
  const LARGE = 0x80;
  view.setUint32(0, (at + 4096) | PRESENT_WRITABLE, true);
  for (let i = 0; i < 4; i++) view.setUint32(4096 + i * 8, (at + (2 + i) * 4096) | PRESENT_WRITABLE, true);
  for (let i = 0; i < 2048; i++) view.setUint32(8192 + i * 8, ((i * 0x20_0000) | PRESENT_WRITABLE | LARGE) >>> 0, true);
  return tables;
}
