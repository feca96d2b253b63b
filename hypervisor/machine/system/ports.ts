// What the slow paths need of a CPU beyond cpu-api.ts: I/O ports, a CPUID profile, and state of the hardware thread that no context holds.

import type { Lin } from '../addresses.ts';
import type { Cpu, RunExit } from '../cpu-api.ts';
import type { ExecMode } from '../exec/mode.ts';
import type { Outside } from '../mmu/physical.ts';
import type { Svm } from '../svm/svm.ts';
import type { GuestEvent, NonRoot } from '../virt/non-root.ts';
import type { Vmx } from '../vmx/vmx.ts';
import type { CpuProfile } from './cpuid.ts';

/** The I/O port space. Sizes are 1, 2 or 4; values unsigned. */
export interface IoPorts {
  in(port: number, size: number): number;
  out(port: number, size: number, value: number): void;
}

/** An empty bus: reads float high. */
export const noPorts: IoPorts = { in: (_port, size) => 2 ** (8 * size) - 1, out: () => {} };

/** HLT waits for an interrupt; MWAIT for a store to the monitored line too, and with ECX bit 0 for interrupts that IF holds back. */
export const WAITING = { no: 0, mwait: 1, mwaitAnyInterrupt: 2 } as const;

/** Plain data (saved and restored as it is). */
export interface ThreadState {
  /** STI, MOV SS or POP SS was the last instruction: no interrupt (for MOV SS, no #DB either) before the next one. The run loop clears it. */
  interruptShadow: boolean;
  /** A load of SS was the last instruction: no debug trap before the end of the next one. */
  debugShadow: boolean;
  /** DR6.B bits of the data and I/O breakpoints that the instruction at hand has hit. */
  debugHits: number;
  /** Of the last #DB: what it reported, and the low half of DR6 before it, for exits that leave DR6 alone (SDM Vol 3C, 28.1). */
  debugCause: number;
  dr6Before: number;
  /** RIP of the instruction that interruptShadow was about, -1 for none, and whether a load of SS was before it: what exits and entries ask. */
  shadowedRip: number;
  shadowedBySs: boolean;
  /** Hardware task switches that have passed their commit point. */
  taskSwitches: number;
  /** Set by NMI delivery, cleared by IRET. */
  nmiBlocked: boolean;
  /** MSR_MISC_FEATURES_ENABLES bit 0: CPUID above CPL 0 raises #GP(0). */
  cpuidFaulting: boolean;
  /** MSRs that merely hold what was written, by number; what is absent has its reset value (msr.ts). */
  msrs: Map<number, bigint>;
  /** State of the generator behind RDRAND: equal seeds give equal runs. */
  random: number;
  /** The cache line that MONITOR armed: its host address, and what it held then. Undefined when none is armed. */
  monitor: { readonly host: number; readonly seen: Uint8Array } | undefined;
  /** How the instruction that left run() with RunExit.halt waits. */
  waiting: (typeof WAITING)[keyof typeof WAITING];
}

export const createThreadState = (seed = 1): ThreadState => ({
  interruptShadow: false,
  debugShadow: false,
  debugHits: 0,
  debugCause: 0,
  dr6Before: 0,
  shadowedRip: -1,
  shadowedBySs: false,
  taskSwitches: 0,
  nmiBlocked: false,
  cpuidFaulting: false,
  msrs: new Map(),
  random: seed >>> 0 || 1,
  monitor: undefined,
  waiting: WAITING.no,
});

/** Bits of LocalApic.requests. */
export const REQUEST = { intr: 1, nmi: 2 } as const;

/** The local APIC as its processor core sees it (devices/lapic.ts). */
export interface LocalApic {
  /** What waits for the core, as bits of REQUEST. intr: there is a vector above the processor priority, or an 8259 asks through LINT0. */
  readonly requests: number;
  /** INTA: gives the vector and moves it from IRR to ISR, or asks the 8259. */
  acknowledge(): number;
  /** The core takes the NMI. */
  acknowledgeNmi(): void;
  /** CR8: task-priority class. */
  getCr8(): number;
  setCr8(v: number): void;
  /** IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC range. Undefined or false: #GP(0). */
  readMsr(n: number): bigint | undefined;
  writeMsr(n: number, v: bigint): boolean;
}

/** Shared by the CPUs of a board: what time has been seen by anybody. CPUs take turns, so one may be behind what another has read. */
export interface SharedTime {
  /** Cycles. */
  seen: number;
  /** What reading the time-stamp counter costs beyond the instruction, in cycles. */
  readonly readCost: number;
}

export interface SystemCpu extends Cpu {
  io: IoPorts;
  /** Absent under a hypervisor, which has an APIC of its own. */
  readonly apic: LocalApic | undefined;
  readonly time: SharedTime | undefined;
  readonly profile: CpuProfile;
  readonly thread: ThreadState;
  /** Reads the PDPTE registers of PAE paging; false, and nothing changed, when a reserved bit is set (SDM Vol 3A, 4.4.1). */
  loadPdptes(cr3: number): boolean;
  /** INVPCID: all translations of a PCID, or those for one linear address. */
  flushPcid(pcid: number): void;
  invlpgPcid(lin: Lin, pcid: number): void;
  /** Asks run() to return this once the instruction at hand is done. Returns true so that handlers can end with it. */
  leave(exit: RunExit): true;

  /** What decoded code depends on now. */
  readonly execMode: ExecMode;
  /** VT-x and SVM, where the profile has them. */
  readonly vmx: Vmx | undefined;
  readonly svm: Svm | undefined;
  /** Makes somebody answer for physical addresses without RAM, on all CPUs of the machine. */
  setOutside(outside: Outside): void;
  /** The guest of a virtualization extension that runs; null in root operation, and on a CPU that does not virtualize. */
  readonly nonRoot: NonRoot | null;
  /** VM entry and VM exit: to be called when the state of the other side has been loaded. */
  setNonRoot(guest: NonRoot | null): void;
  /** The event whose delivery is under way: what IDT-vectoring information and EXITINTINFO tell of. */
  delivering: GuestEvent | undefined;
  /** Linear address of the page fault at hand; a guest's CR2 gets it when the fault is delivered. */
  faultAddress: Lin;
  /** Delivers an event before the instruction at RIP, as event injection does: it is not intercepted, what comes of it may be. */
  inject(e: GuestEvent): void;
  /** Drops the translations made under a NonRoot.space; 0 is root operation's. */
  flushSpace(space: number): void;
}
