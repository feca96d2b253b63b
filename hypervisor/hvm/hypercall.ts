// A hypercall of an HVM vCPU: VMCALL or VMMCALL, in the mode that it runs in (xen/arch/x86/hvm/hypercall.c, hvm_hypercall()).

import { XEN_EPERM } from '@ringworld/abi';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { PREEMPTED } from '../hypercalls/context.ts';
import { RAX } from '../machine/state.ts';
import type { GuestMode } from './guest-mode.ts';

export type { GuestMode } from './guest-mode.ts';

/**
 * Carries out the call whose number and arguments lie in the vCPU's general registers, and puts the answer into RAX (EAX).
 * `cpl` is the privilege level (SS.DPL). True: done, the caller advances RIP past the instruction. False: the guest is to make the call
 * again (RIP stays), since its list was long.
 */
export function hvmHypercall(hv: Hypervisor, vcpu: Vcpu, mode: GuestMode, cpl: number): boolean {
  const { hvm } = vcpu;
  // Real mode has no privilege levels, virtual-8086 mode no privilege.
  if (hvm === null || mode === 1 || (mode !== 0 && cpl !== 0)) {
    vcpu.regs.setRegHalves(RAX, -XEN_EPERM, mode === 8 ? -1 : 0);
    return true;
  }
  hvm.callsAs32bit = mode !== 8;
  return hv.hypercall(vcpu) !== PREEMPTED;
}
