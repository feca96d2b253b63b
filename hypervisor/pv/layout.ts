// Where things lie in the linear address space that a PV guest shares with the hypervisor (public/arch-x86/xen-x86_64.h;
// xen/arch/x86/include/asm/config.h), as signed linear addresses.

import { xen_x86_32, xen_x86_64 } from '@ringworld/abi';
import type { Lin } from '../machine/addresses.ts';

const lin = (address: bigint): number => Number(BigInt.asIntN(64, address));
/** 0xffff800000000000 .. 0xffff87ffffffffff: the hypervisor's own, in every 64-bit guest's tables. */
export const HYPERVISOR_VIRT_START = lin(xen_x86_64.HYPERVISOR_VIRT_START);
export const HYPERVISOR_VIRT_END = lin(xen_x86_64.HYPERVISOR_VIRT_END);
export const isHypervisorRange = (at: number): boolean => at >= HYPERVISOR_VIRT_START && at < HYPERVISOR_VIRT_END;

/** L4 slot 260, 0xffff820000000000: mappings of the domain, its vCPUs' descriptor tables first. */
export const PERDOMAIN_VIRT_START = HYPERVISOR_VIRT_START + 4 * 0x80_0000_0000;
/** 128 KiB for each vCPU: GDT in the lower half, LDT in the upper (GDT_LDT_VCPU_VA_SHIFT). */
export const GDT_LDT_VCPU_SIZE = 0x2_0000;
export const LDT_OFFSET = 0x1_0000;
/** GDT_LDT_MBYTES: MAX_VIRT_CPUS of 8192 times 128 KiB. */
export const GDT_LDT_VIRT_END = PERDOMAIN_VIRT_START + 8192 * GDT_LDT_VCPU_SIZE;

export const gdtVirtStart = (vcpuId: number): Lin => (PERDOMAIN_VIRT_START + vcpuId * GDT_LDT_VCPU_SIZE) as Lin;
export const ldtVirtStart = (vcpuId: number): Lin => (PERDOMAIN_VIRT_START + vcpuId * GDT_LDT_VCPU_SIZE + LDT_OFFSET) as Lin;

/** 32-bit guests: from here up is the hypervisor's (the read-only M2P). */
export const HYPERVISOR_COMPAT_VIRT_START = xen_x86_32.HYPERVISOR_VIRT_START;
