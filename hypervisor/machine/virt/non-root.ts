// What the core asks of a virtualization extension while a guest of it runs: VMX non-root operation (machine/vmx) or an SVM guest
// (machine/svm). The core knows no control field of either; it offers each thing that may be intercepted, once, at the point where the
// manuals say an intercept is looked at, and goes on as a processor without the extension would when the answer is no.

import type { Lin } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import type { SystemCpu } from '../system/ports.ts';

/** What is being delivered, in the words of both manuals (SDM Vol 3C, Table 25-16; APM Vol 2, Figure 15-4). */
export const EVENT_TYPE = { external: 0, nmi: 2, exception: 3, softInterrupt: 4, privilegedSoft: 5, softException: 6 } as const;
export type EventType = (typeof EVENT_TYPE)[keyof typeof EVENT_TYPE];

export interface GuestEvent {
  readonly vector: number;
  /** -1 for none. */
  readonly errorCode: number;
  readonly type: EventType;
  /** Of the instruction, for the soft kinds; else 0. */
  readonly length: number;
}

/** Guest-physical addresses to physical ones: EPT, or the nested page tables of SVM. */
export interface SecondLevel {
  /**
   * Physical address for a guest-physical one, or -1: refused, and what NonRoot.secondLevelFault() needs is noted. `access`: bits of PF
   * (write, user, fetch). `lin` is what the processor translates, undefined where no linear address is involved (PDPTEs).
   * `isTable`: the access is the walk's own, to a paging structure of the guest. Without `update` nothing is noted and no
   * accessed or dirty bit is set.
   */
  translate(gpa: number, access: number, lin: Lin | undefined, isTable: boolean, update: boolean): number;
  /** Of the last translation that succeeded: what the page allows (write only where its dirty bit, if kept, is set), and log2 of its size. */
  readonly writable: boolean;
  readonly executable: boolean;
  readonly shift: number;
}

export interface NonRoot {
  /** Undefined where guest-physical addresses are physical ones. */
  readonly second: SecondLevel | undefined;
  /** Translations made under one number are of one guest (VPID or ASID, with the second level's root); not 0, which is root operation's. */
  readonly space: number;
  /** Staged instructions to be brought before instruction() (bits of TRAPPED). */
  readonly trapped: number;
  /** CR8 is not the local APIC's but this: the virtual TPR. Undefined where CR8 is not virtualized. */
  readonly virtualTpr: { get(): number; set(cpu: SystemCpu, v: number): void } | undefined;

  // Every function below answers true when it has made an exit (or has otherwise dealt with the matter): the core then does nothing more
  // about it. The guest's state is then the host's already, or the run loop has been told to leave.

  /** An instruction that TypeScript carries out, before it does anything; exceptions that come before an intercept are the callee's to check. */
  instruction(cpu: SystemCpu, d: Decoded): boolean;
  /** An access to a port that IOPL and the TSS allow. `lin`: of the memory operand of INS and OUTS. */
  io(cpu: SystemCpu, d: Decoded, port: number, size: number, isIn: boolean, lin: Lin | undefined): boolean;
  /** An exception, or INT3, INTO and INT1, before it is delivered. CR2 (of a page fault: cpu.faultAddress) and DR6 are not written yet. */
  exception(cpu: SystemCpu, e: GuestEvent): boolean;
  /** INT n. */
  softInterrupt(cpu: SystemCpu, e: GuestEvent): boolean;
  /** A task switch, its TSS found and checked; nothing has changed. */
  taskSwitch(cpu: SystemCpu, selector: number, source: 'jmp' | 'call' | 'int' | 'iret', errorCode: number): boolean;
  /** A fault while a double fault was delivered. */
  tripleFault(cpu: SystemCpu): boolean;
  /** SecondLevel.translate() refused an access of the guest's. `during`: the event that was being delivered. Always an exit. */
  secondLevelFault(cpu: SystemCpu): void;
  /**
   * Before each entry to guest code: pending NMI, interrupt or window that makes an exit. `requests`: bits of REQUEST that the local APIC
   * has. False: the core goes on, and takes physical interrupts through the guest's IDT if takesInterrupts says so.
   */
  boundary(cpu: SystemCpu, requests: number): boolean;
  /** Whether physical interrupts that boundary() left are delivered to the guest as on a processor without the extension. */
  readonly takesInterrupts: boolean;
  /** Cycle at which boundary() must be asked again (preemption timer); infinity for none. */
  readonly deadline: number;
}

/** Staged instructions that an extension can intercept. */
export const TRAPPED = { PAUSE: 1, PUSHF: 2 } as const;
