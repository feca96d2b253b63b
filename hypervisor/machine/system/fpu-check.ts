// Whether x87, MMX and SSE instructions may run: the #UD, #NM and #MF conditions of SDM Vol 3A, 13.1 and Vol 1, 8.7. Staged SSE and
// MMX code gives itself up (Builder.slow) when it may not, and comes here to have the right exception raised.

import { STATE } from '../state.ts';
import { CR0, CR4, EXC } from './bits.ts';
import type { SystemCpu } from './ports.ts';

/** FSW.ES: an unmasked exception is pending. */
const FSW_ES = 0x80;

/** FXSAVE, FXRSTOR: CR0.EM is #UD (as Intel has it), CR0.TS #NM. */
export function fxUsable(cpu: SystemCpu): boolean {
  const cr0 = cpu.lo(STATE.cr0);
  if (cr0 & CR0.EM) return cpu.fault(EXC.UD);
  return !(cr0 & CR0.TS) || cpu.fault(EXC.NM);
}

/** SSE: CR4.OSFXSR is needed as well. */
export function sseUsable(cpu: SystemCpu): boolean {
  if (!(cpu.lo(STATE.cr4) & CR4.OSFXSR)) return cpu.fault(EXC.UD);
  return fxUsable(cpu);
}

/** MMX: as FXSAVE, but pending x87 exceptions are reported first. */
export function mmxUsable(cpu: SystemCpu): boolean {
  if (!fxUsable(cpu)) return false;
  return !(cpu.u16(STATE.fsw) & FSW_ES && cpu.lo(STATE.cr0) & CR0.NE) || cpu.fault(EXC.MF);
}

/** x87: EM or TS is #NM; a pending exception is #MF with CR0.NE. Without NE it would be IRQ 13, which nothing here listens to. */
export function x87Usable(cpu: SystemCpu, waits: boolean): boolean {
  const cr0 = cpu.lo(STATE.cr0);
  if (cr0 & (CR0.EM | CR0.TS)) return cpu.fault(EXC.NM);
  return !(waits && cpu.u16(STATE.fsw) & FSW_ES && cr0 & CR0.NE) || cpu.fault(EXC.MF);
}

/** FWAIT: #NM only with both MP and TS. */
export function waitUsable(cpu: SystemCpu): boolean {
  const cr0 = cpu.lo(STATE.cr0);
  if ((cr0 & (CR0.MP | CR0.TS)) === (CR0.MP | CR0.TS)) return cpu.fault(EXC.NM);
  return !(cpu.u16(STATE.fsw) & FSW_ES && cr0 & CR0.NE) || cpu.fault(EXC.MF);
}
