// The emulated PC. It has never heard of Xen: nothing here imports from outside machine/.

export * from './addresses.ts';
export { Context } from './context.ts';
export type { Cpu, CpuEvent, WalkResult } from './cpu-api.ts';
export { PF, RunExit } from './cpu-api.ts';
export * from './devices/index.ts';
export { EmulatedCpu } from './exec/cpu.ts';
export { ENGINE_KINDS, type EngineKind, type EngineStatistics } from './exec/engine.ts';
export { type BackgroundCompiler, type CompileRequest, type CompileResult, serveCompileRequest } from './exec/jit/background.ts';
export {
  compareContexts,
  compareRam,
  type FieldDifference,
  instructionAt,
  readContext,
  type WordDifference,
} from './exec/lockstep.ts';
export { createMachine, Machine, type MachineOptions } from './machine.ts';
export { Ram } from './mmu/ram.ts';
export * from './state.ts';
export { cpuidOf } from './system/cpuid.ts';
