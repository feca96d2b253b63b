// Which mode the CPU is in, and moving RIP. Everything derives from CR0, EFER, RFLAGS.VM and CS, so nothing can disagree.

import type { Lin } from '../addresses.ts';
import { isCanonical } from '../addresses.ts';
import type { Context } from '../context.ts';
import type { Decoded } from '../isa/decoded.ts';
import { CS, EFLAGS, SEG, STATE } from '../state.ts';
import { CR0, EFER, EXC } from './bits.ts';
import type { SystemCpu } from './ports.ts';

export const isPaged = (c: Context): boolean => (c.lo(STATE.cr0) & CR0.PG) !== 0;
export const hasProtection = (c: Context): boolean => (c.lo(STATE.cr0) & CR0.PE) !== 0;
export const isVm86 = (c: Context): boolean => hasProtection(c) && (c.lo(STATE.eflags) & EFLAGS.VM) !== 0;
/** Protected mode proper: segment loads go through descriptor tables. */
export const isProtected = (c: Context): boolean => hasProtection(c) && (c.lo(STATE.eflags) & EFLAGS.VM) === 0;
/** EFER.LMA: 64-bit or compatibility mode. */
export const isLongMode = (c: Context): boolean => (c.lo(STATE.efer) & EFER.LMA) !== 0;
export const is64 = (c: Context): boolean => isLongMode(c) && (c.segAttributes(CS) & SEG.l) !== 0;
export const iopl = (c: Context): number => (c.lo(STATE.eflags) >>> 12) & 3;

/** CPL is kept beside CS because conforming segments and vm86 make it differ from CS.RPL. */
export function setCpl(cpu: SystemCpu, cpl: number): void {
  cpu.setU32(STATE.cpl, cpl);
}

/** RIP after the instruction, wrapped as the mode has it. */
export function nextRip(cpu: SystemCpu, d: Decoded): Lin {
  const rip = cpu.rip + d.length;
  return (is64(cpu) ? rip : rip >>> 0) as Lin;
}

/** Ends a handler that runs on to the next instruction. */
export function next(cpu: SystemCpu, d: Decoded): true {
  cpu.rip = nextRip(cpu, d);
  return true;
}

/** Near jump target check: canonical in 64-bit mode, within CS.limit elsewhere (SDM Vol 2, JMP). */
export function checkRip(cpu: SystemCpu, rip: number): boolean {
  if (is64(cpu) ? isCanonical(rip as Lin) : rip <= cpu.segLimit(CS)) return true;
  return cpu.fault(EXC.GP, 0);
}

export function requireCpl0(cpu: SystemCpu): boolean {
  return cpu.cpl === 0 || cpu.fault(EXC.GP, 0);
}
