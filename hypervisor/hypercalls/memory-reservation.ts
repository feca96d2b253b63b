// memory_op: growing and shrinking a domain's memory (xen/common/memory.c: increase_reservation, populate_physmap,
// decrease_reservation). The answer is the number of extents done; errors never show, except as a smaller number.

import {
  type Infer,
  XENMEM_decrease_reservation,
  XENMEM_increase_reservation,
  XENMEM_populate_physmap,
  XENMEMF_populate_on_demand,
  xen_memory_reservation,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { type Gfn, INVALID_MFN, type Mfn } from '../core/ids.ts';
import { P2M_TYPES } from '../core/p2m.ts';
import { addPage, clearEntry, isUsableGfn } from '../core/p2m-physmap.ts';
import type { HypercallContext, HypercallResult } from './context.ts';
import { domainByAnyId, mayTarget } from './foreign-domain.ts';

/** MEMOP_EXTENT_SHIFT: the sub-command's upper bits say how many extents an earlier call has done. */
export const MEMOP_EXTENT_SHIFT = 6;

/** domu_max_order and ctldom_max_order (xen/common/memory.c). */
export const maxOrder = (d: Domain): number => (d.isPrivileged ? 18 : 9);

/** XENMEMF_get_address_bits() as a frame limit; 0 bits: none. Null: an impossible width. */
export function frameLimit(c: HypercallContext, memFlags: number): number | null {
  const bits = memFlags & 0xff;
  const machineBits = Math.ceil(Math.log2(c.hv.frames.size)) + 12;
  if (bits === 0 || bits >= machineBits) return c.hv.frames.size;
  return bits <= 12 ? null : 2 ** (bits - 12);
}

/** A frame list in guest memory: unsigned long in the guest's width. -1 on a fault. */
export function readFrame(c: HypercallContext, list: number, i: number): number {
  const { guest } = c;
  if (c.is32bit) return guest.read32(list + i * 4);
  if (!guest.read64(list + i * 8)) return -1;
  return (guest.hi >>> 0) * 0x1_0000_0000 + (guest.lo >>> 0);
}
export function writeFrame(c: HypercallContext, list: number, i: number, frame: number): boolean {
  return c.is32bit ? c.guest.write32(list + i * 4, frame) : c.guest.write64(list + i * 8, frame, 0);
}

export function adjustReservation(c: HypercallContext, op: number, start: number, arg: number): HypercallResult {
  const r = c.guest.readStruct(xen_memory_reservation, arg);
  if (r === null || r.nr_extents > 0xffff_ffff >>> MEMOP_EXTENT_SHIFT || start >= r.nr_extents) return start;
  const d = domainByAnyId(c, r.domid);
  if (d === undefined) return start;
  const below = frameLimit(c, r.mem_flags);
  if (below === null || !mayTarget(c, d.id)) return start;
  if (r.extent_order > maxOrder(c.domain)) return start;
  // Populate-on-demand is for HVM.
  if (op === XENMEM_populate_physmap && r.mem_flags & XENMEMF_populate_on_demand) return start;
  // Extents done so far are kept in the operation's number.
  const end = Math.min(r.nr_extents, start + Math.ceil(c.workLeft / 2 ** r.extent_order));
  c.work += (end - start) * 2 ** r.extent_order;
  const done = adjust(c, d, op, r, start, end, below);
  return done === end && end < r.nr_extents ? c.continueWith(op + end * 2 ** MEMOP_EXTENT_SHIFT, arg) : done;
}

type Reservation = Infer<typeof xen_memory_reservation>;
function adjust(c: HypercallContext, d: Domain, op: number, r: Reservation, start: number, end: number, below: number): number {
  const list = r.extent_start;
  switch (op) {
    case XENMEM_increase_reservation:
      return increase(c, d, list, start, end, r.extent_order, below);
    case XENMEM_decrease_reservation:
      return decrease(c, d, list, start, end, r.extent_order);
    default:
      return populate(c, d, list, start, end, r.extent_order, below);
  }
}

function increase(c: HypercallContext, d: Domain, list: number, start: number, n: number, order: number, below: number): number {
  for (let i = start; i < n; i++) {
    const mfn = c.hv.frames.allocForDomain(d, order, below);
    if (mfn === INVALID_MFN || (list !== 0 && !d.isTranslated && !writeFrame(c, list, i, mfn))) return i;
  }
  return n;
}

function populate(c: HypercallContext, d: Domain, list: number, start: number, n: number, order: number, below: number): number {
  const size = 2 ** order;
  for (let i = start; i < n; i++) {
    const gpfn = readFrame(c, list, i);
    if (gpfn === -1 || (d.isTranslated && !isUsableGfn(gpfn + size - 1))) return i;
    const mfn = c.hv.frames.allocForDomain(d, order, below);
    if (mfn === INVALID_MFN) return i;
    for (let j = 0; j < size; j++) addPage(c.hv, d, gpfn + j, (mfn + j) as Mfn);
    // A PV domain is told which frames it got.
    if (!d.isTranslated && !writeFrame(c, list, i, mfn)) return i;
  }
  return n;
}

function decrease(c: HypercallContext, d: Domain, list: number, start: number, n: number, order: number): number {
  for (let i = start; i < n; i++) {
    const gmfn = readFrame(c, list, i);
    if (gmfn === -1) return i;
    for (let j = 0; j < 2 ** order; j++) if (!removePage(c, d, gmfn + j)) return i;
  }
  return n;
}

/** guest_remove_page(). */
function removePage(c: HypercallContext, d: Domain, gmfn: number): boolean {
  const { frames } = c.hv;
  if (d.isTranslated) return d.p2m.type(gmfn as Gfn) === P2M_TYPES.ram_rw && clearEntry(c.hv, d, gmfn as Gfn, true) === 0;
  if (!frames.getPage(gmfn, d.id)) return false;
  const mfn = gmfn as Mfn;
  // Frames that the hypervisor shares are not the guest's to free.
  const isHeap = frames.isXenHeap(mfn);
  if (!isHeap) frames.putAllocated(mfn);
  frames.putPage(mfn);
  return !isHeap;
}
