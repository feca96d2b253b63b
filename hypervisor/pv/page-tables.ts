// Validation of PV page tables: when a frame becomes a page table (promotion) every entry is checked and counted; when its last use as
// one ends (demotion) the counts go back. The rules are those of xen/arch/x86/mm.c of 4.17, function by function.
//
// A guest is trusted with nothing here. What must hold afterwards: a present entry points at a frame of the right type for its level;
// no writable L1 entry maps a page table or descriptor page; the hypervisor's slots hold only what the hypervisor put there.

import { DOMID_IO, XEN_EBUSY, XEN_EINVAL, XEN_EPERM } from '@ringworld/abi';
import type { FrameTable } from '../core/frame-table.ts';
import {
  NO_OWNER,
  type PageOwner,
  type PageTypeValidator,
  PGT_l1_page_table,
  PGT_l2_page_table,
  PGT_l3_page_table,
  PGT_l4_page_table,
  PGT_pae_xen_l2,
  PGT_pinned,
  PGT_seg_desc_page,
  PGT_validated,
  PGT_writable_page,
} from '../core/frame-types.ts';
import { INVALID_MFN } from '../core/ids.ts';
import type { Maddr, Mfn } from '../machine/addresses.ts';
import type { Ram } from '../machine/mmu/ram.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_GLOBAL,
  _PAGE_PCD,
  _PAGE_PRESENT,
  _PAGE_PSE,
  _PAGE_PWT,
  _PAGE_RW,
  _PAGE_USER,
  COMPAT_FIRST_XEN_L2_SLOT,
  entryFrame,
  FIRST_XEN_L4_SLOT,
  HI_GUEST_KERNEL,
  HI_NX,
  L1_DISALLOW,
  L2_DISALLOW,
  L3_COMPAT_DISALLOW_HI,
  LAST_XEN_L4_SLOT,
  PERDOMAIN_L4_SLOT,
} from './page-table-entries.ts';

const ENTRIES = 512;
/** The frame field of INVALID_MFN in an entry: PADDR_MASK >> PAGE_SHIFT. */
const INVALID_FRAME_FIELD = 0xff_ffff_ffff;

export class PageTables implements PageTypeValidator {
  readonly frames: FrameTable;
  readonly ram: Ram;
  /** Checks a page of 512 descriptors before it may serve a GDT or an LDT (pv/check-descriptor.ts); set by pv/. */
  checkDescriptors: (owner: PageOwner, mfn: Mfn) => boolean = () => false;
  /** A mapping of a descriptor page went away: the LDTs of the domain must be read anew (pv_destroy_ldt). */
  dropLdt: (owner: PageOwner) => void = () => {};
  /** The L3 of a domain's private mappings (slot 260), INVALID_MFN for none. */
  perDomainL3: (owner: PageOwner) => Mfn = () => INVALID_MFN;
  /** VMASST_TYPE_m2p_strict: only L4s of the guest kernel carry the machine-to-physical table. */
  isM2pStrict: (owner: PageOwner) => boolean = () => false;

  /** Frame of a translated domain's gfn, or -1: for mappings of its memory by a privileged PV domain. */
  translateGfn: (owner: PageOwner, gfn: number, write: boolean) => number = () => -1;

  constructor(frames: FrameTable) {
    this.frames = frames;
    this.ram = frames.ram;
    frames.validator = this;
  }

  lo(table: number, i: number): number {
    return this.ram.read32((table * 4096 + i * 8) as Maddr);
  }
  hi(table: number, i: number): number {
    return this.ram.read32((table * 4096 + i * 8 + 4) as Maddr);
  }
  write(table: number, i: number, lo: number, hi: number): void {
    if (this.lo(table, i) & _PAGE_PRESENT && (this.lo(table, i) !== lo || this.hi(table, i) !== hi)) this.frames.tableGeneration++;
    this.ram.write32((table * 4096 + i * 8) as Maddr, lo);
    this.ram.write32((table * 4096 + i * 8 + 4) as Maddr, hi);
  }
  private orLo(table: number, i: number, lo: number, bits: number): void {
    if ((lo & bits) !== bits) this.ram.write32((table * 4096 + i * 8) as Maddr, lo | bits);
  }

  // --- PageTypeValidator

  validate(mfn: Mfn, type: number, pae: number): number {
    const d = this.frames.domain(this.frames.owner[mfn]!);
    if (d === undefined) return -XEN_EINVAL;
    switch (type) {
      case PGT_l1_page_table:
        return this.promoteL1(mfn, d);
      case PGT_l2_page_table:
        return this.promoteL2(mfn, d, pae);
      case PGT_l3_page_table:
        return this.promoteL3(mfn, d);
      case PGT_l4_page_table:
        return d.is32bit ? -XEN_EINVAL : this.promoteL4(mfn, d);
      case PGT_seg_desc_page:
        return this.checkDescriptors(d, mfn) ? 0 : -XEN_EINVAL;
      default:
        return -XEN_EINVAL;
    }
  }

  devalidate(mfn: Mfn, type: number): void {
    const d = this.frames.domain(this.frames.owner[mfn]!);
    if (d === undefined) return;
    switch (type) {
      case PGT_l1_page_table:
        for (let i = 0; i < ENTRIES; i++) {
          const lo = this.lo(mfn, i);
          if (lo & _PAGE_PRESENT) this.putFromL1e(lo, this.hi(mfn, i), d);
        }
        break;
      case PGT_l2_page_table:
        this.demoteL2(mfn, this.frames.typeFlags[mfn]! & PGT_pae_xen_l2, ENTRIES);
        break;
      case PGT_l3_page_table:
        this.demoteL3(mfn, d, ENTRIES);
        break;
      case PGT_l4_page_table:
        this.demoteL4(mfn, ENTRIES);
        break;
    }
  }

  // --- L1 entries

  /**
   * get_page_from_l1e(): takes the references that a present entry needs. 0, a negative error, or the low-half flags to flip.
   * l1Owner owns the table; pgOwner is the domain whose frames it is said to map (they differ in foreign mappings only).
   */
  getFromL1e(lo: number, hi: number, l1Owner: PageOwner, pgOwner: number): number {
    const { frames } = this;
    if (lo & L1_DISALLOW && !(l1Owner.ioMemPermitted !== undefined && !(lo & L1_DISALLOW & ~(_PAGE_PWT | _PAGE_PCD | _PAGE_PSE)))) {
      return -XEN_EINVAL;
    }
    const mfn = entryFrame(lo, hi) as Mfn;
    if (mfn >= frames.size || frames.owner[mfn] === DOMID_IO) return this.getIo(lo, mfn, l1Owner, pgOwner);
    const owner = frames.refs[mfn] === 0 ? NO_OWNER : frames.owner[mfn]!;
    if (owner !== pgOwner) return -XEN_EBUSY;
    if (lo & _PAGE_RW && (owner === l1Owner.id || !this.isExternal(owner))) {
      if (frames.getType(mfn, PGT_writable_page) !== 0) return -XEN_EBUSY;
    }
    frames.refs[mfn]!++;
    return 0;
  }

  /** put_page_from_l1e() of a present entry. */
  putFromL1e(lo: number, hi: number, l1Owner: PageOwner): void {
    const { frames } = this;
    const mfn = entryFrame(lo, hi) as Mfn;
    if (mfn >= frames.size) return;
    const owner = frames.owner[mfn]!;
    if (owner === DOMID_IO) return;
    if (lo & _PAGE_RW && (owner === l1Owner.id || !this.isExternal(owner))) {
      frames.putType(mfn);
    } else if (frames.type[mfn] === PGT_seg_desc_page && frames.typeCount[mfn] !== 0 && owner === l1Owner.id) {
      this.dropLdt(l1Owner);
    }
    frames.putPage(mfn);
  }

  /** paging_mode_external(): foreign mappings of such a domain take no type reference. */
  private isExternal(domid: number): boolean {
    return this.frames.domain(domid)?.isTranslated ?? false;
  }

  private getIo(lo: number, mfn: number, l1Owner: PageOwner, pgOwner: number): number {
    const permitted = l1Owner.ioMemPermitted?.(mfn) ?? false;
    if (!permitted || (pgOwner !== DOMID_IO && pgOwner !== l1Owner.id)) return mfn === INVALID_FRAME_FIELD ? -XEN_EINVAL : -XEN_EPERM;
    // MMIO is not mapped cacheable unless that was asked for (opt_mmio_relax is off).
    switch (lo & (_PAGE_PWT | _PAGE_PCD | _PAGE_PSE)) {
      case 0:
        return _PAGE_PWT | _PAGE_PCD;
      case _PAGE_PWT:
        return _PAGE_PCD;
      case _PAGE_PWT | _PAGE_PSE:
        return _PAGE_PCD | _PAGE_PSE;
      default:
        return 0;
    }
  }

  /** Writes an L1 entry with what adjust_guest_l1e() makes of it. */
  writeL1(at: Maddr, lo: number, hi: number, d: PageOwner): void {
    if (this.ram.read32(at) & _PAGE_PRESENT) this.frames.tableGeneration++;
    let l = lo;
    let h = hi;
    if (l & _PAGE_PRESENT && !d.is32bit) {
      if (!(l & _PAGE_USER)) h |= HI_GUEST_KERNEL;
      l |= h & HI_GUEST_KERNEL ? _PAGE_USER : _PAGE_USER | _PAGE_GLOBAL;
    }
    this.ram.write32(at, l);
    this.ram.write32((at + 4) as Maddr, h);
  }

  private promoteL1(mfn: Mfn, d: PageOwner): number {
    for (let i = 0; i < ENTRIES; i++) {
      const lo = this.lo(mfn, i);
      if (!(lo & _PAGE_PRESENT)) continue;
      const hi = this.hi(mfn, i);
      const rc = this.getFromL1e(lo, hi, d, d.id);
      if (rc < 0) {
        while (--i >= 0) if (this.lo(mfn, i) & _PAGE_PRESENT) this.putFromL1e(this.lo(mfn, i), this.hi(mfn, i), d);
        return rc;
      }
      this.writeL1((mfn * 4096 + i * 8) as Maddr, lo ^ rc, hi, d);
    }
    return 0;
  }

  // --- L2 to L4 entries

  getFromL2e(lo: number, hi: number, table: Mfn, d: PageOwner): number {
    if (lo & L2_DISALLOW) return -XEN_EINVAL;
    return this.getTable(lo, hi, table, PGT_l1_page_table, d);
  }
  getFromL3e(lo: number, hi: number, table: Mfn, d: PageOwner): number {
    if (lo & L2_DISALLOW || (d.is32bit && hi & L3_COMPAT_DISALLOW_HI)) return -XEN_EINVAL;
    if (d.is32bit) return this.frames.getPageAndType(entryFrame(lo, hi), PGT_l2_page_table, d.id);
    return this.getTable(lo, hi, table, PGT_l2_page_table, d);
  }
  getFromL4e(lo: number, hi: number, table: Mfn, d: PageOwner): number {
    if (lo & L2_DISALLOW) return -XEN_EINVAL;
    return this.getTable(lo, hi, table, PGT_l3_page_table, d);
  }

  private getTable(lo: number, hi: number, table: Mfn, type: number, d: PageOwner): number {
    const rc = this.frames.getPageAndType(entryFrame(lo, hi), type, d.id);
    if (rc === -XEN_EINVAL && this.getLinear(lo, hi, table, type + 1, d)) return 0;
    return rc;
  }

  /**
   * Tables of one level may map each other (linear page tables): read-only, validated already, and never in chains (XSA-240).
   * An entry that maps its own table needs no count.
   */
  private getLinear(lo: number, hi: number, table: Mfn, type: number, d: PageOwner): boolean {
    const { frames } = this;
    if (lo & _PAGE_RW) return false;
    const mfn = entryFrame(lo, hi) as Mfn;
    if (mfn === table) return true;
    if (frames.owner[table] !== d.id || !frames.getPage(mfn, d.id)) return false;
    const fits =
      frames.linear[table]! >= 0 &&
      frames.linear[table]! < 0x7fff &&
      frames.linear[mfn]! <= 0 &&
      frames.linear[mfn]! > -0x8000 &&
      frames.type[mfn] === type &&
      frames.typeCount[mfn]! > 0 &&
      (frames.typeFlags[mfn]! & PGT_validated) !== 0;
    if (!fits) {
      frames.putPage(mfn);
      return false;
    }
    frames.linear[table]!++;
    frames.linear[mfn]!--;
    frames.typeCount[mfn]!++;
    return true;
  }

  /** put_page_from_l2e() and its fellows; false when there was nothing to put (absent, or the table itself). */
  putFromTableEntry(lo: number, hi: number, table: Mfn): boolean {
    if (!(lo & _PAGE_PRESENT)) return false;
    const mfn = entryFrame(lo, hi) as Mfn;
    if (mfn === table) return false;
    this.frames.putPageAndType(mfn, table);
    return true;
  }

  isGuestL2Slot(i: number, pae: number): boolean {
    return pae === 0 || i < COMPAT_FIRST_XEN_L2_SLOT;
  }
  isGuestL4Slot(i: number): boolean {
    return i < FIRST_XEN_L4_SLOT || i > LAST_XEN_L4_SLOT;
  }

  private promoteL2(mfn: Mfn, d: PageOwner, pae: number): number {
    for (let i = 0; i < ENTRIES; i++) {
      if (!this.isGuestL2Slot(i, pae)) break;
      const lo = this.lo(mfn, i);
      if (!(lo & _PAGE_PRESENT)) continue;
      const rc = this.getFromL2e(lo, this.hi(mfn, i), mfn, d);
      if (rc < 0) {
        this.demoteL2(mfn, pae, i);
        return rc;
      }
      if (!d.is32bit) this.orLo(mfn, i, lo, _PAGE_USER);
    }
    if (pae) this.initXenPaeL2Slots(mfn);
    return 0;
  }

  private initXenPaeL2Slots(mfn: Mfn): void {
    for (let i = COMPAT_FIRST_XEN_L2_SLOT; i < ENTRIES; i++) {
      this.write(mfn, i, this.frames.m2p.compatL2Entry(i - COMPAT_FIRST_XEN_L2_SLOT), 0);
    }
  }

  /** Gives back the references of the entries below `end`. */
  private demoteL2(mfn: Mfn, pae: number, end: number): void {
    for (let i = Math.min(end, pae ? COMPAT_FIRST_XEN_L2_SLOT : ENTRIES); --i >= 0; ) {
      this.putFromTableEntry(this.lo(mfn, i), this.hi(mfn, i), mfn);
    }
  }

  private promoteL3(mfn: Mfn, d: PageOwner): number {
    // The CPU walks all 512 entries under an L4, of which a PAE guest means four.
    if (d.is32bit) this.ram.fill((mfn * 4096 + 32) as Maddr, 0, 4096 - 32);
    for (let i = 0; i < (d.is32bit ? 4 : ENTRIES); i++) {
      const lo = this.lo(mfn, i);
      const hi = this.hi(mfn, i);
      let rc = 0;
      if (d.is32bit && i === 3) rc = this.getPaeSlot3(lo, hi, d);
      else if (!(lo & _PAGE_PRESENT)) continue;
      else rc = this.getFromL3e(lo, hi, mfn, d);
      if (rc < 0) {
        this.demoteL3(mfn, d, i);
        return rc;
      }
      this.orLo(mfn, i, lo, d.is32bit ? _PAGE_USER | _PAGE_RW : _PAGE_USER);
    }
    return 0;
  }

  /** The L2 with the hypervisor's slots must exist and belong to this L3 alone (pae_xen_mappings_check). */
  private getPaeSlot3(lo: number, hi: number, d: PageOwner): number {
    if (!(lo & _PAGE_PRESENT) || lo & L2_DISALLOW || hi & L3_COMPAT_DISALLOW_HI) return -XEN_EINVAL;
    const mfn = entryFrame(lo, hi) as Mfn;
    const rc = this.frames.getPageAndType(mfn, PGT_l2_page_table, d.id, PGT_pae_xen_l2);
    if (rc !== 0) return rc;
    if (this.frames.typeCount[mfn] === 1) return 0;
    this.frames.putPageAndType(mfn);
    return -XEN_EINVAL;
  }

  private demoteL3(mfn: Mfn, d: PageOwner, end: number): void {
    for (let i = end; --i >= 0; ) {
      const lo = this.lo(mfn, i);
      if (!this.putFromTableEntry(lo, this.hi(mfn, i), mfn) || !d.is32bit) continue;
      this.ram.write32((mfn * 4096 + i * 8) as Maddr, lo & ~(_PAGE_USER | _PAGE_RW | _PAGE_ACCESSED));
    }
  }

  private promoteL4(mfn: Mfn, d: PageOwner): number {
    for (let i = 0; i < ENTRIES; i++) {
      if (!this.isGuestL4Slot(i)) continue;
      const lo = this.lo(mfn, i);
      if (!(lo & _PAGE_PRESENT)) continue;
      const rc = this.getFromL4e(lo, this.hi(mfn, i), mfn, d);
      if (rc < 0) {
        this.demoteL4(mfn, i);
        return rc;
      }
      this.orLo(mfn, i, lo, _PAGE_USER);
    }
    this.initXenL4Slots(mfn, d, this.isM2pStrict(d));
    return 0;
  }

  private demoteL4(mfn: Mfn, end: number): void {
    for (let i = end; --i >= 0; ) {
      if (this.isGuestL4Slot(i)) this.putFromTableEntry(this.lo(mfn, i), this.hi(mfn, i), mfn);
    }
  }

  /** Writes all of the hypervisor's slots, so that nothing of the guest's stays there (init_xen_l4_slots). */
  initXenL4Slots(mfn: Mfn, d: PageOwner | null, withM2p: boolean): void {
    for (let i = FIRST_XEN_L4_SLOT; i <= LAST_XEN_L4_SLOT; i++) this.write(mfn, i, 0, 0);
    if (withM2p) this.write(mfn, FIRST_XEN_L4_SLOT, this.frames.m2p.l4Entry, 0);
    const perDomain = d === null ? INVALID_MFN : this.perDomainL3(d);
    if (perDomain !== INVALID_MFN) {
      this.write(mfn, PERDOMAIN_L4_SLOT, (perDomain << 12) | _PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED, HI_NX);
    }
  }
  /** fill_ro_mpt(), zap_ro_mpt(). */
  setM2pSlot(mfn: Mfn, present: boolean): void {
    this.write(mfn, FIRST_XEN_L4_SLOT, present ? this.frames.m2p.l4Entry : 0, 0);
  }

  // --- pins

  /** MMUEXT_PIN_Ln_TABLE. */
  pin(mfn: number, type: number, domid: number): number {
    const { frames } = this;
    const rc = frames.getPageAndType(mfn, type, domid);
    if (rc !== 0) return rc;
    if (frames.typeFlags[mfn]! & PGT_pinned) {
      frames.putPageAndType(mfn as Mfn);
      return -XEN_EINVAL;
    }
    frames.typeFlags[mfn] = frames.typeFlags[mfn]! | PGT_pinned;
    return 0;
  }
  /** MMUEXT_UNPIN_TABLE. */
  unpin(mfn: number, domid: number): number {
    const { frames } = this;
    if (!frames.getPage(mfn, domid)) return -XEN_EINVAL;
    const wasPinned = frames.typeFlags[mfn]! & PGT_pinned;
    if (wasPinned) {
      frames.typeFlags[mfn] = frames.typeFlags[mfn]! & ~PGT_pinned;
      frames.putPageAndType(mfn as Mfn);
    }
    frames.putPage(mfn as Mfn);
    return wasPinned ? 0 : -XEN_EINVAL;
  }
}

/** The page-table rules of a frame table; made on first use. */
export const pageTablesOf = (frames: FrameTable): PageTables =>
  frames.validator instanceof PageTables ? frames.validator : new PageTables(frames);
