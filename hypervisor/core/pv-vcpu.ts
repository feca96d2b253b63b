// The PV part of a vCPU: what the guest has told the hypervisor through set_trap_table, stack_switch, set_callbacks and the rest.
// Plain data (save and restore write it as it stands); the behaviour is in pv/.

import { INVALID_MFN, type Lin, type Mfn } from './ids.ts';

/** One virtual exception vector (struct trap_info): address 0 means none. */
export interface TrapEntry {
  selector: number;
  address: Lin;
  /** TI_GET_DPL: the CPL up to which INT n may reach it. */
  dpl: number;
  /** TI_GET_IF: mask events on entry. */
  ifFlag: boolean;
}

export interface PvVcpu {
  trapTable: TrapEntry[];

  /** stack_switch; for 64-bit guests only the stack pointer counts. */
  kernelSs: number;
  kernelSp: Lin;

  /** Selectors count for 32-bit guests only (0 = none registered: address 0). */
  eventCallbackCs: number;
  eventCallbackEip: Lin;
  failsafeCallbackCs: number;
  failsafeCallbackEip: Lin;
  failsafeDisablesEvents: boolean;
  syscallCallbackEip: Lin;
  syscallDisablesEvents: boolean;
  /** compat-mode SYSCALL (CALLBACKTYPE_syscall32) and SYSENTER. */
  syscall32CallbackCs: number;
  syscall32CallbackEip: Lin;
  syscall32DisablesEvents: boolean;
  sysenterCallbackCs: number;
  sysenterCallbackEip: Lin;
  sysenterDisablesEvents: boolean;

  /** Whether the guest kernel's page tables are in use (TF_kernel_mode); always true for 32-bit guests. */
  kernelMode: boolean;
  /** The guest's own top-level table: L4 of a 64-bit guest's kernel, L3 of a 32-bit guest. */
  guestTable: Mfn;
  /** L4 of a 64-bit guest's user mode (MMUEXT_NEW_USER_BASEPTR), INVALID_MFN when none. */
  guestTableUser: Mfn;
  /** 32-bit guests: the hypervisor-owned L4 that the CPU's CR3 points to, whose slot 0 holds guestTable. */
  monitorTable: Mfn;

  /** set_gdt: machine frames of the descriptor table and number of entries. */
  gdtFrames: Mfn[];
  gdtEnts: number;
  /** MMUEXT_SET_LDT: linear base and number of entries. */
  ldtBase: Lin;
  ldtEnts: number;

  /** Control registers as the guest sees them: cr0, cr2 (in vcpu_info), cr3 (as guest value), cr4. */
  ctrlreg: bigint[];
  /** IOPL as set by PHYSDEVOP_set_iopl, 0..3. */
  iopl: number;
  /** PHYSDEVOP_set_iobitmap. */
  iobmp: number;
  iobmpLimit: number;

  // Segment bases live in the registers (Context): FS and GS of the mode that runs, the other mode's GS in kernelGsBase, as SWAPGS has it.

  /** Frames of the LDT that are mapped into the per-domain area now (PGT_seg_desc_page references held), INVALID_MFN elsewhere. */
  ldtShadow: Mfn[];

  debugreg: bigint[];
  /** I/O breakpoints that the guest enabled in DR7 while CR4.DE is clear for it (emulated DR7 bits). */
  dr7Emul: number;

  /** CPUID faulting enabled by the guest (MSR_MISC_FEATURES_ENABLES). */
  cpuidFaulting: boolean;
  /** What comes of the selectors of a fresh context at the first return to the guest: 0 nothing, -1 the failsafe callback, or a fault. */
  startFault: number;
  /** An NMI waits for delivery (vcpu_op send_nmi). */
  nmiPending: boolean;
  /** Bits 1 << VCPU_TRAP_*: asynchronous exceptions that the guest is handling; iret restores the mask that was before (nmiOldMask). */
  asyncExceptionMask: number;
  nmiOldMask: number;
  /** The CPU that it ran on last, -1 for none: its translations there are still good when nobody else has run there since. */
  lastCpu: number;
}

export const createPvVcpu = (): PvVcpu => ({
  trapTable: Array.from({ length: 256 }, () => ({ selector: 0, address: 0 as Lin, dpl: 0, ifFlag: false })),
  kernelSs: 0,
  kernelSp: 0 as Lin,
  eventCallbackCs: 0,
  eventCallbackEip: 0 as Lin,
  failsafeCallbackCs: 0,
  failsafeCallbackEip: 0 as Lin,
  failsafeDisablesEvents: false,
  syscallCallbackEip: 0 as Lin,
  syscallDisablesEvents: false,
  syscall32CallbackCs: 0,
  syscall32CallbackEip: 0 as Lin,
  syscall32DisablesEvents: false,
  sysenterCallbackCs: 0,
  sysenterCallbackEip: 0 as Lin,
  sysenterDisablesEvents: false,
  kernelMode: true,
  guestTable: INVALID_MFN,
  guestTableUser: INVALID_MFN,
  monitorTable: INVALID_MFN,
  gdtFrames: [],
  gdtEnts: 0,
  ldtBase: 0 as Lin,
  ldtEnts: 0,
  ctrlreg: [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n],
  iopl: 0,
  iobmp: 0,
  iobmpLimit: 0,
  ldtShadow: new Array<Mfn>(16).fill(INVALID_MFN),
  debugreg: [0n, 0n, 0n, 0n, 0n, 0n, 0xffff0ff0n, 0x400n],
  dr7Emul: 0,
  cpuidFaulting: false,
  startFault: 0,
  nmiPending: false,
  asyncExceptionMask: 0,
  nmiOldMask: 0,
  lastCpu: -1,
});
