// What the core asks of pv/: filled in by pv/ and handed to the Hypervisor when it is made, so that core imports nothing of pv/.

import type { Cpu, RunExit } from '../machine/cpu-api.ts';
import type { Domain } from './domain.ts';
import type { Hypervisor } from './hypervisor.ts';
import type { Vcpu } from './vcpu.ts';

export interface PvHooks {
  /** The vCPU's context is in the CPU already (Context.copyFrom): load descriptor tables, LDT, CR3, segment bases, CR0.TS, modeChanged. */
  switchTo(hv: Hypervisor, vcpu: Vcpu, cpu: Cpu): void;
  /** Before the context is copied out of the CPU. */
  switchFrom(hv: Hypervisor, vcpu: Vcpu, cpu: Cpu): void;
  /** Cpu.run() came back with something else than the deadline. */
  handleExit(hv: Hypervisor, vcpu: Vcpu, cpu: Cpu, exit: RunExit): void;
  /** Whether an upcall can be delivered now (pending, not masked) or an NMI: called before each return to the guest. Builds the frame. */
  deliverPending(hv: Hypervisor, vcpu: Vcpu): void;
  /** arch_set_info_guest: a vcpu_guest_context as raw bytes in the domain's layout. 0 or -XEN_Exxx. */
  loadGuestContext(hv: Hypervisor, vcpu: Vcpu, bytes: Uint8Array): number;
  /** arch_get_info_guest: the same layout. */
  saveGuestContext(hv: Hypervisor, vcpu: Vcpu): Uint8Array;
  /** New domain or vCPU: monitor tables, per-domain mappings; 0 or -XEN_Exxx. */
  vcpuCreated(hv: Hypervisor, vcpu: Vcpu): number;
  /** XEN_DOMCTL_set_address_size changed domain.is32bit (it has no memory yet): remakes what vcpuCreated made. 0 or -XEN_Exxx. */
  addressSizeChanged(hv: Hypervisor, domain: Domain): number;
  /** Drops the references that the vCPU's state holds (guest tables, GDT and LDT frames). */
  vcpuDestroyed(hv: Hypervisor, vcpu: Vcpu): void;
  /** Frees what the domain as a whole had (per-domain mappings), its vCPUs being gone. */
  domainDestroyed(hv: Hypervisor, domain: Domain): void;
  /** Writes the hypercall page (domctl hypercall_init, or a write to the hypercall MSR) to the frame's bytes. */
  writeHypercallPage(hv: Hypervisor, vcpu: Vcpu, page: Uint8Array): void;
}
