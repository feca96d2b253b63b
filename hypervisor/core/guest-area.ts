// Areas that a guest registered for the hypervisor to keep up to date: runstate and time. They are given by linear address, so they are
// written through the kernel's page tables, whatever mode the vCPU was stopped in (xen/arch/x86/domain.c, update_guest_memory_policy).

import { VMASST_TYPE_runstate_update_flag, vcpu_runstate_info } from '@ringworld/abi';
import type { Vcpu } from './vcpu.ts';

/** Runs `fn` with the vCPU's handles translated as its kernel sees them. */
export function asGuestKernel<T>(vcpu: Vcpu, fn: () => T): T {
  const { pv } = vcpu;
  const saved = pv.kernelMode;
  pv.kernelMode = true;
  try {
    return fn();
  } finally {
    pv.kernelMode = saved;
  }
}

/** XEN_RUNSTATE_UPDATE is bit 63 of state_entry_time: bit 7 of its last byte. */
const UPDATE_BIT = 0x80;
const last = new Uint8Array(1);

/** update_runstate_area: a failure to write is the guest's affair. */
export function updateRunstateArea(vcpu: Vcpu): void {
  const area = vcpu.runstateGuest;
  if (area === 0) return;
  asGuestKernel(vcpu, () => {
    const { abi, vmAssist } = vcpu.domain;
    const flagged = (vmAssist & (1 << VMASST_TYPE_runstate_update_flag)) !== 0;
    const flagAt = area + vcpu_runstate_info.offset('state_entry_time', abi) + 7;
    const entry = vcpu.runstateEntry;
    if (flagged) {
      last[0] = (Math.floor(entry / 2 ** 56) & 0x7f) | UPDATE_BIT;
      vcpu.guest.copyTo(flagAt, last);
    }
    const stamp = BigInt(entry) | (flagged ? 1n << 63n : 0n);
    vcpu.guest.writeStruct(vcpu_runstate_info, area, { state: vcpu.runstate, state_entry_time: stamp, time: vcpu.runstateTime });
    if (flagged) {
      last[0] = Math.floor(entry / 2 ** 56) & 0x7f;
      vcpu.guest.copyTo(flagAt, last);
    }
  });
}
