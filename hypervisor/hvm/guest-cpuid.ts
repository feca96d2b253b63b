// CPUID of an HVM guest: the policy, what follows its control registers, and Xen's own leaves (guest_cpuid, xen/arch/x86/cpuid.c;
// cpuid_hypervisor_leaves, xen/arch/x86/traps.c).

import { XEN_CPUID_FIRST_LEAF } from '@ringworld/abi';
import type { Hypervisor } from '../core/hypervisor.ts';
import { isXenLeaf, xenLeaf } from '../core/xen-leaves.ts';
import { STATE } from '../machine/state.ts';
import type { CpuidRegisters } from '../machine/system/cpuid.ts';
import type { SystemCpu } from '../machine/system/ports.ts';
import { policyLeaf } from './cpuid-policy.ts';
import { vcpuApicId } from './platform/index.ts';
import type { HvmVcpu } from './vcpu.ts';

export function guestCpuid(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu, leaf: number, subleaf: number): CpuidRegisters {
  if (isXenLeaf(leaf)) return xenLeaf(hv, h.vcpu, leaf - XEN_CPUID_FIRST_LEAF, subleaf, cpu.profile.mhz * 1000);
  return policyLeaf(cpu.profile, h.shadow === null, leaf, subleaf, cpu.lo(STATE.xcr0), h.cr4, vcpuApicId(h.vcpu.id));
}
