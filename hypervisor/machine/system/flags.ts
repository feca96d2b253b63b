// Instructions on the system flags: CLI, STI, PUSHF, POPF, HLT, and CLAC, STAC (SDM Vol 2; privilege table in Vol 1, 3.4.3).

import { RunExit } from '../cpu-api.ts';
import type { Decoded } from '../isa/decoded.ts';
import { ARITHMETIC_FLAGS, EFLAGS } from '../state.ts';
import { EXC } from './bits.ts';
import { iopl, isVm86, next, requireCpl0 } from './mode.ts';
import type { SystemCpu } from './ports.ts';
import { currentStack } from './stack.ts';

/** IF may be changed (real mode runs at CPL 0); vm86 needs IOPL 3, as VME and PVI are not offered. */
const mayChangeIf = (cpu: SystemCpu): boolean => cpu.cpl <= iopl(cpu);

const ORDINARY = ARITHMETIC_FLAGS | EFLAGS.TF | EFLAGS.DF | EFLAGS.NT | EFLAGS.AC | EFLAGS.ID;

function popf(cpu: SystemCpu, d: Decoded): boolean {
  const vm86 = isVm86(cpu);
  if (vm86 && iopl(cpu) < 3) return cpu.fault(EXC.GP, 0);
  const stack = currentStack(cpu);
  const popped = stack.popBig(d.opSize);
  if (popped === undefined) return false;
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

function pushf(cpu: SystemCpu, d: Decoded): boolean {
  if (isVm86(cpu) && iopl(cpu) < 3) return cpu.fault(EXC.GP, 0);
  const stack = currentStack(cpu);
  if (!stack.push(cpu.rflags & ~(EFLAGS.VM | EFLAGS.RF), d.opSize)) return false;
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
    if (!mayChangeIf(cpu)) return cpu.fault(EXC.GP, 0);
    cpu.rflags &= ~EFLAGS.IF;
    return next(cpu, d);
  },
  STI(cpu: SystemCpu, d: Decoded) {
    if (!mayChangeIf(cpu)) return cpu.fault(EXC.GP, 0);
    if (!(cpu.rflags & EFLAGS.IF)) cpu.thread.interruptShadow = true;
    cpu.rflags |= EFLAGS.IF;
    return next(cpu, d);
  },
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
