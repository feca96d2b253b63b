// One instruction under EFLAGS.TF or an armed breakpoint: what must be known before it, and the #DB trap after it (SDM Vol 3B, 17.2, 17.3).

import type { Lin } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import { EFLAGS, RCX, STATE } from '../state.ts';
import { EXC } from './bits.ts';
import { DR6, recordDebug } from './debug.ts';
import { is64 } from './mode.ts';
import { MSR } from './msr.ts';
import { mask, setGpr } from './operands.ts';
import type { SystemCpu } from './ports.ts';

export interface Step {
  readonly trap: boolean;
  readonly from: Lin;
  readonly d: Decoded | undefined;
  /** rCX before a repeated string instruction, which is run for one element: each iteration is a step. 0n otherwise. */
  readonly count: bigint;
}

const STRING: ReadonlySet<string> = new Set(['MOVS', 'STOS', 'LODS', 'CMPS', 'SCAS', 'INS', 'OUTS']);
const COMPARES: ReadonlySet<string> = new Set(['CMPS', 'SCAS']);
/** Software interrupts clear TF as they enter the handler, and no trap follows them (SDM Vol 3B, 17.3.1.4). */
const INTERRUPTS: ReadonlySet<string> = new Set(['INT', 'INT3', 'INTO', 'INT1']);
const BTF = 2n;

export function beginStep(cpu: SystemCpu, d: Decoded | undefined, trap: boolean): Step {
  let count = 0n;
  if (d?.rep && STRING.has(d.insn.mnemonic)) {
    count = cpu.reg(RCX) & mask(d.addrSize);
    if (count > 1n) setGpr(cpu, RCX, d.addrSize, 1n);
  }
  return { trap, from: cpu.rip, d, count };
}

/** Puts rCX right after one element; RIP goes back to the instruction while more are to come. */
function endRepeat(cpu: SystemCpu, step: Step, d: Decoded, ran: boolean): void {
  if (!ran) {
    setGpr(cpu, RCX, d.addrSize, step.count);
    return;
  }
  setGpr(cpu, RCX, d.addrSize, step.count - 1n);
  const zf = (cpu.rflags & EFLAGS.ZF) !== 0;
  if (!COMPARES.has(d.insn.mnemonic) || zf === (d.rep === 0xf3)) cpu.rip = step.from;
}

/** Branch trap flag: only taken branches are steps. A #DB clears it (SDM Vol 3B, 17.4.3). */
function branchOnly(cpu: SystemCpu): boolean {
  return ((cpu.thread.msrs.get(MSR.IA32_DEBUGCTL) ?? 0n) & BTF) !== 0n;
}

function isStep(cpu: SystemCpu, step: Step): boolean {
  const { d } = step;
  if (!step.trap) return false;
  if (d && INTERRUPTS.has(d.insn.mnemonic)) return false;
  // SYSCALL masks TF away before the trap would be taken.
  if (d?.insn.mnemonic === 'SYSCALL' && !(cpu.lo(STATE.eflags) & EFLAGS.TF)) return false;
  if (!d || !branchOnly(cpu)) return true;
  const after = step.from + d.length;
  return cpu.rip !== (is64(cpu) ? after : after % 0x1_0000_0000) && step.count === 0n;
}

/** After the instruction: #DB as a trap if it is due. `ran` is false when it faulted or is to be run again, `leaving` when run() ends. */
export function endStep(cpu: SystemCpu, step: Step, ran: boolean, leaving: boolean): void {
  if (step.d && step.count > 1n) endRepeat(cpu, step, step.d, ran);
  const { thread } = cpu;
  if (!ran || thread.debugShadow) return;
  const hits = thread.debugHits;
  const stepped = isStep(cpu, step) && !leaving;
  if (!stepped && hits === 0) return;
  const control = thread.msrs.get(MSR.IA32_DEBUGCTL);
  if (control !== undefined) thread.msrs.set(MSR.IA32_DEBUGCTL, control & ~BTF);
  recordDebug(cpu, hits | (stepped ? DR6.BS : 0));
  cpu.fault(EXC.DB);
}
