// Where things lie in the linear address space that a PV guest shares with the hypervisor (public/arch-x86/xen-x86_64.h;
// xen/arch/x86/include/asm/config.h), as signed linear addresses, and where vcpu_info keeps what the entry paths touch.

import type { Lin } from '../machine/addresses.ts';

/** 0xffff800000000000 .. 0xffff87ffffffffff: the hypervisor's own, in every 64-bit guest's tables. */
export const HYPERVISOR_VIRT_START = -0x8000_0000_0000;
export const HYPERVISOR_VIRT_END = -0x7800_0000_0000;
export const isHypervisorRange = (lin: number): boolean => lin >= HYPERVISOR_VIRT_START && lin < HYPERVISOR_VIRT_END;

/** L4 slot 260, 0xffff820000000000: mappings of the domain, its vCPUs' descriptor tables first. */
export const PERDOMAIN_L4_SLOT = 260;
export const PERDOMAIN_VIRT_START = -0x7e00_0000_0000;
/** 128 KiB for each vCPU: GDT in the lower half, LDT in the upper (GDT_LDT_VCPU_VA_SHIFT). */
export const GDT_LDT_VCPU_SIZE = 0x2_0000;
export const LDT_OFFSET = 0x1_0000;
/** GDT_LDT_MBYTES: MAX_VIRT_CPUS of 8192 times 128 KiB. */
export const GDT_LDT_VIRT_END = PERDOMAIN_VIRT_START + 8192 * GDT_LDT_VCPU_SIZE;

export const gdtVirtStart = (vcpuId: number): Lin => (PERDOMAIN_VIRT_START + vcpuId * GDT_LDT_VCPU_SIZE) as Lin;
export const ldtVirtStart = (vcpuId: number): Lin => (PERDOMAIN_VIRT_START + vcpuId * GDT_LDT_VCPU_SIZE + LDT_OFFSET) as Lin;

/** 32-bit guests: from here up is the hypervisor's (the read-only M2P). */
export const HYPERVISOR_COMPAT_VIRT_START = 0xf580_0000;

/** struct vcpu_info: evtchn_upcall_pending and evtchn_upcall_mask are its first two bytes in both layouts; arch.cr2 follows the selector. */
export const VCPU_INFO = { upcallPending: 0, upcallMask: 1, cr2: { x86_64: 16, x86_32: 8 } } as const;
