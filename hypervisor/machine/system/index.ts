// The slow paths of the CPU: instructions that are not staged, and the delivery of events.

export { CR0, CR4, EFER, EXC, hasErrorCode } from './bits.ts';
export type { CpuidRegisters, CpuProfile } from './cpuid.ts';
export { cpuid, cpuidOf, defaultProfile, FEATURES, PROFILES, withFeatures } from './cpuid.ts';
export {
  anyBreakpoint,
  checkExecuteBreakpoint,
  DR6,
  DR7,
  matchData,
  matchExecute,
  matchIo,
  recordDebug,
  singleStep,
  writeDr,
} from './debug.ts';
export type { Delivery } from './deliver.ts';
export { deliver, deliverFault, deliverInterrupt, interruptible } from './deliver.ts';
export { parseDescriptor, readDescriptor } from './descriptor.ts';
export { executeSystem, HANDLERS } from './execute.ts';
export { MSR, readMsr, writeMsr } from './msr.ts';
export type { IoPorts, SystemCpu, ThreadState } from './ports.ts';
export { createThreadState, noPorts } from './ports.ts';
export { resetContext } from './reset.ts';
export { loadLdtr, loadSegment, loadTr } from './segments.ts';
export { readTsc, setTsc } from './time.ts';
