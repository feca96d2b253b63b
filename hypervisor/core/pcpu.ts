// A physical CPU as the scheduler sees it: an emulated CPU and the vCPU that has it.

import type { Cpu } from '../machine/cpu-api.ts';
import type { Vcpu } from './vcpu.ts';

export class Pcpu {
  readonly id: number;
  readonly cpu: Cpu;
  current: Vcpu | null = null;

  constructor(id: number, cpu: Cpu) {
    this.id = id;
    this.cpu = cpu;
  }
}
