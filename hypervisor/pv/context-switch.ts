// A PV vCPU comes to a CPU: the parts of the register file that are the hypervisor's to set, not the guest's (paravirt_ctxt_switch_to and
// __context_switch, xen/arch/x86/domain.c). General registers, segments, FPU and flags have been copied already.

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Cpu } from '../machine/cpu-api.ts';
import { SEG, STATE, TR } from '../machine/state.ts';
import type { SystemCpu } from '../machine/system/ports.ts';
import { realCr4, XEN_CR0, XEN_EFER } from './control-registers.ts';
import { featuresOf } from './cpuid-policy.ts';
import { loadDebugRegisters } from './debug.ts';
import { realCr3 } from './guest-mode.ts';
import { gdtVirtStart } from './layout.ts';
import { loadLdt } from './ldt.ts';
import { TSS_SELECTOR } from './reserved-gdt.ts';
import { LAST_RESERVED_GDT_BYTE } from './selectors.ts';

/** XEN_MSR_PAT: WB WT UC- UC WC WP UC UC, part of the PV ABI. */
export const XEN_MSR_PAT = 0x0501_0007_0406n;
/** Not zero: SYSENTER works, and enters the hypervisor. */
const HYPERVISOR_CS = 0xe008;
const TSS_BUSY = 11;
const TS = 8;

export function switchTo(hv: Hypervisor, vcpu: Vcpu, cpu: Cpu): void {
  const { pv } = vcpu;
  cpu.delivery = 'host';
  // CPUID faults above ring 0, so that PV guests see their policy instead of the machine.
  if (isSystemCpu(cpu)) cpu.thread.cpuidFaulting = true;

  cpu.setHalves(STATE.cr0, pv.ctrlreg[0]! & 8n ? XEN_CR0 | TS : XEN_CR0 & ~TS, 0);
  cpu.setHalves(STATE.cr4, realCr4(vcpu, featuresOf(cpu)), 0);
  cpu.setHalves(STATE.efer, XEN_EFER, 0);
  cpu.setBig(STATE.pat, XEN_MSR_PAT);
  cpu.setHalves(STATE.sysenterCs, HYPERVISOR_CS, 0);
  cpu.setLin(STATE.gdtrBase, gdtVirtStart(vcpu.id));
  cpu.setU32(STATE.gdtrLimit, LAST_RESERVED_GDT_BYTE);
  // A TSS too short for an I/O bitmap: every port access of a guest faults.
  cpu.setSegment(TR, TSS_SELECTOR, SEG.present | TSS_BUSY, 0, 0);
  loadLdt(vcpu);
  loadDebugRegisters(vcpu);
  const isWarm = pv.lastCpu === cpu.id && hv.pcpus[cpu.id]?.lastVcpu === vcpu;
  if (!isWarm) cpu.flushAll();
  cpu.loadCr3(realCr3(vcpu), true);
  cpu.modeChanged();
}

/** Nothing that must be kept is in the CPU outside its register block. */
export function switchFrom(_hv: Hypervisor, vcpu: Vcpu, cpu: Cpu): void {
  vcpu.pv.lastCpu = cpu.id;
  if (isSystemCpu(cpu)) cpu.thread.cpuidFaulting = false;
}

const isSystemCpu = (cpu: Cpu): cpu is SystemCpu => 'thread' in cpu;
