// The p2m as the processor walks it: EPT or nested page tables, real tables in machine memory, filled in as the guest touches its memory
// and emptied where the p2m changes (xen/arch/x86/mm/p2m-ept.c, p2m-pt.c; SDM Vol 3C, 28.3.2; APM Vol 2, 15.25).

import type { FrameTable } from '../core/frame-table.ts';
import { type Gfn, INVALID_MFN, type Mfn } from '../core/ids.ts';
import { P2M_TYPES, type P2m } from '../core/p2m.ts';

/** How the entries of one kind of table look: low half, given a frame; the high half holds nothing but what `noExecute` says. */
export interface NestedFormat {
  readonly levels: 4;
  table(mfn: Mfn): number;
  leaf(mfn: Mfn, isWritable: boolean, isLarge: boolean): number;
  isPresent(lo: number): boolean;
  isLarge(lo: number): boolean;
}

/** Read, write, execute; write-back memory; bit 7 for a large page (SDM Vol 3C, Tables 28-1 to 28-6). */
export const EPT_FORMAT: NestedFormat = {
  levels: 4,
  table: (mfn) => (mfn << 12) | 7,
  leaf: (mfn, isWritable, isLarge) => (mfn << 12) | (6 << 3) | 5 | (isWritable ? 2 : 0) | (isLarge ? 0x80 : 0),
  isPresent: (lo) => (lo & 7) !== 0,
  isLarge: (lo) => (lo & 0x80) !== 0,
};
/** As ordinary page tables; all accesses of a guest are a user's (APM Vol 2, 15.25.5). */
export const NPT_FORMAT: NestedFormat = {
  levels: 4,
  table: (mfn) => (mfn << 12) | 0x27,
  leaf: (mfn, isWritable, isLarge) => (mfn << 12) | 0x65 | (isWritable ? 2 : 0) | (isLarge ? 0x80 : 0),
  isPresent: (lo) => (lo & 1) !== 0,
  isLarge: (lo) => (lo & 0x80) !== 0,
};

const LARGE = 512;
/** Low bits of an entry that say what a leaf may do and are to be the same all over a large page. */
const FLAGS = 0xfff;

export class NestedTables {
  readonly root: Mfn;
  /** Pages mapped by 2 MiB and by 4 KiB, for reports. */
  large = 0;
  small = 0;
  private readonly frames: FrameTable;
  private readonly p2m: P2m;
  private readonly format: NestedFormat;
  private readonly tables: Mfn[] = [];

  /** Throws RangeError when the hypervisor's heap has no frame for the root. */
  constructor(frames: FrameTable, p2m: P2m, format: NestedFormat) {
    this.frames = frames;
    this.p2m = p2m;
    this.format = format;
    this.root = this.allocTable();
    if (this.root === INVALID_MFN) throw new RangeError('no memory for the root of a nested page table');
  }

  /**
   * Enters what the p2m has for a frame, by 2 MiB where all of it is alike. False when the p2m has nothing there, or memory is out:
   * the access is the device model's, or the domain's end.
   */
  fill(gfn: Gfn): boolean {
    const mfn = this.p2m.mfn(gfn);
    if (mfn === INVALID_MFN || !this.isMapped(gfn)) return false;
    if (this.isAlike(gfn)) {
      const table = this.tableFor(gfn, 1);
      if (table === INVALID_MFN) return false;
      const at = this.entryAt(table, gfn, 1);
      const { ram } = this.frames;
      if (!this.format.isPresent(ram.u32[at]!)) {
        ram.u32[at] = this.format.leaf((mfn - (gfn % LARGE)) as Mfn, true, true);
        ram.u32[at + 1] = 0;
        this.large++;
        return true;
      }
      if (this.format.isLarge(ram.u32[at]!)) return true;
    }
    const table = this.tableFor(gfn, 0);
    if (table === INVALID_MFN) return false;
    const at = this.entryAt(table, gfn, 0);
    this.frames.ram.u32[at] = this.format.leaf(mfn, this.p2m.isWritable(gfn), false);
    this.frames.ram.u32[at + 1] = 0;
    this.small++;
    return true;
  }

  /** Empties the entry of a frame, and of all that a large page has with it. Whether there was one: then translations must be dropped. */
  clear(gfn: Gfn): boolean {
    const { ram } = this.frames;
    let table = this.root;
    for (let level = 3; ; level--) {
      const at = this.entryAt(table, gfn, level);
      const lo = ram.u32[at]!;
      if (!this.format.isPresent(lo)) return false;
      if (level === 0 || this.format.isLarge(lo)) {
        ram.u32[at] = 0;
        ram.u32[at + 1] = 0;
        if (level === 0) this.small--;
        else this.large--;
        return true;
      }
      table = (lo >>> 12) as Mfn;
    }
  }

  /** Frames that the tables take. */
  get size(): number {
    return this.tables.length;
  }
  free(): void {
    for (const mfn of this.tables) this.frames.freeXen(mfn);
    this.tables.length = 0;
  }

  private isMapped(gfn: Gfn): boolean {
    const t = this.p2m.type(gfn);
    return t !== P2M_TYPES.invalid && t !== P2M_TYPES.mmio_dm;
  }
  /** Whether 2 MiB around a frame are plain RAM in one run of machine frames, aligned alike. */
  private isAlike(gfn: Gfn): boolean {
    const first = (gfn - (gfn % LARGE)) as Gfn;
    const mfn = this.p2m.mfn(first);
    if (mfn === INVALID_MFN || mfn % LARGE !== 0) return false;
    for (let i = 0; i < LARGE; i++)
      if (this.p2m.mfn((first + i) as Gfn) !== mfn + i || this.p2m.type((first + i) as Gfn) !== P2M_TYPES.ram_rw) return false;
    return true;
  }

  /** Index in u32 of the low half of an entry. Level 0 has pages, 1 large pages. */
  private entryAt(table: Mfn, gfn: Gfn, level: number): number {
    return (this.frames.ram.base + table * 4096 + (Math.floor(gfn / 512 ** level) % 512) * 8) >>> 2;
  }
  /** The table of a level that holds the entry of a frame, made if need be; INVALID_MFN without memory. A large page in the way is taken apart. */
  private tableFor(gfn: Gfn, wanted: number): Mfn {
    const { ram } = this.frames;
    let table = this.root;
    for (let level = 3; level > wanted; level--) {
      const at = this.entryAt(table, gfn, level);
      const lo = ram.u32[at]!;
      if (this.format.isPresent(lo) && !this.format.isLarge(lo)) {
        table = (lo >>> 12) as Mfn;
        continue;
      }
      const next = this.allocTable();
      if (next === INVALID_MFN) return INVALID_MFN;
      if (this.format.isPresent(lo)) this.split(lo, next);
      ram.u32[at] = this.format.table(next);
      ram.u32[at + 1] = 0;
      table = next;
    }
    return table;
  }
  private split(large: number, table: Mfn): void {
    const { ram } = this.frames;
    const at = (ram.base + table * 4096) >>> 2;
    const isWritable = (large & 2) !== 0;
    for (let i = 0; i < LARGE; i++) ram.u32[at + 2 * i] = this.format.leaf((((large & ~FLAGS) >>> 12) + i) as Mfn, isWritable, false);
    this.large--;
    this.small += LARGE;
  }
  private allocTable(): Mfn {
    const mfn = this.frames.allocXen();
    if (mfn === INVALID_MFN) return mfn;
    this.frames.ram.fill((mfn * 4096) as never, 0, 4096);
    this.tables.push(mfn);
    return mfn;
  }
}
