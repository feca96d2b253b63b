// Changing one entry of a page table in use: mod_l1_entry() to mod_l4_entry() of xen/arch/x86/mm.c (4.17).
//
// Order matters: the references of the new entry are taken first, then the entry is written, then those of the old one are dropped;
// so an entry may be replaced by one that needs the same frame. Entries that differ only in harmless flags skip all counting.

import { MMU_PT_UPDATE_NO_TRANSLATE, MMU_PT_UPDATE_PRESERVE_AD, XEN_EINVAL, XEN_EPERM } from '@ringworld/abi';
import {
  type PageOwner,
  PGT_l1_page_table,
  PGT_l2_page_table,
  PGT_l3_page_table,
  PGT_l4_page_table,
  PGT_pae_xen_l2,
  PGT_writable_page,
} from '../core/frame-types.ts';
import type { Maddr, Mfn } from '../machine/addresses.ts';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_PRESENT,
  _PAGE_RW,
  _PAGE_USER,
  entryFrame,
  L1_DISALLOW,
  L2_DISALLOW,
  L3_COMPAT_DISALLOW_HI,
  SLOW_HI,
  SLOW_LO,
} from './page-table-entries.ts';
import type { PageTables } from './page-tables.ts';

const AD = _PAGE_ACCESSED | _PAGE_DIRTY;

/** `at` lies in an L1 table of `owner` whose type is held; the entry maps frames of domain `pgOwner`. 0 or -XEN_Exxx. */
export function modL1Entry(
  pt: PageTables,
  at: Maddr,
  newLo: number,
  newHi: number,
  cmd: number,
  owner: PageOwner,
  pgOwner: number,
): number {
  const { ram, frames } = pt;
  const oldLo = ram.read32(at);
  const oldHi = ram.read32((at + 4) as Maddr);
  const keep = cmd === MMU_PT_UPDATE_PRESERVE_AD ? oldLo & AD : 0;
  if (!(newLo & _PAGE_PRESENT)) {
    pt.writeL1(at, newLo | keep, newHi, owner);
    if (oldLo & _PAGE_PRESENT) pt.putFromL1e(oldLo, oldHi, owner);
    return 0;
  }
  let lo = newLo;
  let hi = newHi;
  if (pgOwner !== owner.id && cmd !== MMU_PT_UPDATE_NO_TRANSLATE) {
    const gfnOwner = frames.domain(pgOwner);
    if (gfnOwner?.isTranslated) {
      const mfn = pt.translateGfn(gfnOwner, entryFrame(lo, hi), (lo & _PAGE_RW) !== 0);
      if (mfn === -1) return -XEN_EINVAL;
      lo = (lo & 0xfff) | (mfn << 12);
      hi = hi & ~SLOW_HI;
    }
  }
  if (!((oldLo ^ lo) & SLOW_LO) && !((oldHi ^ hi) & SLOW_HI)) {
    if (lo & L1_DISALLOW && owner.ioMemPermitted === undefined) return -XEN_EINVAL;
    pt.writeL1(at, lo | keep, hi, owner);
    return 0;
  }
  const rc = pt.getFromL1e(lo, hi, owner, pgOwner);
  if (rc < 0) return rc;
  pt.writeL1(at, (lo ^ rc) | keep, hi, owner);
  if (oldLo & _PAGE_PRESENT) pt.putFromL1e(oldLo, oldHi, owner);
  return 0;
}

/** An entry of an L2, L3 or L4 (by `type`) of `owner`. */
function modTableEntry(pt: PageTables, at: Maddr, newLo: number, newHi: number, preserveAd: boolean, type: number, d: PageOwner): number {
  const { ram } = pt;
  const table = (at >>> 12) as Mfn;
  const slot = (at >>> 3) & 511;
  if (type === PGT_l2_page_table && !pt.isGuestL2Slot(slot, pt.frames.typeFlags[table]! & PGT_pae_xen_l2)) return -XEN_EPERM;
  // Slot 3 of a PAE L3 holds the hypervisor's mappings, which must stay valid throughout.
  if (type === PGT_l3_page_table && d.is32bit && slot >= 3) return -XEN_EINVAL;
  if (type === PGT_l4_page_table && !pt.isGuestL4Slot(slot)) return -XEN_EINVAL;

  const oldLo = ram.read32(at);
  const oldHi = ram.read32((at + 4) as Maddr);
  if (oldLo & _PAGE_PRESENT) pt.frames.tableGeneration++;
  let lo = preserveAd ? newLo | (oldLo & AD) : newLo;
  if (lo & _PAGE_PRESENT) {
    if (lo & L2_DISALLOW || (type === PGT_l3_page_table && d.is32bit && newHi & L3_COMPAT_DISALLOW_HI)) return -XEN_EINVAL;
    const needsCheck = (oldLo ^ lo) & SLOW_LO || (oldHi ^ newHi) & SLOW_HI;
    if (needsCheck) {
      const rc =
        type === PGT_l2_page_table
          ? pt.getFromL2e(lo, newHi, table, d)
          : type === PGT_l3_page_table
            ? pt.getFromL3e(lo, newHi, table, d)
            : pt.getFromL4e(lo, newHi, table, d);
      if (rc < 0) return rc;
    }
    if (!d.is32bit) lo |= _PAGE_USER;
    else if (type === PGT_l3_page_table) lo |= _PAGE_USER | _PAGE_RW;
    ram.write32(at, lo);
    ram.write32((at + 4) as Maddr, newHi);
    if (!needsCheck) return 0;
  } else {
    ram.write32(at, lo);
    ram.write32((at + 4) as Maddr, newHi);
  }
  pt.putFromTableEntry(oldLo, oldHi, table);
  return 0;
}

/**
 * One MMU_*_PT_UPDATE: `at` is the machine address of an entry, 8-byte aligned, in a frame of `owner`; what the frame is decides what
 * happens. A frame that is no page table in use is written as plain memory.
 */
export function updateEntry(pt: PageTables, at: Maddr, lo: number, hi: number, cmd: number, owner: PageOwner, pgOwner: number): number {
  const { frames, ram } = pt;
  const mfn = (at >>> 12) as Mfn;
  if (!frames.getPage(mfn, owner.id)) return -XEN_EINVAL;
  let rc = -XEN_EINVAL;
  if (frames.typeCount[mfn] !== 0 && frames.isValidated(mfn)) {
    // As page_lock(): the type must not vanish in the middle of the update.
    frames.typeCount[mfn]!++;
    const type = frames.type[mfn]!;
    if (type === PGT_l1_page_table) rc = modL1Entry(pt, at, lo, hi, cmd, owner, pgOwner);
    else if (type >= PGT_l2_page_table && type <= PGT_l4_page_table) {
      if (pgOwner === owner.id) rc = modTableEntry(pt, at, lo, hi, cmd === MMU_PT_UPDATE_PRESERVE_AD, type, owner);
    } else if (type === PGT_writable_page) {
      ram.write32(at, lo);
      ram.write32((at + 4) as Maddr, hi);
      rc = 0;
    }
    frames.putType(mfn);
  } else if (frames.getType(mfn, PGT_writable_page) === 0) {
    ram.write32(at, lo);
    ram.write32((at + 4) as Maddr, hi);
    rc = 0;
    frames.putType(mfn);
  }
  frames.putPage(mfn);
  return rc;
}
