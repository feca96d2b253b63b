// The bits of a page-table entry, in the two 32-bit halves in which hot paths carry it, and what a PV guest may put there.
//
// A guest's 64-bit kernel runs in ring 3 like its user code, so every entry of it gets the user bit; bit 52 remembers which of the two
// it was (xen/arch/x86/include/asm/x86_64/page.h, _PAGE_GUEST_KERNEL), and user pages become global, to survive the switch between the
// guest's two page tables.

// Low half.
export const _PAGE_PRESENT = 0x001;
export const _PAGE_RW = 0x002;
export const _PAGE_USER = 0x004;
export const _PAGE_PWT = 0x008;
export const _PAGE_PCD = 0x010;
export const _PAGE_ACCESSED = 0x020;
export const _PAGE_DIRTY = 0x040;
/** PAT in an L1 entry. */
export const _PAGE_PSE = 0x080;
export const _PAGE_GLOBAL = 0x100;
// High half.
export const HI_GUEST_KERNEL = 1 << 20;
export const HI_NX = 1 << 31;
export const HI_FRAME = 0xf_ffff;
/** Bits 52 to 62 and NX: all flags of the high half. */
const HI_FLAGS = ~HI_FRAME;

/** base_disallow_mask (arch_init_memory): PAT or PSE, PCD, PWT, GLOBAL. */
const BASE_DISALLOW = _PAGE_PWT | _PAGE_PCD | _PAGE_PSE | _PAGE_GLOBAL;
/** L1_DISALLOW_MASK for a domain without I/O resources: cache attributes are not its to choose; GLOBAL is. */
export const L1_DISALLOW = BASE_DISALLOW & ~_PAGE_GLOBAL;
/** L2 and L4, and L3 of a 64-bit guest. PSE is among them: no superpages in PV. */
export const L2_DISALLOW = BASE_DISALLOW;
/** l3_disallow_mask() of a 32-bit guest: 0xFFFFF198, so NX and the available high bits too. */
export const L3_COMPAT_DISALLOW_HI = HI_FLAGS;

/** ~FASTPATH_FLAG_WHITELIST plus the frame: what makes an entry need validation when it changes. */
export const SLOW_LO = ~(0xe00 | _PAGE_GLOBAL | _PAGE_DIRTY | _PAGE_ACCESSED | _PAGE_USER);
export const SLOW_HI = HI_FRAME;

/** Frame number of an entry; may lie outside machine memory. */
export const entryFrame = (lo: number, hi: number): number => (hi & HI_FRAME) * 0x10_0000 + (lo >>> 12);

// Shape of address spaces (public/arch-x86/xen-x86_64.h, xen-x86_32.h; xen/arch/x86/include/asm/config.h).
export const FIRST_XEN_L4_SLOT = 256;
export const LAST_XEN_L4_SLOT = 271;
/** PERDOMAIN_VIRT_START, 0xffff820000000000. */
export const PERDOMAIN_L4_SLOT = 260;
/** Slot of HYPERVISOR_COMPAT_VIRT_START (0xf5800000) in the L2 under L3 slot 3. */
export const COMPAT_FIRST_XEN_L2_SLOT = 428;
