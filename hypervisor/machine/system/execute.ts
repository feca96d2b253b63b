// The one entry from the engine: an instruction that has no staged form, or gave itself up with Builder.slow(), is carried out here.
//
// RIP is at the instruction. On success the handler has set it (normally past the instruction; a long repeated one may leave it) and the
// answer is true; on a fault cpu.fault() has recorded the exception, nothing visible has changed, and the answer is false.
// cpu.leave() tells the run loop to stop after the instruction.

import type { Decoded } from '../isa/decoded.ts';
import { formsOf } from '../isa/forms.ts';
import type { AnyInsn, Check } from '../isa/insn.ts';
import { svmHandlers } from '../svm/instructions.ts';
import { vmxHandlers } from '../vmx/instructions.ts';
import { EXC } from './bits.ts';
import { controlHandlers } from './control.ts';
import { debugHandlers } from './debug.ts';
import { extendedStateHandlers } from './extended-state.ts';
import { farHandlers } from './far.ts';
import { flagHandlers } from './flags.ts';
import { fpStateHandlers } from './fpstate.ts';
import { mmxUsable, sseUsable } from './fpu-check.ts';
import { interruptHandlers } from './interrupts.ts';
import { ioHandlers } from './io.ts';
import { is64, isProtected } from './mode.ts';
import type { SystemCpu } from './ports.ts';
import { processorHandlers } from './processor.ts';
import type { CpuProfile } from './profiles/profile.ts';
import { segmentHandlers } from './segment-insns.ts';
import { sseArithmeticHandlers } from './sse/arithmetic-insns.ts';
import { sseConvertHandlers } from './sse/convert-insns.ts';
import { sse4Handlers } from './sse/sse4-insns.ts';
import { syscallHandlers } from './syscall.ts';
import { timeHandlers } from './time.ts';
import { arithmeticHandlers } from './x87/arithmetic-insns.ts';
import { controlHandlers as x87ControlHandlers } from './x87/control-insns.ts';
import { functionHandlers } from './x87/function-insns.ts';
import { moveHandlers } from './x87/move-insns.ts';

export type Handler = (cpu: SystemCpu, d: Decoded) => boolean;

/** By mnemonic, as in isa/. */
export const HANDLERS: ReadonlyMap<string, Handler> = new Map<string, Handler>(
  [
    controlHandlers,
    debugHandlers,
    extendedStateHandlers,
    farHandlers,
    flagHandlers,
    fpStateHandlers,
    interruptHandlers,
    ioHandlers,
    processorHandlers,
    segmentHandlers,
    sseArithmeticHandlers,
    sseConvertHandlers,
    sse4Handlers,
    syscallHandlers,
    timeHandlers,
    vmxHandlers,
    arithmeticHandlers,
    functionHandlers,
    moveHandlers,
    x87ControlHandlers,
    svmHandlers,
  ].flatMap((family) => Object.entries<Handler>(family)),
);

function passes(cpu: SystemCpu, check: Check): boolean {
  switch (check) {
    case 'cpl0':
      return cpu.cpl === 0 || cpu.fault(EXC.GP, 0);
    case 'protected':
      return isProtected(cpu) || cpu.fault(EXC.UD);
    case 'not64':
      return !is64(cpu) || cpu.fault(EXC.UD);
    case 'only64':
      return is64(cpu) || cpu.fault(EXC.UD);
  }
}

/** Staged SSE and MMX code gives itself up only where these may not be used: the checks say which exception that is. */
function simdRefused(cpu: SystemCpu, d: Decoded): boolean {
  const letters = formsOf(d.insn)[d.form]?.operands.map((o) => o.letter) ?? [];
  if (letters.some((l) => 'VWU'.includes(l)) && !sseUsable(cpu)) return false;
  if (letters.some((l) => 'PQN'.includes(l)) && !mmxUsable(cpu)) return false;
  return cpu.fault(EXC.UD);
}

/** Carries out one instruction. A mnemonic without a handler, or one whose CPUID feature is absent, is #UD. */
export function executeSystem(cpu: SystemCpu, d: Decoded): boolean {
  if (cpu.profile !== preparedFor) {
    prepared.clear();
    preparedFor = cpu.profile;
  }
  let ready = prepared.get(d.insn);
  if (ready === undefined) {
    ready = prepare(cpu, d.insn);
    prepared.set(d.insn, ready);
  }
  for (const c of ready.checks) if (!passes(cpu, c)) return false;
  if (cpu.nonRoot !== null && ready.handler !== undefinedOpcode && cpu.nonRoot.instruction(cpu, d)) return true;
  // By name after all: tests put handlers of their own into the table.
  return (ready.handler ?? HANDLERS.get(d.insn.mnemonic) ?? undefinedOpcode)(cpu, d);
}

interface Ready {
  /** Undefined: the one in the table. */
  readonly handler: Handler | undefined;
  readonly checks: readonly Check[];
}
/** Whether an instruction may be carried out on the processor that asked last, and what must hold. */
const prepared = new Map<AnyInsn, Ready>();
let preparedFor: CpuProfile | undefined;
const NO_CHECKS: readonly Check[] = [];
const undefinedOpcode: Handler = (cpu) => cpu.fault(EXC.UD);

function prepare(cpu: SystemCpu, insn: AnyInsn): Ready {
  const { mnemonic, cpuid, check, sem } = insn;
  const handler = HANDLERS.get(mnemonic);
  const offered = cpuid === undefined || cpu.profile.features.has(cpuid);
  if (!handler && sem && cpuid && /^(mmx|s?sse|aes|pclmul|sha)/.test(cpuid) && offered) return { handler: simdRefused, checks: NO_CHECKS };
  if (!handler || !offered) return { handler: undefinedOpcode, checks: NO_CHECKS };
  return { handler: undefined, checks: check === undefined ? NO_CHECKS : typeof check === 'string' ? [check] : check };
}
