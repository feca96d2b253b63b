// What a machine frame may be used for: the page types and reference bits of Xen's frame table (xen/arch/x86/include/asm/mm.h, 4.17).
// The numbers are Xen's, so that dumps of the two can be laid side by side.

import type { Mfn } from '../machine/addresses.ts';

/** PGT_type_mask values. A frame is of one type at a time, and changes type only when its type count is zero. */
export const PGT_none = 0;
export const PGT_l1_page_table = 1;
export const PGT_l2_page_table = 2;
export const PGT_l3_page_table = 3;
export const PGT_l4_page_table = 4;
export const PGT_seg_desc_page = 5;
export const PGT_shared_page = 6;
export const PGT_writable_page = 7;
export const PAGE_TYPE_NAMES = ['none', 'l1', 'l2', 'l3', 'l4', 'seg_desc', 'shared', 'writable'] as const;

/** Bits kept beside the type. */
export const PGT_pinned = 1;
export const PGT_validated = 2;
/** This L2 sits in slot 3 of a PAE guest's L3: its last slots are Xen's. */
export const PGT_pae_xen_l2 = 4;

/** Bits kept beside the reference count. */
export const PGC_allocated = 1;
export const PGC_xen_heap = 2;

/** "No domain" in the owner array; never a domain id (those end at DOMID_MASK, 0x7fff). */
export const NO_OWNER = 0xffff;

/** What the frame table must know of a domain: core/domain.ts fits. The page counts and the list are the frame table's to change. */
export interface PageOwner {
  readonly id: number;
  /** A 32-bit PAE guest: three guest levels, L1..L3, under an L4 of Xen's. */
  readonly is32bit: boolean;
  /** Has a p2m of its own (dom0 of ours, HVM): no PV page tables. */
  readonly isTranslated: boolean;
  readonly isDying: boolean;
  totPages: number;
  maxPages: number;
  /** In order of allocation. Frames shared by the hypervisor (shared_info, grant frames) are not in it. */
  readonly pageList: Set<Mfn>;
  /** May PTEs of this domain map the I/O frame? Absent: never. */
  ioMemPermitted?(mfn: number): boolean;
}

/** Validation of page tables and descriptor pages when their type count leaves or reaches zero: pv/page-tables.ts. */
export interface PageTypeValidator {
  /** 0 or -XEN_Exxx, with every reference that was taken given back. */
  validate(mfn: Mfn, type: number, pae: number): number;
  devalidate(mfn: Mfn, type: number): void;
}
