// Segment selectors as PV guests meet them: the flat descriptors that the hypervisor keeps at the end of every guest GDT, and the rules
// by which a selector that a guest gives is kept out of ring 0 (xen/arch/x86/include/asm/desc.h).

import { FIRST_RESERVED_GDT_BYTE, FIRST_RESERVED_GDT_ENTRY, FIRST_RESERVED_GDT_PAGE, xen_x86_32, xen_x86_64 } from '@ringworld/abi';

export { FIRST_RESERVED_GDT_BYTE, FIRST_RESERVED_GDT_ENTRY, FIRST_RESERVED_GDT_PAGE };
/** LAST_RESERVED_GDT_BYTE: the limit that GDTR has while any PV guest runs. */
export const LAST_RESERVED_GDT_BYTE = FIRST_RESERVED_GDT_BYTE + 4096 - 1;

/** A 64-bit guest's kernel and users share them: both run in ring 3. */
export const { FLAT_KERNEL_CS, FLAT_KERNEL_SS, FLAT_USER_CS32, FLAT_USER_SS } = xen_x86_64;
/** What a 32-bit guest calls FLAT_KERNEL_* and FLAT_USER_*. */
export const FLAT_COMPAT_KERNEL_CS = xen_x86_32.FLAT_KERNEL_CS;
export const FLAT_COMPAT_USER_SS = xen_x86_32.FLAT_USER_SS;

/** GUEST_KERNEL_RPL: the ring that a guest kernel runs in. */
export const guestKernelRpl = (is32bit: boolean): number => (is32bit ? 1 : 3);

/** fixup_guest_{code,stack}_selector: an RPL more privileged than the guest kernel's is raised to it. */
export function fixupSelector(is32bit: boolean, selector: number): number {
  const rpl = guestKernelRpl(is32bit);
  const s = selector & 0xffff;
  return (s & 3) >= rpl ? s : (s & 0xfffc) | rpl;
}

/** guest_gate_selector_okay: a call gate may lead to the guest's own descriptors or to its flat kernel code segment. */
export function isGateSelectorOkay(is32bit: boolean, selector: number): boolean {
  const s = selector & 0xffff;
  return s >>> 3 < FIRST_RESERVED_GDT_ENTRY || s === (is32bit ? FLAT_COMPAT_KERNEL_CS : FLAT_KERNEL_CS) || (s & 4) !== 0;
}
