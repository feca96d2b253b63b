// #GP of a PV guest (do_general_protection, xen/arch/x86/traps.c): an instruction that its kernel may not execute but that the hypervisor
// stands in for, a call gate of a 32-bit guest, or the guest's own affair. INT n has come another way (soft-interrupt.ts).

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { emulateGateOp } from './emul-gate-op.ts';
import { emulatePrivilegedOp } from './emul-priv-op.ts';
import { injectGp } from './inject.ts';

export function generalProtection(hv: Hypervisor, vcpu: Vcpu, errorCode: number): void {
  if (errorCode !== 0) {
    if (vcpu.domain.is32bit && !(errorCode & 2)) emulateGateOp(hv, vcpu, errorCode);
    else injectGp(hv, vcpu, errorCode);
    return;
  }
  if (!emulatePrivilegedOp(hv, vcpu)) injectGp(hv, vcpu, 0);
}
