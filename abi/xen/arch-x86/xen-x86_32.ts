// arch-x86/xen-x86_32.h: selectors, address-space split and register frames of 32-bit PAE guests.

export const FLAT_RING1_CS = 0xe019;
export const FLAT_RING1_DS = 0xe021;
export const FLAT_RING1_SS = 0xe021;
export const FLAT_RING3_CS = 0xe02b;
export const FLAT_RING3_DS = 0xe033;
export const FLAT_RING3_SS = 0xe033;

export const FLAT_KERNEL_CS = FLAT_RING1_CS;
export const FLAT_KERNEL_DS = FLAT_RING1_DS;
export const FLAT_KERNEL_SS = FLAT_RING1_SS;
export const FLAT_USER_CS = FLAT_RING3_CS;
export const FLAT_USER_DS = FLAT_RING3_DS;
export const FLAT_USER_SS = FLAT_RING3_SS;

export const __HYPERVISOR_VIRT_START_PAE = 0xf5800000;
export const __MACH2PHYS_VIRT_START_PAE = 0xf5800000;
export const __MACH2PHYS_VIRT_END_PAE = 0xf6800000;
export const HYPERVISOR_VIRT_START_PAE = 0xf5800000;
export const MACH2PHYS_VIRT_START_PAE = 0xf5800000;
export const MACH2PHYS_VIRT_END_PAE = 0xf6800000;

export const __HYPERVISOR_VIRT_START_NONPAE = 0xfc000000;
export const __MACH2PHYS_VIRT_START_NONPAE = 0xfc000000;
export const __MACH2PHYS_VIRT_END_NONPAE = 0xfc400000;
export const HYPERVISOR_VIRT_START_NONPAE = 0xfc000000;
export const MACH2PHYS_VIRT_START_NONPAE = 0xfc000000;
export const MACH2PHYS_VIRT_END_NONPAE = 0xfc400000;

export const __HYPERVISOR_VIRT_START = __HYPERVISOR_VIRT_START_PAE;
export const __MACH2PHYS_VIRT_START = __MACH2PHYS_VIRT_START_PAE;
export const __MACH2PHYS_VIRT_END = __MACH2PHYS_VIRT_END_PAE;

export const HYPERVISOR_VIRT_START = 0xf5800000;

export const MACH2PHYS_VIRT_START = 0xf5800000;
export const MACH2PHYS_VIRT_END = 0xf6800000;
export const MACH2PHYS_NR_ENTRIES = 0x400000;
