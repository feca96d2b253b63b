// What the CPUs of one machine share: memory, decoded code, handlers and modes.

import { PhysicalMap } from '../mmu/physical.ts';
import type { Ram } from '../mmu/ram.ts';
import { CPU_STRIDE } from '../state.ts';
import { CodeCache } from './code-cache.ts';
import type { EmulatedCpu } from './cpu.ts';
import { Handlers } from './handlers.ts';
import type { BackgroundCompiler } from './jit/background.ts';
import { EAGER, Jit, type JitStatistics, PATIENT } from './jit/jit.ts';
import { ModeTable } from './mode.ts';
import { Translator } from './translator.ts';

/** How guest code is run: records by threaded handlers alone, or hot regions compiled as well. Both count the same cycles. */
export const ENGINE_KINDS = ['interp', 'jit'] as const;
export type EngineKind = (typeof ENGINE_KINDS)[number];

export interface EngineOptions {
  /** Compile hot regions? */
  readonly jit: boolean;
  /** Compile each block when it is first entered, for tests. */
  readonly eager?: boolean;
  /** Compile beside the guest, instead of while it waits. */
  readonly background?: BackgroundCompiler;
}

/** What CPUID promises, by name. */
export type Features = Iterable<string> & { has(name: string): boolean };

export interface EngineStatistics {
  /** Blocks and instructions translated for the interpreter. */
  readonly blocks: number;
  readonly instructions: number;
  /** Kinds of handlers made, and WebAssembly modules compiled in all. */
  readonly handlers: number;
  readonly modules: number;
  /** Host time in the WebAssembly compiler, as far as the machine waited for it. */
  readonly compileMs: number;
  readonly jit?: JitStatistics;
}

export class Engine {
  readonly ram: Ram;
  readonly physical: PhysicalMap;
  /** Undefined with the interpreter alone. */
  readonly jit: Jit | undefined;
  readonly code: CodeCache;
  readonly handlers: Handlers;
  readonly translator: Translator;
  readonly modes: ModeTable;
  readonly cpus: EmulatedCpu[] = [];
  private readonly firstCpu: number;

  /** CPU state blocks begin at `firstCpu`, the code cache at `arena`; both are offsets in the machine's wasm memory. */
  constructor(ram: Ram, firstCpu: number, arena: number, arenaSize: number, features: Features, options: EngineOptions) {
    const hasFeature = (name: string): boolean => features.has(name);
    this.ram = ram;
    this.physical = new PhysicalMap(ram);
    this.firstCpu = firstCpu;
    this.modes = new ModeTable(hasFeature);
    this.code = new CodeCache(ram, arena, arenaSize);
    this.handlers = new Handlers(ram.memory, {
      probe: (cpu, access) => this.cpuAt(cpu).probeFromCode(access),
      commit: (cpu, host) => this.cpuAt(cpu).commit(host),
      segment: (cpu, access) => this.cpuAt(cpu).segmentFromCode(access),
    });
    this.jit = options.jit
      ? new Jit(ram, this.code, this.handlers, options.eager ? EAGER : PATIENT, [...features], options.background)
      : undefined;
    this.translator = new Translator(ram, this.code, this.handlers, hasFeature, this.jit?.hotAfter ?? 0);
    ram.onCodeWrite = (at, length) => this.code.written(at, length);
    this.code.onProtect = (frame) => {
      for (const c of this.cpus) c.protectFrame(ram.base + frame * 4096);
    };
    this.code.onDrop = (page) => {
      this.translator.forget(page);
      this.jit?.forget(page);
      for (const c of this.cpus) c.dropCode(page);
    };
  }

  /** What the engine has done so far, for reports. */
  get statistics(): EngineStatistics {
    const { translator, handlers, jit } = this;
    return {
      blocks: translator.blocks,
      instructions: translator.instructions,
      handlers: handlers.size,
      modules: handlers.modules,
      compileMs: Math.round(handlers.compileMs),
      ...(jit ? { jit: { ...jit.statistics, emitMs: Math.round(jit.statistics.emitMs) } } : {}),
    };
  }

  private cpuAt(base: number): EmulatedCpu {
    return this.cpus[(base - this.firstCpu) / CPU_STRIDE]!;
  }

  /** Throws all decoded code away: the arena is full, or the handlers' table. */
  resetCode(): void {
    if (this.translator.isFull) this.handlers.reset();
    this.code.reset();
    this.jit?.reset();
    this.translator.forget();
    for (const c of this.cpus) c.dropAllCode();
  }
}
