// Base pointers: which tables a vCPU runs on, and the references that this holds.
//
// A 64-bit guest has two L4s, for its kernel and for its users. A 32-bit guest has an L3 of four entries, which the hypervisor hangs
// into slot 0 of an L4 of its own, the monitor table: that one is in CR3 (xen/arch/x86/mm.c, new_guest_cr3; pv/domain.c, setup_compat_l4).

import { XEN_EINVAL, XEN_ENOMEM } from '@ringworld/abi';
import { PGT_l3_page_table, PGT_l4_page_table } from '../core/frame-types.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { INVALID_MFN, type Mfn } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { updateCr3 } from './guest-mode.ts';
import { destroyLdt } from './ldt.ts';
import { flushTlbLocal } from './mm-flush.ts';
import { _PAGE_ACCESSED, _PAGE_PRESENT, _PAGE_RW, _PAGE_USER } from './page-table-entries.ts';
import { pageTablesOf } from './page-tables.ts';

const MONITOR_FLAGS = _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED;

/** MMUEXT_NEW_BASEPTR, and what a PV guest's MOV to CR3 comes to. 0 or -XEN_Exxx. */
export function newGuestCr3(hv: Hypervisor, vcpu: Vcpu, mfn: number): number {
  const rc = setGuestTable(hv, vcpu, mfn);
  if (rc !== 0) return rc;
  updateCr3(vcpu, true);
  flushTlbLocal(hv, vcpu);
  return 0;
}

/** Exchanges the kernel's (or a 32-bit guest's only) base table; the CPU is not touched. Also for arch_set_info_guest. */
export function setGuestTable(hv: Hypervisor, vcpu: Vcpu, mfn: number): number {
  const { frames } = hv;
  const { pv, domain } = vcpu;
  const old = pv.guestTable;
  if (old === mfn) return 0;
  const pt = pageTablesOf(frames);
  const rc = frames.getPageAndType(mfn, domain.is32bit ? PGT_l3_page_table : PGT_l4_page_table, domain.id);
  if (rc !== 0) return rc;
  if (domain.is32bit) {
    if (pv.monitorTable === INVALID_MFN) return -XEN_EINVAL;
    pt.write(pv.monitorTable, 0, (mfn << 12) | MONITOR_FLAGS, 0);
  } else if (!pt.isM2pStrict(domain)) pt.setM2pSlot(mfn as Mfn, true);
  // The LDT's address meant something in the old tables only. newGuestCr3 flushes the TLB after this.
  destroyLdt(hv, vcpu);
  pv.guestTable = mfn as Mfn;
  if (old !== INVALID_MFN) frames.putPageAndType(old);
  return 0;
}

/** MMUEXT_NEW_USER_BASEPTR: 0 takes the user tables away. */
export function setGuestTableUser(hv: Hypervisor, vcpu: Vcpu, mfn: number): number {
  const { frames } = hv;
  const { pv, domain } = vcpu;
  const old = pv.guestTableUser;
  if (mfn === 0 ? old === INVALID_MFN : old === mfn) return 0;
  if (mfn !== 0) {
    const rc = frames.getPageAndType(mfn, PGT_l4_page_table, domain.id);
    if (rc !== 0) return rc;
    const pt = pageTablesOf(frames);
    if (pt.isM2pStrict(domain)) pt.setM2pSlot(mfn as Mfn, false);
  }
  pv.guestTableUser = mfn === 0 ? INVALID_MFN : (mfn as Mfn);
  if (old !== INVALID_MFN) frames.putPageAndType(old);
  return 0;
}

/** setup_compat_l4(): the monitor table of a vCPU of a 32-bit guest. */
export function createMonitorTable(hv: Hypervisor, vcpu: Vcpu): number {
  const { frames } = hv;
  const mfn = frames.allocXen();
  if (mfn === INVALID_MFN) return -XEN_ENOMEM;
  pageTablesOf(frames).initXenL4Slots(mfn, vcpu.domain, false);
  vcpu.pv.monitorTable = mfn;
  return 0;
}

/** vcpu_destroy_pagetables(): the vCPU lets go of its tables. It must not run any more. */
export function destroyVcpuPageTables(hv: Hypervisor, vcpu: Vcpu): void {
  const { frames } = hv;
  const { pv } = vcpu;
  const { guestTable, guestTableUser, monitorTable } = pv;
  pv.guestTable = INVALID_MFN;
  pv.guestTableUser = INVALID_MFN;
  pv.monitorTable = INVALID_MFN;
  if (monitorTable !== INVALID_MFN) frames.freeXen(monitorTable);
  if (guestTable !== INVALID_MFN) frames.putPageAndType(guestTable);
  if (guestTableUser !== INVALID_MFN) frames.putPageAndType(guestTableUser);
}
