// Finding the L1 entry that maps an address of a PV guest, in the tables that its vCPU runs on (map_guest_l1e, guest_get_eff_l1e).

import { INVALID_MFN, type Lin, type Maddr } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { _PAGE_PRESENT, _PAGE_PSE, entryFrame } from './page-table-entries.ts';
import type { PageTables } from './page-tables.ts';

/** HYPERVISOR_VIRT_END: 0xffff880000000000 as a signed address. */
const HYPERVISOR_VIRT_END = -0x7800_0000_0000;

/** __addr_ok(): not in the hypervisor's area of a 64-bit address space. Non-canonical addresses fail too. */
export const isGuestAddress = (lin: number): boolean => (lin >= 0 && lin < 0x8000_0000_0000) || (lin >= HYPERVISOR_VIRT_END && lin < 0);

/** Machine address of the L1 entry for `lin`, or -1 when an upper level is absent or maps a large page. */
export function guestL1Entry(pt: PageTables, vcpu: Vcpu, lin: Lin): Maddr | -1 {
  const { pv, domain } = vcpu;
  if (!isGuestAddress(lin)) return -1;
  // The hypervisor reads through its linear mapping of whatever tables are loaded: kernel's or user's.
  const root = domain.is32bit || pv.kernelMode ? pv.guestTable : pv.guestTableUser;
  if (root === INVALID_MFN) return -1;
  let table: number = root;
  if (!domain.is32bit) {
    table = next(pt, table, Math.floor(lin / 0x80_0000_0000) & 511);
    if (table === -1) return -1;
  }
  table = next(pt, table, Math.floor(lin / 0x4000_0000) & (domain.is32bit ? 3 : 511));
  if (table === -1) return -1;
  const low = lin & 0x3fff_ffff;
  table = next(pt, table, low >>> 21);
  if (table === -1) return -1;
  return (table * 4096 + ((low >>> 12) & 511) * 8) as Maddr;
}

function next(pt: PageTables, table: number, index: number): number {
  const lo = pt.lo(table, index);
  if ((lo & (_PAGE_PRESENT | _PAGE_PSE)) !== _PAGE_PRESENT) return -1;
  const mfn = entryFrame(lo, pt.hi(table, index));
  return pt.frames.isValid(mfn) ? mfn : -1;
}
