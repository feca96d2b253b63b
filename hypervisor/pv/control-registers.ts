// CR0, CR4 and EFER under a PV guest: what the hardware has and what the guest is told (pv_make_cr4, pv_fixup_guest_cr4,
// xen/arch/x86/pv/domain.c; PV_CR4_* masks, xen/arch/x86/include/asm/domain.h).

import type { Vcpu } from '../core/vcpu.ts';
import { CR4 } from '../machine/system/bits.ts';

/** PE MP ET NE WP AM PG: what Xen runs with. A guest may change TS only. */
export const XEN_CR0 = 0x8005_0033;
/** mmu_cr4_features less PGE, which Xen clears for guests that run with XPTI (its default for Skylake), as do we. */
const XEN_CR4 = CR4.PAE | CR4.MCE | CR4.OSFXSR | CR4.OSXMMEXCPT;
/** PV_CR4_GUEST_MASK: bits that are the guest's to choose. */
const GUEST_CHOICE = CR4.TSD | CR4.DE | CR4.FSGSBASE | CR4.OSXSAVE;
/** PV_CR4_GUEST_VISIBLE_MASK: Xen's own that a guest sees. */
const GUEST_VISIBLE = CR4.PAE | CR4.MCE | CR4.OSFXSR | CR4.OSXMMEXCPT;
/** SCE LME LMA NXE. */
export const XEN_EFER = 0xd01;

/** pv_fixup_guest_cr4(): what becomes of a value that the guest writes. Choices without the CPUID feature are dropped. */
export function fixupGuestCr4(features: ReadonlySet<string>, cr4: number): number {
  let choice = GUEST_CHOICE;
  if (!features.has('tsc')) choice &= ~CR4.TSD;
  if (!features.has('de')) choice &= ~CR4.DE;
  if (!features.has('fsgsbase')) choice &= ~CR4.FSGSBASE;
  if (!features.has('xsave')) choice &= ~CR4.OSXSAVE;
  return ((cr4 & choice) | (XEN_CR4 & GUEST_VISIBLE)) >>> 0;
}

/** pv_make_cr4(): the real CR4 while the guest runs. Xen keeps OSXSAVE on wherever the CPU has XSAVE. */
export function realCr4(vcpu: Vcpu, features: ReadonlySet<string>): number {
  const guest = Number(vcpu.pv.ctrlreg[4]! & 0xffff_ffffn);
  let cr4 = XEN_CR4 | (guest & CR4.TSD);
  if (features.has('xsave')) cr4 |= CR4.OSXSAVE;
  // RDFSBASE and its like must not work behind the back of a kernel that did not ask for them.
  if (features.has('fsgsbase') && (vcpu.domain.is32bit || guest & CR4.FSGSBASE)) cr4 |= CR4.FSGSBASE;
  return cr4;
}
