// The hypervisor's own CPUID leaves from 0x40000000, of PV and HVM guests (cpuid_hypervisor_leaves(), xen/arch/x86/traps.c of 4.17;
// public/arch-x86/cpuid.h). The registers of an answer are EAX, EBX, ECX, EDX as unsigned numbers.

import {
  XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD,
  XEN_CPUID_FIRST_LEAF,
  XEN_CPUID_MAX_NUM_LEAVES,
  XEN_CPUID_SIGNATURE_EBX,
  XEN_CPUID_SIGNATURE_ECX,
  XEN_CPUID_SIGNATURE_EDX,
  XEN_HVM_CPUID_DOMID_PRESENT,
  XEN_HVM_CPUID_IOMMU_MAPPINGS,
  XEN_HVM_CPUID_UPCALL_VECTOR,
  XEN_HVM_CPUID_VCPU_ID_PRESENT,
} from '@ringworld/abi';
import type { Hypervisor } from './hypervisor.ts';
import type { Vcpu } from './vcpu.ts';

export type LeafRegisters = [eax: number, ebx: number, ecx: number, edx: number];

const XEN_MAJOR = 4;
const XEN_MINOR = 17;
/** Where a guest may write the address of its hypercall page. */
export const HYPERCALL_MSR = 0x4000_0000;
/** Leaves that are the hypervisor's to answer, whether or not there is anything. */
export const isXenLeaf = (leaf: number): boolean => leaf >= XEN_CPUID_FIRST_LEAF && leaf <= XEN_CPUID_FIRST_LEAF + 0x1ff;

/** Leaf 0x40000000 + `index`. `khz`: what the guest's TSC counts. */
export function xenLeaf(hv: Hypervisor, vcpu: Vcpu, index: number, subleaf: number, khz: number): LeafRegisters {
  if (index > XEN_CPUID_MAX_NUM_LEAVES) return [0, 0, 0, 0];
  const isHvm = vcpu.domain.isHvm;
  switch (index) {
    case 0:
      return [XEN_CPUID_FIRST_LEAF + XEN_CPUID_MAX_NUM_LEAVES, XEN_CPUID_SIGNATURE_EBX, XEN_CPUID_SIGNATURE_ECX, XEN_CPUID_SIGNATURE_EDX];
    case 1:
      return [(XEN_MAJOR << 16) | XEN_MINOR, 0, 0, 0];
    case 2:
      return [1, HYPERCALL_MSR, isHvm ? 0 : XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD, 0];
    case 3:
      return timeLeaf(subleaf, khz);
    case 4:
      return isHvm && subleaf === 0 ? hvmLeaf(vcpu) : [0, 0, 0, 0];
    case 5:
      return !isHvm && subleaf === 0 ? [0, machineAddressBits(hv), 0, 0] : [0, 0, 0, 0];
    default:
      return [0, 0, 0, 0];
  }
}

/** No APIC virtualization is offered: exits of the APIC page are what there is. */
const HVM_FEATURES =
  XEN_HVM_CPUID_IOMMU_MAPPINGS | XEN_HVM_CPUID_VCPU_ID_PRESENT | XEN_HVM_CPUID_DOMID_PRESENT | XEN_HVM_CPUID_UPCALL_VECTOR;
const hvmLeaf = (vcpu: Vcpu): LeafRegisters => [HVM_FEATURES, vcpu.id, vcpu.domain.id, 0];

/** TSC mode 0 (default, not emulated), a safe host TSC, RDTSCP; no offset, and nanoseconds from cycles as a 32.32 fraction. */
function timeLeaf(subleaf: number, khz: number): LeafRegisters {
  switch (subleaf) {
    case 0:
      return [(1 << 1) | (1 << 2), 0, khz, 0];
    case 1: {
      // scale_tsc: a fraction below 2^32 and the shift that keeps it there (set_time_scale, xen/arch/x86/time.c).
      let shift = 0;
      let hz = khz * 1000;
      while (hz > 2_000_000_000) {
        hz /= 2;
        shift--;
      }
      while (hz <= 1_000_000_000) {
        hz *= 2;
        shift++;
      }
      return [0, 0, Math.floor((1_000_000_000 * 0x1_0000_0000) / hz), shift & 0xff];
    }
    case 2:
      return [khz, 0, 0, 0];
    default:
      return [0, 0, 0, 0];
  }
}

/** flsl(get_upper_mfn_bound()) + PAGE_SHIFT. */
const machineAddressBits = (hv: Hypervisor): number => 32 - Math.clz32(hv.ram.size / 4096 - 1) + 12;
