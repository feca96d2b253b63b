// What hvm/ keeps of a virtual CPU beside its register block: the control registers as the guest believes them to be, what waits to be
// injected, and where its VMCS or VMCB lies. Between a VM exit and the next entry the register block holds the guest's whole state, and
// the bodies of intercepts work on that alone; VirtOps carries it into the control structure (Xen keeps part of it there all the time).

import type { HvmEvent, HvmPaging } from '../core/hvm-hooks.ts';
import { INVALID_MFN, type Mfn } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { LocalApic } from '../machine/system/ports.ts';
import type { Shadow } from './shadow.ts';

/** Why a vCPU does not go on although it is not blocked: it waits for a device model. */
export interface IoWait {
  readonly resume: () => void;
}

export class HvmVcpu {
  readonly vcpu: Vcpu;
  /** VMCS or VMCB. */
  control: Mfn = INVALID_MFN;
  /** CR0 and CR4 as the guest reads them; the real ones are in the register block. */
  cr0 = 0x6000_0010;
  cr4 = 0;
  /**
   * EFER as the guest set it. The real one, in the register block, has what SVM wants, and LME only with LMA where the processor pages
   * although the guest does not.
   */
  efer = 0;
  /** Under shadow paging the guest's CR3, as halves; else the register block has it. */
  cr3Lo = 0;
  cr3Hi = 0;
  /** Null with EPT or nested paging. */
  shadow: Shadow | null = null;
  /** More than RIP, RSP and RFLAGS of the register block has changed since the last exit. */
  isDirty = true;
  /** The control structure has been entered on this CPU since it was loaded there (VMRESUME instead of VMLAUNCH). */
  isLaunched = false;
  /** Id of the CPU whose current VMCS this is; -1 for none. */
  loadedOn = -1;
  /** To be injected at the next entry. */
  event: HvmEvent | null = null;
  /** An exit is asked for when the guest can take an interrupt. */
  wantsWindow = false;
  /** Its translations are out of date. */
  needsFlush = false;
  /** MSRs that merely hold what was written (ThreadState.msrs while it runs). */
  readonly msrs = new Map<number, bigint>();
  apic: LocalApic | undefined = undefined;
  readonly paging: HvmPaging = { cr0: 0, cr3Lo: 0, cr3Hi: 0, cr4: 0, efer: 0, rflags: 0 };

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
  }
}
