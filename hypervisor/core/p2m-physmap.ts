// Changing the p2m of a translated domain, with the references that its entries hold (xen/arch/x86/mm/p2m.c).
//
// An entry of the domain's own frame holds nothing: the frame is the domain's until it is given up. A foreign entry holds a reference
// on the frame. Entries that grants made belong to the grant code (grant-map.ts), which holds and drops its own.

import { XEN_EINVAL, XEN_ENOENT } from '@ringworld/abi';
import type { Domain } from './domain.ts';
import { gfnToMfn } from './guest-frame.ts';
import type { Hypervisor } from './hypervisor.ts';
import { type Gfn, INVALID_MFN, type Mfn } from './ids.ts';
import { P2M_TYPES } from './p2m.ts';

/** Gfns above this are refused: the p2m is an array, and our domains see 36 bits of address space at most. */
const MAX_GFN = 0x100_0000;

export const isUsableGfn = (gfn: number): boolean => gfn >= 0 && gfn < MAX_GFN && Number.isInteger(gfn);

/** Empties an entry; a frame of the domain's own goes back to the heap when `free` says so. */
export function clearEntry(hv: Hypervisor, d: Domain, gfn: Gfn, free: boolean): number {
  const mfn = d.p2m.mfn(gfn);
  if (mfn === INVALID_MFN) return -XEN_ENOENT;
  const type = d.p2m.type(gfn);
  if (type === P2M_TYPES.grant_map_rw || type === P2M_TYPES.grant_map_ro) return -XEN_EINVAL;
  d.p2m.remove(gfn);
  if (type === P2M_TYPES.map_foreign) hv.frames.putPage(mfn);
  else if (!hv.frames.isXenHeap(mfn)) {
    hv.frames.m2p.invalidate(mfn);
    if (free) hv.frames.putAllocated(mfn);
  }
  return 0;
}

/** guest_physmap_add_page(): for a PV domain this only tells the machine-to-physical table. */
export function addPage(hv: Hypervisor, d: Domain, gfn: number, mfn: Mfn): number {
  if (d.isTranslated) {
    if (!isUsableGfn(gfn)) return -XEN_EINVAL;
    clearEntry(hv, d, gfn as Gfn, false);
    d.p2m.set(gfn as Gfn, mfn, P2M_TYPES.ram_rw);
  }
  hv.frames.m2p.set(mfn, gfn % 0x1_0000_0000, Math.floor(gfn / 0x1_0000_0000));
  return 0;
}

/** p2m_add_foreign(): maps a frame of another domain. */
export function addForeign(hv: Hypervisor, d: Domain, gfn: number, from: Domain, fromGfn: number): number {
  if (d === from || !isUsableGfn(gfn)) return -XEN_EINVAL;
  const mfn = gfnToMfn(from, fromGfn);
  if (mfn === INVALID_MFN || !hv.frames.getPage(mfn, from.id)) return -XEN_EINVAL;
  return putForeign(hv, d, gfn as Gfn, mfn);
}

/** Enters a frame whose reference the caller has taken; it is dropped again on failure. */
export function putForeign(hv: Hypervisor, d: Domain, gfn: Gfn, mfn: Mfn): number {
  const rc = clearEntry(hv, d, gfn, true);
  if (rc !== 0 && rc !== -XEN_ENOENT) {
    hv.frames.putPage(mfn);
    return rc;
  }
  d.p2m.set(gfn, mfn, P2M_TYPES.map_foreign);
  return 0;
}

/** A frame of the hypervisor's that is shared with the domain (shared_info, grant table). */
export function addShared(hv: Hypervisor, d: Domain, gfn: number, mfn: Mfn): number {
  if (!isUsableGfn(gfn)) return -XEN_EINVAL;
  const rc = clearEntry(hv, d, gfn as Gfn, true);
  if (rc !== 0 && rc !== -XEN_ENOENT) return rc;
  // A frame appears once in the map: its old place becomes empty.
  const old = hv.frames.m2p.pfn(mfn);
  if (old !== -1 && old < d.p2m.size && d.p2m.mfn(old as Gfn) === mfn) d.p2m.remove(old as Gfn);
  d.p2m.set(gfn as Gfn, mfn, P2M_TYPES.ram_rw);
  hv.frames.m2p.set(mfn, gfn, 0);
  return 0;
}
