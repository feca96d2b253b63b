// The machine: RAM, CPUs and the engine that they share; no devices.

import { Context } from './context.ts';
import { EmulatedCpu } from './exec/cpu.ts';
import { Engine, type EngineKind } from './exec/engine.ts';
import type { BackgroundCompiler } from './exec/jit/background.ts';
import { Ram } from './mmu/ram.ts';
import { CONTEXT_SIZE, CPU_STRIDE } from './state.ts';
import { type CpuProfile, defaultProfile, PROFILES } from './system/cpuid.ts';

export interface MachineOptions {
  /** RAM in bytes, a whole number of pages; with the engine's own memory it must fit in 4 GiB. */
  readonly ramBytes: number;
  /** Number of CPUs, 1 to 64. */
  readonly cpus: number;
  /** A CPUID profile, or the name of one (system/cpuid.ts). */
  readonly profile?: string | CpuProfile;
  /** Saved contexts (vCPUs) that the machine has room for. */
  readonly contexts?: number;
  /** 'jit' unless told. */
  readonly engine?: EngineKind;
  /** With the JIT: every block is compiled when it is first entered, for tests. */
  readonly eager?: boolean;
  /** With the JIT: where hot code is compiled while the guest goes on. Left out, the guest waits for it. */
  readonly background?: BackgroundCompiler;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const FIRST_CPU = 64 * KIB;
const ARENA_SIZE = 64 * MIB;

export class Machine {
  readonly ram: Ram;
  readonly cpus: readonly EmulatedCpu[];
  readonly engine: Engine;
  readonly profile: CpuProfile;
  private nextContext: number;
  private readonly contextEnd: number;
  private readonly freeContexts: number[] = [];

  constructor(options: MachineOptions) {
    const contexts = options.contexts ?? 1024;
    const contextBase = FIRST_CPU + options.cpus * CPU_STRIDE;
    const arena = Math.ceil((contextBase + contexts * CONTEXT_SIZE) / MIB) * MIB;
    this.nextContext = contextBase;
    this.contextEnd = contextBase + contexts * CONTEXT_SIZE;
    this.ram = new Ram(options.ramBytes, arena + ARENA_SIZE);
    const wanted = options.profile ?? defaultProfile;
    const profile = typeof wanted === 'string' ? PROFILES[wanted] : wanted;
    if (!profile) throw new RangeError(`CPU profile '${wanted}' is not known: there are ${Object.keys(PROFILES).join(', ')}`);
    this.profile = profile;
    this.engine = new Engine(this.ram, FIRST_CPU, arena, ARENA_SIZE, profile.features, {
      jit: (options.engine ?? 'jit') === 'jit',
      eager: options.eager ?? false,
      ...(options.background === undefined ? {} : { background: options.background }),
    });
    for (let i = 0; i < options.cpus; i++) this.engine.cpus.push(new EmulatedCpu(this.engine, i, FIRST_CPU + i * CPU_STRIDE, profile));
    this.cpus = this.engine.cpus;
  }

  /** A register file to put a context aside in; cleared. Throws when there are too many. */
  allocContext(): Context {
    const reused = this.freeContexts.pop();
    if (reused === undefined && this.nextContext + CONTEXT_SIZE > this.contextEnd)
      throw new RangeError('the machine has no room for another context');
    const base = reused ?? this.nextContext;
    if (reused === undefined) this.nextContext += CONTEXT_SIZE;
    const c = new Context(this.ram, base);
    c.clear();
    return c;
  }
  freeContext(c: Context): void {
    this.freeContexts.push(c.base);
  }
}

/** Builds a machine: RAM, CPUs at their reset state, no devices. */
export const createMachine = (options: MachineOptions): Machine => new Machine(options);
