// The machine-to-physical table: one entry per machine frame with the guest's own number for it, readable by every PV guest.
//
// Kept in machine memory in both widths, since guests read it with plain loads: 8-byte entries at MACH2PHYS_VIRT_START for 64-bit
// guests (slot 256 of their L4), 4-byte entries at MACH2PHYS_COMPAT_VIRT_START for 32-bit ones (the last slots of the L2 in L3 slot 3).
// The page tables that map it are the hypervisor's, made once and shared by all guests (xen/arch/x86/x86_64/mm.c, paging_init).

import type { Maddr, Mfn } from '../machine/addresses.ts';
import type { FrameTable } from './frame-table.ts';
import { NO_OWNER, PGC_allocated, PGC_xen_heap, PGT_validated } from './frame-types.ts';
import { INVALID_MFN } from './ids.ts';

const PRESENT = 0x01;
const RW = 0x02;
const USER = 0x04;
const ACCESSED = 0x20;
/** Readable from ring 3; the intermediate levels carry the same bits plus RW, which the leaf withholds. */
const LEAF = PRESENT | USER | ACCESSED;
const TABLE = PRESENT | RW | USER | ACCESSED;

/** Frames from which the table is padded to whole 2 MiB extents, which machphys_mfn_list hands out. */
const LARGE_MACHINE = 0x8000;

export class MachPhys {
  private readonly frames: FrameTable;
  /** First frame of the 8-byte and of the 4-byte table. */
  readonly native: Mfn;
  readonly compat: Mfn;
  readonly nativePages: number;
  readonly compatPages: number;
  /** The L3 that slot 256 of every 64-bit guest's L4 points to. */
  readonly l3: Mfn;
  /** L1 tables of the compat table, one per L2 slot. */
  readonly compatL1: Mfn[];

  constructor(frames: FrameTable) {
    this.frames = frames;
    const round = frames.size >= LARGE_MACHINE ? 512 : 1;
    this.nativePages = Math.ceil(Math.ceil((frames.size * 8) / 4096) / round) * round;
    this.compatPages = Math.ceil(Math.ceil((frames.size * 4) / 4096) / round) * round;
    this.native = this.allocTable(this.nativePages);
    this.compat = this.allocTable(this.compatPages);
    const nativeL1 = this.mapTable(this.native, this.nativePages);
    this.compatL1 = this.mapTable(this.compat, this.compatPages);
    const l2 = frames.allocXen();
    nativeL1.forEach((l1, i) => {
      this.writeEntry(l2, i, l1, TABLE);
    });
    this.l3 = frames.allocXen();
    this.writeEntry(this.l3, 0, l2, TABLE);
  }

  /** set_gpfn_from_mfn(): the low 32 bits go to the compat table too. */
  set(mfn: Mfn, pfnLo: number, pfnHi: number): void {
    const { ram } = this.frames;
    const at = this.native * 4096 + mfn * 8;
    ram.write32(at as Maddr, pfnLo);
    ram.write32((at + 4) as Maddr, pfnHi);
    ram.write32((this.compat * 4096 + mfn * 4) as Maddr, pfnLo);
  }
  invalidate(mfn: Mfn): void {
    this.set(mfn, 0xffff_ffff, 0xffff_ffff);
  }
  /** The guest's number of a frame, or -1 (INVALID_M2P_ENTRY). */
  pfn(mfn: Mfn): number {
    const { ram } = this.frames;
    const at = this.native * 4096 + mfn * 8;
    const hi = ram.read32((at + 4) as Maddr);
    return hi & 0x8000_0000 ? -1 : hi * 0x1_0000_0000 + ram.read32(at as Maddr);
  }

  /** Slot 256 of a 64-bit guest's L4: low half of the entry (the high half is zero, machine memory ends below 4 GiB). */
  get l4Entry(): number {
    return (this.l3 << 12) | TABLE;
  }
  /** Entry for slot i (from the first Xen slot on) of the L2 that a compat guest has in L3 slot 3; 0 past the table's end. */
  compatL2Entry(i: number): number {
    const l1 = this.compatL1[i];
    return l1 === undefined ? 0 : (l1 << 12) | TABLE;
  }

  /** Frames of DOMID_XEN, as allocXen() makes them, and shared read-only: privileged domains may map them (XENMEM_machphys_mfn_list). */
  private allocTable(pages: number): Mfn {
    const order = Math.ceil(Math.log2(pages));
    const mfn = this.frames.allocXen(order);
    if (mfn === INVALID_MFN) throw new RangeError(`no room for a machine-to-physical table of ${pages} pages`);
    const { ram, owner } = this.frames;
    for (let i = (1 << order) - 1; i >= pages; i--) {
      owner[mfn + i] = NO_OWNER;
      this.frames.heap.free(mfn + i);
    }
    ram.fill((mfn * 4096) as Maddr, 0xff, pages * 4096);
    for (let i = 0; i < pages; i++) {
      const f = mfn + i;
      this.frames.refs[f] = 1;
      this.frames.refFlags[f] = PGC_allocated | PGC_xen_heap;
      this.frames.typeFlags[f] = PGT_validated;
      this.frames.typeCount[f] = 1;
    }
    return mfn;
  }

  private mapTable(first: Mfn, pages: number): Mfn[] {
    const tables: Mfn[] = [];
    for (let done = 0; done < pages; done += 512) {
      const l1 = this.frames.allocXen();
      for (let i = 0; i < Math.min(512, pages - done); i++) this.writeEntry(l1, i, (first + done + i) as Mfn, LEAF);
      tables.push(l1);
    }
    return tables;
  }

  private writeEntry(table: Mfn, index: number, mfn: Mfn, flags: number): void {
    this.frames.ram.write32((table * 4096 + index * 8) as Maddr, (mfn << 12) | flags);
    this.frames.ram.write32((table * 4096 + index * 8 + 4) as Maddr, 0x8000_0000);
  }
}
