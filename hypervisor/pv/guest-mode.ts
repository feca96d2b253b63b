// The two modes of a PV guest, its kernel and its users, which the hardware cannot tell apart in a 64-bit guest: both run in ring 3, on
// two sets of page tables and two GS bases. The hypervisor remembers which one is on (TF_kernel_mode) and swaps both on the way across.
// A 32-bit guest's kernel has ring 1 to itself, and one set of tables. Source: xen/arch/x86/pv/domain.c.

import type { Vcpu } from '../core/vcpu.ts';
import { CS, GS, STATE } from '../machine/state.ts';

/** guest_kernel_mode(): is the guest's kernel running? */
export function isGuestKernel(vcpu: Vcpu): boolean {
  return vcpu.domain.is32bit ? (vcpu.regs.selector(CS) & 3) === 1 : vcpu.pv.kernelMode;
}

/** The value that the CPU's CR3 has for the mode that is on: L4 of the mode, or the monitor table of a 32-bit guest. */
export function realCr3(vcpu: Vcpu): number {
  const { pv } = vcpu;
  const table = vcpu.domain.is32bit ? pv.monitorTable : pv.kernelMode ? pv.guestTable : pv.guestTableUser;
  return table * 4096;
}

/** Loads CR3 for the mode that is on; `keep` as in Cpu.loadCr3. */
export function updateCr3(vcpu: Vcpu, keep: boolean): void {
  const cr3 = realCr3(vcpu);
  if (vcpu.cpu) vcpu.cpu.loadCr3(cr3, keep);
  else vcpu.context.setLin(STATE.cr3, cr3);
}

/** toggle_guest_mode(): the other mode's page tables and GS base. 64-bit guests only. */
export function toggleGuestMode(vcpu: Vcpu): void {
  const { regs } = vcpu;
  const at = STATE.seg + GS * 16 + 8;
  const lo = regs.lo(at);
  const hi = regs.hi(at);
  regs.setHalves(at, regs.lo(STATE.kernelGsBase), regs.hi(STATE.kernelGsBase));
  regs.setHalves(STATE.kernelGsBase, lo, hi);
  vcpu.pv.kernelMode = !vcpu.pv.kernelMode;
  // Entries of the mode that is entered stay good: the guest flushes both sets when it asks for a flush.
  updateCr3(vcpu, true);
}
