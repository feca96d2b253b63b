// What the core asks of whatever carries a kind of guest: pv/ and hvm/ alike. PvHooks and HvmHooks add what only one of them has.

import type { Cpu, RunExit } from '../machine/cpu-api.ts';
import type { Domain } from './domain.ts';
import type { Hypervisor } from './hypervisor.ts';
import type { Vcpu } from './vcpu.ts';

export interface GuestHooks {
  /** The vCPU's context is in the CPU already (Context.copyFrom): load what else it runs with, and modeChanged. */
  switchTo(hv: Hypervisor, vcpu: Vcpu, cpu: Cpu): void;
  /** Before the context is copied out of the CPU. */
  switchFrom(hv: Hypervisor, vcpu: Vcpu, cpu: Cpu): void;
  /** Cpu.run() came back with something else than the deadline. */
  handleExit(hv: Hypervisor, vcpu: Vcpu, cpu: Cpu, exit: RunExit): void;
  /** Called before each return to the guest: delivers what is due (an upcall, an interrupt, an NMI). */
  deliverPending(hv: Hypervisor, vcpu: Vcpu): void;
  /** New vCPU, not initialised yet: makes what it needs. 0 or -XEN_Exxx. */
  vcpuCreated(hv: Hypervisor, vcpu: Vcpu): number;
  /** Drops what vcpuCreated made, and the references that the vCPU's state holds. */
  vcpuDestroyed(hv: Hypervisor, vcpu: Vcpu): void;
  /** Frees what the domain as a whole had, its vCPUs being gone. */
  domainDestroyed(hv: Hypervisor, domain: Domain): void;
  /** Writes the hypercall page (domctl hypercall_init, or a write to the hypercall MSR) to the frame's bytes. */
  writeHypercallPage(hv: Hypervisor, vcpu: Vcpu, page: Uint8Array): void;
}
