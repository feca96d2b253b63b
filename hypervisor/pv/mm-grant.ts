// Granted frames in a PV guest's page tables: the hypervisor writes the entry itself, into an L1 table that the guest names by the
// machine address of the entry or by the linear address that it maps (xen/arch/x86/pv/grant_table.c, 4.17).
//
// The references of a grant entry are the grant code's: it takes them before the entry appears and drops them after it is gone. A guest
// that removes such an entry by mmu_update drops them there instead, and can then not unmap the grant properly.

import { GNTMAP_application_map, GNTMAP_contains_pte, GNTMAP_readonly, GNTST_general_error, GNTST_okay } from '@ringworld/abi';
import { PGT_l1_page_table } from '../core/frame-types.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Lin, Maddr, Mfn } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { guestL1Entry } from './mm-walk.ts';
import { _PAGE_ACCESSED, _PAGE_DIRTY, _PAGE_PRESENT, _PAGE_RW, _PAGE_USER, entryFrame } from './page-table-entries.ts';
import { pageTablesOf } from './page-tables.ts';

/** _GNTMAP_guest_avail0: three bits of flags that become the entry's available bits. */
const GUEST_AVAIL_SHIFT = 16;
const PTE_AVAIL_SHIFT = 9;

/** The L1 entry that a grant operation names, or -1 when it is not in a validated L1 table of the guest's. */
function entryOf(hv: Hypervisor, vcpu: Vcpu, address: number, flags: number): Maddr | -1 {
  const { frames } = hv;
  let at: Maddr | -1;
  if (flags & GNTMAP_contains_pte) at = address % 8 === 0 && address >= 0 && address < hv.ram.size ? (address as Maddr) : -1;
  else at = guestL1Entry(pageTablesOf(frames), vcpu, address as Lin);
  if (at === -1) return -1;
  const table = Math.floor(at / 4096) as Mfn;
  if (frames.owner[table] !== vcpu.domain.id || frames.type[table] !== PGT_l1_page_table) return -1;
  return frames.typeCount[table] !== 0 && frames.isValidated(table) ? at : -1;
}

/** create_grant_pv_mapping(). */
export function createPvMapping(hv: Hypervisor, vcpu: Vcpu, address: number, mfn: Mfn, flags: number): number {
  const { ram } = hv;
  const at = entryOf(hv, vcpu, address, flags);
  if (at === -1) return GNTST_general_error;
  let lo = (mfn << 12) | _PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_DIRTY;
  if (flags & GNTMAP_application_map) lo |= _PAGE_USER;
  if (!(flags & GNTMAP_readonly)) lo |= _PAGE_RW;
  lo |= ((flags >>> GUEST_AVAIL_SHIFT) & 7) << PTE_AVAIL_SHIFT;
  const oldLo = ram.read32(at);
  const oldHi = ram.read32((at + 4) as Maddr);
  const pt = pageTablesOf(hv.frames);
  pt.writeL1(at, lo, 0, vcpu.domain);
  if (oldLo & _PAGE_PRESENT) pt.putFromL1e(oldLo, oldHi, vcpu.domain);
  return GNTST_okay;
}

/** replace_grant_pv_mapping(): the entry becomes empty, or what maps `newAddress`, whose own entry becomes empty. */
export function replacePvMapping(hv: Hypervisor, vcpu: Vcpu, address: number, mfn: Mfn, newAddress: number, flags: number): number {
  const { ram } = hv;
  const contains = (flags & GNTMAP_contains_pte) !== 0;
  if (contains && newAddress !== 0) return GNTST_general_error;
  const at = entryOf(hv, vcpu, address, flags);
  if (at === -1) return GNTST_general_error;
  // The entry must be what the grant made: a writable one for a writable grant, or the counts would go astray.
  const old = ram.read32(at);
  const expected = flags & GNTMAP_readonly ? _PAGE_PRESENT : _PAGE_PRESENT | _PAGE_RW;
  if (entryFrame(old, ram.read32((at + 4) as Maddr)) !== mfn || (old & (_PAGE_PRESENT | _PAGE_RW)) !== expected) return GNTST_general_error;
  let lo = 0;
  let hi = 0;
  if (newAddress !== 0) {
    const from = entryOf(hv, vcpu, newAddress, 0);
    if (from === -1) return GNTST_general_error;
    lo = ram.read32(from);
    hi = ram.read32((from + 4) as Maddr);
    ram.write32(from, 0);
    ram.write32((from + 4) as Maddr, 0);
  }
  ram.write32(at, lo);
  ram.write32((at + 4) as Maddr, hi);
  hv.frames.tableGeneration++;
  return GNTST_okay;
}
