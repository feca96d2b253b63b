// Segment selectors as PV guests meet them: the flat descriptors that the hypervisor keeps at the end of every guest GDT, and the rules
// by which a selector that a guest gives is kept out of ring 0 (xen/arch/x86/include/asm/desc.h).

/** Entries from here on are the hypervisor's: page 14 of the GDT (public/arch-x86/xen.h). */
export const FIRST_RESERVED_GDT_PAGE = 14;
export const FIRST_RESERVED_GDT_BYTE = FIRST_RESERVED_GDT_PAGE * 4096;
export const FIRST_RESERVED_GDT_ENTRY = FIRST_RESERVED_GDT_BYTE / 8;
/** LAST_RESERVED_GDT_BYTE: the limit that GDTR has while any PV guest runs. */
export const LAST_RESERVED_GDT_BYTE = FIRST_RESERVED_GDT_BYTE + 4096 - 1;

/** public/arch-x86/xen-x86_64.h. Kernel and user share them: both run in ring 3. */
export const FLAT_RING3_CS32 = 0xe023;
export const FLAT_RING3_CS64 = 0xe033;
export const FLAT_RING3_DS32 = 0xe02b;
export const FLAT_RING3_SS = 0xe02b;
export const FLAT_KERNEL_CS = FLAT_RING3_CS64;
export const FLAT_KERNEL_SS = FLAT_RING3_SS;
export const FLAT_USER_CS32 = FLAT_RING3_CS32;
export const FLAT_USER_SS = FLAT_RING3_SS;
/** public/arch-x86/xen-x86_32.h: what a 32-bit guest calls FLAT_KERNEL_* and FLAT_USER_*. */
export const FLAT_COMPAT_KERNEL_CS = 0xe019;
export const FLAT_COMPAT_KERNEL_SS = 0xe021;
export const FLAT_COMPAT_USER_CS = 0xe02b;
export const FLAT_COMPAT_USER_SS = 0xe033;

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
