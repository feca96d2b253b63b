// What the HVM code asks of VT-x or SVM: Xen's hvm_function_table, as far as the two differ.

import type { HvmEvent } from '../core/hvm-hooks.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { SystemCpu } from '../machine/system/ports.ts';
import type { HvmVcpu } from './vcpu.ts';

export interface VirtOps {
  readonly name: 'vmx' | 'svm';
  /** Whether the processor has nested paging: EPT or NPT. */
  readonly hasHap: boolean;
  /** Bits that the real CR0 and CR4 of a guest must have, beside what it asked for. */
  readonly cr0Fixed: number;
  readonly cr4Fixed: number;
  /** Makes the control structure. 0 or -XEN_Exxx. */
  createVcpu(hv: Hypervisor, h: HvmVcpu): number;
  destroyVcpu(hv: Hypervisor, h: HvmVcpu): void;
  /** The vCPU comes to a CPU. */
  load(h: HvmVcpu, cpu: SystemCpu): void;
  /** The vCPU leaves its CPU, out of the guest already. */
  unload(h: HvmVcpu, cpu: SystemCpu): void;
  /** VM entry with the state of the register block; event injection and window as `h` says. Undefined, or why it failed, in words. */
  enter(h: HvmVcpu, cpu: SystemCpu): string | undefined;
  /** Makes the VM exit of an external interrupt, so that the register block is the hypervisor's to change. */
  forceExit(h: HvmVcpu, cpu: SystemCpu): void;
  /** RunExit.vmexit. */
  handleExit(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu): void;
  /** Blocking by STI or a load of SS, as the exit left it. */
  isShadowed(h: HvmVcpu): boolean;
  isNmiBlocked(h: HvmVcpu): boolean;
  /** Drops the translations of the guest on this CPU. */
  flush(h: HvmVcpu, cpu: SystemCpu): void;
  /** The instruction that exited is done. */
  advance(h: HvmVcpu): void;
  /** The opcode of hypercalls: 0F 01 C1 or 0F 01 D9. */
  readonly hypercallOpcode: readonly [number, number, number];
}

/** A hardware exception of the guest. */
export const exception = (vector: number, errorCode = -1, cr2 = 0n): HvmEvent => ({ vector, type: 3, errorCode, insnLen: 0, cr2 });

/**
 * hvm_event_needs_reinjection(): an event whose delivery an exit broke off is injected again, unless its instruction is to be run again:
 * software interrupts and exceptions. INT3 and INTO are type 3 to SVM.
 */
export const needsReinjection = (type: number, vector: number): boolean =>
  type === 0 || type === 2 || (type === 3 && vector !== 3 && vector !== 4);
