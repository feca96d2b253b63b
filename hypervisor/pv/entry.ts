// Every way from a PV guest into the hypervisor: Cpu.run() came back with an exception, a software interrupt, SYSCALL or SYSENTER.
// Here is what the hypervisor's IDT and SYSCALL entry points do on hardware (xen/arch/x86/x86_64/entry.S, xen/arch/x86/traps.c).

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { type Cpu, RunExit } from '../machine/cpu-api.ts';
import { CS, SEG, STATE } from '../machine/state.ts';
import { bounceCompatSyscall, bounceSyscall, bounceSysenter, enterSyscall } from './callbacks.ts';
import { crashDomain } from './crash.ts';
import { handleDebug } from './debug.ts';
import { emulateInvalidOp } from './emul-inv-op.ts';
import { deviceNotAvailable } from './fpu.ts';
import { generalProtection } from './general-protection.ts';
import { injectException } from './inject.ts';
import { pageFault } from './page-fault.ts';
import { softInterrupt } from './soft-interrupt.ts';

const DB = 1;
const UD = 6;
const NM = 7;
const GP = 13;
const PF = 14;

export function handleExit(hv: Hypervisor, vcpu: Vcpu, cpu: Cpu, exit: RunExit): void {
  switch (exit) {
    case RunExit.deadline:
      return;
    case RunExit.exception:
      exception(hv, vcpu, cpu.event.vector, cpu.event.errorCode);
      return;
    case RunExit.softInt:
      softInterrupt(hv, vcpu, cpu.event.vector, cpu.event.length);
      return;
    case RunExit.syscall:
      syscall(hv, vcpu);
      return;
    case RunExit.sysenter:
      vcpu.domain.count('trap: sysenter');
      bounceSysenter(hv, vcpu);
      return;
    default:
      // HLT and double faults need ring 0, where no PV guest runs.
      crashDomain(hv, vcpu, `a PV guest cannot cause CPU exit ${exit}`);
  }
}

// TOUR hypercall 40: What Xen's lstar_enter decides: from the guest's user mode a SYSCALL is bounced into the guest kernel's callback;
// from its kernel mode it is a hypercall.
function syscall(hv: Hypervisor, vcpu: Vcpu): void {
  const { regs, domain, pv } = vcpu;
  const compatibilityMode = (regs.segAttributes(CS) & SEG.l) === 0;
  if (domain.is32bit) {
    domain.count('trap: syscall');
    bounceCompatSyscall(hv, vcpu);
    return;
  }
  enterSyscall(vcpu, compatibilityMode);
  if (!pv.kernelMode) {
    domain.count(compatibilityMode ? 'trap: syscall32' : 'trap: syscall');
    bounceSyscall(hv, vcpu, compatibilityMode);
    return;
  }
  hv.hypercall(vcpu);
}

function exception(hv: Hypervisor, vcpu: Vcpu, vector: number, errorCode: number): void {
  const { regs } = vcpu;
  switch (vector) {
    case PF:
      pageFault(hv, vcpu, errorCode, regs.lin(STATE.cr2));
      return;
    case GP:
      generalProtection(hv, vcpu, errorCode);
      return;
    case UD:
      if (!emulateInvalidOp(hv, vcpu)) injectException(hv, vcpu, UD);
      return;
    case NM:
      deviceNotAvailable(hv, vcpu);
      return;
    case DB:
      handleDebug(hv, vcpu);
      return;
    default:
      injectException(hv, vcpu, vector, Math.max(errorCode, 0));
  }
}
