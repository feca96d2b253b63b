// What the rest of the machine (machine/system/) and its users (a hypervisor, the bare-metal runner) see of an emulated CPU.

import type { Lin, Maddr } from './addresses.ts';
import type { Context } from './context.ts';
import type { Ram } from './mmu/ram.ts';

/** Why Cpu.run() came back. */
export const RunExit = {
  /** The cycle deadline was reached. */
  deadline: 0,
  /** An exception, for the host: cpu.event has vector, error code; RIP is at the faulting instruction (after it for traps). */
  exception: 1,
  /** INT n, INT3, INTO, INT1 in host delivery: cpu.event.vector; RIP still at the instruction, cpu.event.length its length. */
  softInt: 2,
  /** SYSCALL in host delivery: RIP is after the instruction; RCX, R11, CS, SS and flags are untouched. */
  syscall: 3,
  /** SYSENTER in host delivery: RIP is after the instruction. */
  sysenter: 4,
  /** HLT at CPL 0 with nothing to wake it. */
  halt: 5,
  /** A fault while delivering a double fault (IDT delivery). */
  shutdown: 6,
  /** A VM exit to a host in TypeScript: why is in the VMCS or VMCB. */
  vmexit: 7,
} as const;
export type RunExit = (typeof RunExit)[keyof typeof RunExit];

export interface CpuEvent {
  vector: number;
  /** -1 when the exception pushes none. */
  errorCode: number;
  /** INT n forms: instruction length. */
  length: number;
}

/**
 * Stands for the vector (CpuEvent) and for the error code (WalkResult) of an access that the second level of translation refused: an EPT
 * violation or misconfiguration, a nested page fault. No exception of the guest's.
 */
export const SECOND_LEVEL = 0x100;

/** Bits of a page-fault error code and of the access that is asked for (SDM Vol 3A, 4.7). */
export const PF = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16, protectionKey: 32 } as const;

export interface WalkResult {
  /** 0 when the walk succeeded, else the #PF error code. */
  errorCode: number;
  ok: boolean;
  maddr: Maddr;
  /** Leaf permissions, combined over the levels. */
  writable: boolean;
  user: boolean;
  nx: boolean;
  global: boolean;
  /** log2 of the page size: 12, 21, 22 or 30. */
  shift: number;
}

/**
 * Faults inside TypeScript slow paths are values, not throws: a function that may fault returns false (or 0) after calling
 * `fault(...)`, which records the pending exception; the caller returns at once and the run loop delivers it.
 */
export interface Cpu extends Context {
  readonly ram: Ram;
  readonly id: number;
  readonly event: CpuEvent;
  /** Virtual cycles that this CPU has run for. */
  cycles: number;
  /** 'host': exceptions, INT n, SYSCALL and SYSENTER leave run() (a hypervisor in TypeScript). 'idt': delivered as hardware does. */
  delivery: 'host' | 'idt';

  /** Runs the current context until `deadline` (in this CPU's cycles, exact to the instruction) or an event. */
  run(deadline: number): RunExit;

  /** Records an exception; returns false so that callers can `return cpu.fault(...)`. errorCode -1 for none. */
  fault(vector: number, errorCode?: number): false;
  pageFault(lin: Lin, errorCode: number): false;

  /**
   * Host address of `size` bytes at a linear address for an access of the current context at its CPL, or 0 with the fault recorded.
   * Accesses that cross a page, or write a frame with code, come back as an assembled window: finish writes with commit().
   * `supervisor` makes an implicit supervisor access (descriptor tables).
   */
  probe(lin: Lin, size: number, write: boolean, supervisor?: boolean): number;
  /** Ends a write that probe() gave a window for; harmless otherwise. */
  commit(host: number): void;

  /** Walks the page tables of the current context without side effects (no A/D update, no fault). access: bits of PF. */
  walk(lin: Lin, access: number): WalkResult;

  /** Switches address spaces. `keep`: entries of the space that is entered may still be used (PCID no-flush, or a hypervisor that knows). */
  loadCr3(cr3: number | bigint, keep: boolean): void;
  /** Drops all translations of the current address space. */
  flushTlb(): void;
  /** Drops all translations of all address spaces. */
  flushAll(): void;
  invlpg(lin: Lin): void;
  /** To be called after CR0, CR4, EFER, CS, CPL, EFLAGS.AC or SMAP-relevant state changed from TypeScript: recomputes mode and tags. */
  modeChanged(): void;
}
