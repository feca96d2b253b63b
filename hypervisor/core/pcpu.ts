// A physical CPU as the scheduler sees it: an emulated CPU and the vCPU that has it. Times are system time in ns.

import type { Cpu } from '../machine/cpu-api.ts';
import type { Vcpu } from './vcpu.ts';

export class Pcpu {
  readonly id: number;
  readonly cpu: Cpu;
  current: Vcpu | null = null;
  /** The scheduler is to be asked before the guest runs on. */
  needsSchedule = true;
  /** When `current` got the CPU, when credit was last taken, and when its slice ends. */
  startedAt = 0;
  chargedAt = 0;
  sliceEnd = Number.POSITIVE_INFINITY;
  /** Who had the CPU last: its translations may still be in the TLB. */
  lastVcpu: Vcpu | null = null;
  /** FrameTable.tableGeneration when a guest last had the TLB flushed. */
  flushedAt = -1;
  /** Cycles spent without a vCPU, for getcpuinfo. */
  idleCycles = 0;

  constructor(id: number, cpu: Cpu) {
    this.id = id;
    this.cpu = cpu;
  }
}
