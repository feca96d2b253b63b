// CPUID for PV guests: the policy, the bits that follow the vCPU's CR4, and the hypervisor's own leaves from 0x40000000
// (guest_cpuid, xen/arch/x86/cpuid.c; cpuid_hypervisor_leaves, xen/arch/x86/traps.c; public/arch-x86/cpuid.h).

import {
  XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD,
  XEN_CPUID_FIRST_LEAF,
  XEN_CPUID_MAX_NUM_LEAVES,
  XEN_CPUID_SIGNATURE_EBX,
  XEN_CPUID_SIGNATURE_ECX,
  XEN_CPUID_SIGNATURE_EDX,
} from '@ringworld/abi';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { RAX, RBX, RCX, RDX, STATE } from '../machine/state.ts';
import { CR4 } from '../machine/system/bits.ts';
import { type CpuidRegisters, XSAVE_SIZE } from '../machine/system/cpuid.ts';
import { hasFeature, policyLeaf, profileOf, pvProfile } from './cpuid-policy.ts';
import { isGuestKernel } from './guest-mode.ts';

const XEN_MAJOR = 4;
const XEN_MINOR = 17;
/** Where a guest may write the address of its hypercall page. */
export const HYPERCALL_MSR = 0x4000_0000;
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
  if (leaf >= XEN_CPUID_FIRST_LEAF && leaf <= XEN_CPUID_FIRST_LEAF + 0x1ff)
    return hypervisorLeaf(hv, vcpu, leaf - XEN_CPUID_FIRST_LEAF, subleaf);
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

function hypervisorLeaf(hv: Hypervisor, vcpu: Vcpu, index: number, subleaf: number): CpuidRegisters {
  if (index > XEN_CPUID_MAX_NUM_LEAVES) return [0, 0, 0, 0];
  const khz = profileOf(vcpu.cpu).mhz * 1000;
  switch (index) {
    case 0:
      return [XEN_CPUID_FIRST_LEAF + XEN_CPUID_MAX_NUM_LEAVES, XEN_CPUID_SIGNATURE_EBX, XEN_CPUID_SIGNATURE_ECX, XEN_CPUID_SIGNATURE_EDX];
    case 1:
      return [(XEN_MAJOR << 16) | XEN_MINOR, 0, 0, 0];
    case 2:
      return [1, HYPERCALL_MSR, XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD, 0];
    case 3:
      return timeLeaf(subleaf, khz);
    case 5:
      return subleaf === 0 ? [0, machineAddressBits(hv), 0, 0] : [0, 0, 0, 0];
    default:
      return [0, 0, 0, 0];
  }
}

/** TSC mode 0 (default, not emulated), a safe host TSC, RDTSCP; no offset, and nanoseconds from cycles as a 32.32 fraction. */
function timeLeaf(subleaf: number, khz: number): CpuidRegisters {
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
