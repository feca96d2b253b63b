// Instructions on the system flags: CLI, STI, PUSHF, POPF, HLT, and CLAC, STAC (SDM Vol 2; privilege table in Vol 1, 3.4.3).

import { RunExit } from '../cpu-api.ts';
import type { Decoded } from '../isa/decoded.ts';
import { ARITHMETIC_FLAGS, EFLAGS, STATE } from '../state.ts';
import { CR4, EXC } from './bits.ts';
import { iopl, isVm86, next, requireCpl0 } from './mode.ts';
import type { SystemCpu } from './ports.ts';
import { currentStack } from './stack.ts';

/** IF may be changed (real mode runs at CPL 0). */
const mayChangeIf = (cpu: SystemCpu): boolean => cpu.cpl <= iopl(cpu);
/** CLI and STI work on VIF instead: in vm86 with VME, at CPL 3 with PVI (SDM Vol 3B, 20.3.2 and 20.4). */
const hasVirtualIf = (cpu: SystemCpu): boolean => cpu.cpl === 3 && (cpu.lo(STATE.cr4) & (isVm86(cpu) ? CR4.VME : CR4.PVI)) !== 0;

const ORDINARY = ARITHMETIC_FLAGS | EFLAGS.TF | EFLAGS.DF | EFLAGS.NT | EFLAGS.AC | EFLAGS.ID;

function popf(cpu: SystemCpu, d: Decoded): boolean {
  const restricted = isVm86(cpu) && iopl(cpu) < 3;
  if (restricted && (d.opSize !== 2 || !(cpu.lo(STATE.cr4) & CR4.VME))) return cpu.fault(EXC.GP, 0);
  const stack = currentStack(cpu);
  const popped = stack.popBig(d.opSize);
  if (popped === undefined) return false;
  if (restricted) {
    if (!loadVirtualFlags(cpu, Number(popped))) return false;
    stack.commit();
    return next(cpu, d);
  }
  let may = ORDINARY;
  if (mayChangeIf(cpu)) may |= EFLAGS.IF;
  if (cpu.cpl === 0) may |= EFLAGS.IOPL;
  // RF is cleared by the 32- and 64-bit forms; VM, VIF and VIP stay.
  if (d.opSize === 2) may &= 0xffff;
  const keep = cpu.rflags & ~(may | (d.opSize === 2 ? 0 : EFLAGS.RF));
  stack.commit();
  cpu.rflags = keep | (Number(popped & 0xffffffffn) & may);
  cpu.modeChanged();
  return next(cpu, d);
}

/**
 * POPF and IRET of 16 bits in vm86 with VME and without IOPL 3: IF goes to VIF, IOPL stays; a request for interrupts while one is pending,
 * or for TF, is #GP(0).
 */
export function loadVirtualFlags(cpu: SystemCpu, popped: number): boolean {
  const flags = cpu.rflags;
  if (popped & EFLAGS.TF || (popped & EFLAGS.IF && flags & EFLAGS.VIP)) return cpu.fault(EXC.GP, 0);
  const may = ARITHMETIC_FLAGS | EFLAGS.DF | EFLAGS.NT | EFLAGS.TF;
  cpu.rflags = (flags & ~(may | EFLAGS.VIF)) | (popped & may) | (popped & EFLAGS.IF ? EFLAGS.VIF : 0);
  cpu.modeChanged();
  return true;
}

function pushf(cpu: SystemCpu, d: Decoded): boolean {
  let flags = cpu.rflags & ~(EFLAGS.VM | EFLAGS.RF);
  if (isVm86(cpu) && iopl(cpu) < 3) {
    if (d.opSize !== 2 || !(cpu.lo(STATE.cr4) & CR4.VME)) return cpu.fault(EXC.GP, 0);
    flags = (flags & ~EFLAGS.IF) | EFLAGS.IOPL | (flags & EFLAGS.VIF ? EFLAGS.IF : 0);
  }
  const stack = currentStack(cpu);
  if (!stack.push(flags, d.opSize)) return false;
  stack.commit();
  return next(cpu, d);
}

const setAc =
  (on: boolean) =>
  (cpu: SystemCpu, d: Decoded): boolean => {
    if (cpu.cpl > 0) return cpu.fault(EXC.UD);
    cpu.rflags = on ? cpu.rflags | EFLAGS.AC : cpu.rflags & ~EFLAGS.AC;
    cpu.modeChanged();
    return next(cpu, d);
  };

export const flagHandlers = {
  CLI(cpu: SystemCpu, d: Decoded) {
    const flag = mayChangeIf(cpu) ? EFLAGS.IF : hasVirtualIf(cpu) ? EFLAGS.VIF : 0;
    if (flag === 0) return cpu.fault(EXC.GP, 0);
    cpu.setU32(STATE.eflags, cpu.lo(STATE.eflags) & ~flag);
    return next(cpu, d);
  },
  STI(cpu: SystemCpu, d: Decoded) {
    const flags = cpu.lo(STATE.eflags);
    if (mayChangeIf(cpu)) {
      if (!(flags & EFLAGS.IF)) cpu.thread.interruptShadow = true;
      cpu.setU32(STATE.eflags, flags | EFLAGS.IF);
      return next(cpu, d);
    }
    if (!hasVirtualIf(cpu) || flags & EFLAGS.VIP) return cpu.fault(EXC.GP, 0);
    cpu.setU32(STATE.eflags, flags | EFLAGS.VIF);
    return next(cpu, d);
  },
  /** Comes here only where an extension may intercept it. */
  PAUSE: next,
  POPF: popf,
  PUSHF: pushf,
  CLAC: setAc(false),
  STAC: setAc(true),
  HLT(cpu: SystemCpu, d: Decoded) {
    if (!requireCpl0(cpu)) return false;
    next(cpu, d);
    return cpu.leave(RunExit.halt);
  },
};
