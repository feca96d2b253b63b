// What the slow paths need of a CPU beyond cpu-api.ts: I/O ports, a CPUID profile, and state of the hardware thread that no context holds.

import type { Cpu, RunExit } from '../cpu-api.ts';
import type { CpuProfile } from './cpuid.ts';

/** The I/O port space. Sizes are 1, 2 or 4; values unsigned. */
export interface IoPorts {
  in(port: number, size: number): number;
  out(port: number, size: number, value: number): void;
}

/** An empty bus: reads float high. */
export const noPorts: IoPorts = { in: (_port, size) => 2 ** (8 * size) - 1, out: () => {} };

/** Plain data (saved and restored as it is). */
export interface ThreadState {
  /** STI, MOV SS or POP SS was the last instruction: no interrupt (for MOV SS, no #DB either) before the next one. The run loop clears it. */
  interruptShadow: boolean;
  /** Set by NMI delivery, cleared by IRET. */
  nmiBlocked: boolean;
  /** MSR_MISC_FEATURES_ENABLES bit 0: CPUID above CPL 0 raises #GP(0). */
  cpuidFaulting: boolean;
  /** MSRs that merely hold what was written, by number; what is absent has its reset value (msr.ts). */
  msrs: Map<number, bigint>;
  /** State of the generator behind RDRAND: equal seeds give equal runs. */
  random: number;
  /** Address range that MONITOR armed, or undefined. */
  monitor: number | undefined;
}

export const createThreadState = (seed = 1): ThreadState => ({
  interruptShadow: false,
  nmiBlocked: false,
  cpuidFaulting: false,
  msrs: new Map(),
  random: seed >>> 0 || 1,
  monitor: undefined,
});

export interface SystemCpu extends Cpu {
  readonly io: IoPorts;
  readonly profile: CpuProfile;
  readonly thread: ThreadState;
  /** Asks run() to return this once the instruction at hand is done. Returns true so that handlers can end with it. */
  leave(exit: RunExit): true;
}
