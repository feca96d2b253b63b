// INT n, INT3, INTO and INT1 of a PV guest. The hypervisor's IDT lets ring 3 through for 3, 4 and 0x80 and ring 1 for 0x82; any other
// vector faults with #GP(vector * 8 + 2), by which the hypervisor knows that it was an INT (xen/arch/x86/traps.c, "cunning trick").

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Lin } from '../machine/addresses.ts';
import { CS, SEG } from '../machine/state.ts';
import { handleDebug } from './debug.ts';
import { isGuestKernel } from './guest-mode.ts';
import { injectException, injectGp, injectSoftInterrupt, isNullHandler } from './inject.ts';
import { isGateSelectorOkay } from './selectors.ts';

const DB = 1;
const BP = 3;
const OF = 4;
const LINUX_SYSCALL = 0x80;
/** HYPERCALL_VECTOR. */
const HYPERCALL = 0x82;

/** RIP is at the instruction, which is `length` bytes long. */
export function softInterrupt(hv: Hypervisor, vcpu: Vcpu, vector: number, length: number): void {
  const { regs, domain } = vcpu;
  const at = regs.rip;
  const after = (regs.segAttributes(CS) & SEG.l ? at + length : (at + length) % 0x1_0000_0000) as Lin;
  regs.rip = after;
  switch (vector) {
    case DB:
      if (length === 1) {
        // INT1 (ICEBP) is an exception to the IDT's privilege check.
        handleDebug(hv, vcpu);
        return;
      }
      break;
    case BP:
    case OF:
      // The guest's DPL for these two is not looked at, as in Xen.
      injectException(hv, vcpu, vector);
      return;
    case HYPERCALL:
      if ((regs.selector(CS) & 3) <= 1) {
        hv.hypercall(vcpu);
        return;
      }
      break;
    case LINUX_SYSCALL:
      // SAFE: 256 entries. init_int80_direct_trap(): straight through, whatever DPL the guest gave the vector.
      if (!isNullHandler(vcpu, vector) && isGateSelectorOkay(domain.is32bit, vcpu.pv.trapTable[vector]!.selector)) {
        injectSoftInterrupt(hv, vcpu, vector);
        return;
      }
      break;
  }
  // SAFE: as above.
  if (vcpu.pv.trapTable[vector]!.dpl >= (isGuestKernel(vcpu) ? 1 : 3)) {
    injectSoftInterrupt(hv, vcpu, vector);
    return;
  }
  regs.rip = at;
  injectGp(hv, vcpu, vector * 8 + 2);
}
