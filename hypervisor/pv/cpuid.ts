// CPUID for PV guests: the policy, the bits that follow the vCPU's CR4, and the hypervisor's own leaves from 0x40000000
// (guest_cpuid, xen/arch/x86/cpuid.c; cpuid_hypervisor_leaves, xen/arch/x86/traps.c; public/arch-x86/cpuid.h).

import { XEN_CPUID_FIRST_LEAF } from '@ringworld/abi';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { isXenLeaf, xenLeaf } from '../core/xen-leaves.ts';
import { RAX, RBX, RCX, RDX, STATE } from '../machine/state.ts';
import { CR4 } from '../machine/system/bits.ts';
import { type CpuidRegisters, XSAVE_SIZE } from '../machine/system/cpuid.ts';
import { hasFeature, policyLeaf, profileOf, pvProfile } from './cpuid-policy.ts';
import { isGuestKernel } from './guest-mode.ts';

const OSXSAVE = 1 << 27;

/** CPUID with the leaf in EAX and the subleaf in ECX of the vCPU. `how`: a kernel that asks by the forced-emulation prefix sees Xen's OSXSAVE. */
export function guestCpuid(hv: Hypervisor, vcpu: Vcpu, how: 'forced' | 'faulted'): void {
  const { regs } = vcpu;
  const r = cpuidFor(hv, vcpu, regs.regLo(RAX) >>> 0, regs.regLo(RCX) >>> 0, how === 'forced');
  regs.setRegHalves(RAX, r[0], 0);
  regs.setRegHalves(RBX, r[1], 0);
  regs.setRegHalves(RCX, r[2], 0);
  regs.setRegHalves(RDX, r[3], 0);
}

export function cpuidFor(hv: Hypervisor, vcpu: Vcpu, leaf: number, subleaf: number, forced: boolean): CpuidRegisters {
  if (isXenLeaf(leaf)) return xenLeaf(hv, vcpu, leaf - XEN_CPUID_FIRST_LEAF, subleaf, profileOf(vcpu.cpu).mhz * 1000);
  const p = pvProfile(profileOf(vcpu.cpu), vcpu.domain.is32bit);
  const r = policyLeaf(p, leaf, subleaf);
  const guestCr4 = Number(vcpu.pv.ctrlreg[4]! & 0xffff_ffffn);
  if (leaf === 1) {
    // The leak of Xen's own OSXSAVE to enlightened kernels is part of the PV ABI (the long comment in guest_cpuid).
    const leaked = forced && isGuestKernel(vcpu) && (vcpu.regs.u32(STATE.cr4) & CR4.OSXSAVE) !== 0;
    if (leaked || guestCr4 & CR4.OSXSAVE) r[2] = (r[2] | OSXSAVE) >>> 0;
  } else if (leaf === 0xd && subleaf === 0 && hasFeature(p, 'xsave')) r[1] = XSAVE_SIZE;
  return r;
}
