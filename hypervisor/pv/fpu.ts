// The guest's CR0.TS: Linux of old and others switch the FPU lazily by fpu_taskswitch and the #NM that follows
// (do_device_not_available, xen/arch/x86/traps.c). The hypervisor itself switches FPU state eagerly, so TS is the guest's alone.

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { STATE } from '../machine/state.ts';
import { injectException } from './inject.ts';

const TS = 8;
const NM = 7;

export function setTaskSwitched(vcpu: Vcpu, set: boolean): void {
  const { pv, regs } = vcpu;
  const cr0 = pv.ctrlreg[0]!;
  pv.ctrlreg[0] = set ? cr0 | 8n : cr0 & ~8n;
  const real = regs.u32(STATE.cr0);
  const wanted = set ? real | TS : real & ~TS;
  if (real === wanted >>> 0) return;
  regs.setU32(STATE.cr0, wanted);
  vcpu.cpu?.modeChanged();
}

/** #NM: TS is cleared on the guest's behalf before its handler runs. */
export function deviceNotAvailable(hv: Hypervisor, vcpu: Vcpu): void {
  const wasSet = (vcpu.pv.ctrlreg[0]! & 8n) !== 0n;
  setTaskSwitched(vcpu, false);
  if (wasSet) injectException(hv, vcpu, NM);
}
