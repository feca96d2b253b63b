// What core and the hypercalls ask of hvm/: filled in by hvm/ and handed to the Hypervisor when it is made, so that neither imports hvm/.
//
// State that hypercalls set and hvm/ reads lies in Domain.hvm and Vcpu.hvm (core/hvm-domain.ts); a hook says that it has changed. What is
// part of the virtual CPU or the virtual platform (control registers, interrupt lines) belongs to hvm/ and is reached through hooks alone.

import type { hvm_hw_cpu, Infer } from '@ringworld/abi';
import type { Domain } from './domain.ts';
import type { GuestHooks } from './guest-hooks.ts';
import type { CallbackVia } from './hvm-domain.ts';
import type { Hypervisor } from './hypervisor.ts';
import type { Gfn } from './ids.ts';
import type { P2mType } from './p2m.ts';
import type { Vcpu } from './vcpu.ts';

/**
 * Registers of an HVM vCPU: struct hvm_hw_cpu (public/arch-x86/hvm/save.h), except that access rights (*_arbytes) are as the machine's
 * segment registers have them (machine/state.ts, SEG: bytes 5 and 6 of a descriptor) and not packed. For cold paths: it is full of bigints.
 */
export type HvmCpuState = Infer<typeof hvm_hw_cpu>;

/** How a vCPU translates linear addresses now (guest_walk_tables' inputs). The object is the vCPU's own and is overwritten by the next call. */
export interface HvmPaging {
  cr0: number;
  /** CR3 as the guest wrote it, PCID and all; halves as unsigned or signed 32-bit numbers. */
  cr3Lo: number;
  cr3Hi: number;
  cr4: number;
  /** Low half of EFER as the guest sees it: LME, LMA and NXE count. */
  efer: number;
  rflags: number;
}

/** XEN_DMOP_inject_event and the like: enum x86_event_type of Xen, which is the VM-entry interruption-information field's. */
export interface HvmEvent {
  vector: number;
  /** 0 external interrupt, 2 NMI, 3 hardware exception, 4 software interrupt, 5 privileged software exception, 6 software exception. */
  type: number;
  /** -1 when there is none (X86_EVENT_NO_EC). */
  errorCode: number;
  /** Bytes, for types 4 to 6. */
  insnLen: number;
  /** Linear address, for a page fault. */
  cr2: bigint;
}

export interface HvmHooks extends GuestHooks {
  /** hvm_domain_initialise(): called when `domain.hvm` is set and before any vCPU exists. 0 or -XEN_Exxx (no virtualization in the CPU). */
  domainCreated(hv: Hypervisor, domain: Domain): number;

  // --- the virtual CPU

  /** hvm_load_cpu_ctxt(): checks and loads all registers; the vCPU does not run. 0 or -XEN_EINVAL (impossible control registers). */
  loadCpu(hv: Hypervisor, vcpu: Vcpu, state: HvmCpuState): number;
  /** hvm_save_cpu_ctxt(). */
  saveCpu(hv: Hypervisor, vcpu: Vcpu): HvmCpuState;
  /** For GuestMemory by linear addresses; works for vCPUs on a CPU and off it. Called for every page of every copy: no allocation. */
  paging(vcpu: Vcpu): HvmPaging;
  /** hvm_inject_event() at the next entry. 0, or -XEN_EBUSY when one is due already. */
  injectEvent(hv: Hypervisor, vcpu: Vcpu, event: HvmEvent): number;
  /** XEN_DOMCTL_sendtrigger with a XEN_DOMCTL_SENDTRIGGER_*: NMI, INIT, power and sleep button. 0 or -XEN_Exxx. */
  sendTrigger(hv: Hypervisor, vcpu: Vcpu, trigger: number): number;
  /** HVMOP_flush_tlbs: paging_flush_tlb() of the domain's vCPUs. */
  flushTlbs(hv: Hypervisor, domain: Domain): void;

  // --- memory

  /**
   * An entry of domain.p2m has changed, from `oldType` to what p2m.type(gfn) says now (and, maybe, from a present frame to another or none):
   * nested or shadow tables must let go of the old frame before this returns, since it may be freed right after.
   */
  p2mChanged(hv: Hypervisor, domain: Domain, gfn: Gfn, oldType: P2mType): void;
  /** XEN_DMOP_track_dirty_vram: one bit per page that was written since the last call, into `bitmap` (null: end tracking). 0 or -XEN_Exxx. */
  trackDirtyVram(hv: Hypervisor, domain: Domain, firstGfn: Gfn, pages: number, bitmap: Uint8Array | null): number;
  /** XEN_DMOP_modified_memory: a device model wrote these pages (paging_mark_pfn_dirty). */
  markDirty(hv: Hypervisor, domain: Domain, gfn: Gfn): void;

  // --- the virtual platform

  /** hvm_set_callback_via(): HVM_PARAM_CALLBACK_IRQ was set. */
  setCallbackVia(hv: Hypervisor, domain: Domain, via: CallbackVia): void;
  /** hvm_assert_evtchn_irq(): vcpu_info.evtchn_upcall_pending was set. Raise the callback's interrupt, as callback via or upcall vector say. */
  assertEvtchnIrq(hv: Hypervisor, vcpu: Vcpu): void;
  /** Any other parameter was set: HVM_PARAM_*; its value is in domain.hvm.params. */
  paramChanged(hv: Hypervisor, domain: Domain, index: number): void;
  /** hvm_pci_intx_assert/deassert: bus 0, device 0-31, INTx 0-3. */
  setPciIntx(hv: Hypervisor, domain: Domain, device: number, intx: number, level: boolean): void;
  /** hvm_isa_irq_assert/deassert: 0-15. */
  setIsaIrq(hv: Hypervisor, domain: Domain, irq: number, level: boolean): void;
  /** hvm_set_pci_link_route: link 0-3 (PIRQA..D) to ISA IRQ 1-15, 0 = none. */
  setPciLinkRoute(hv: Hypervisor, domain: Domain, link: number, isaIrq: number): void;
  /** hvm_inject_msi(): address and data as a device writes them. 0 or -XEN_Exxx. */
  injectMsi(hv: Hypervisor, domain: Domain, addressLo: number, addressHi: number, data: number): number;

  // --- I/O requests

  /** The device model has answered the vCPU's ioreq (or the request is of no interest any more): the vCPU may go on when it waited for that. */
  ioreqDone(hv: Hypervisor, vcpu: Vcpu): void;
}
