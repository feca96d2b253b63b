// Debug registers: MOV DR, matching of breakpoints, and what #DB leaves in DR6 (SDM Vol 3B, chapter 17).

import type { Lin } from '../addresses.ts';
import type { Context } from '../context.ts';
import type { Decoded } from '../isa/decoded.ts';
import { EFLAGS, STATE } from '../state.ts';
import { CR4, EXC } from './bits.ts';
import { is64, next } from './mode.ts';
import { mask, setGpr } from './operands.ts';
import type { SystemCpu } from './ports.ts';

export const DR6 = { B: 0xf, BD: 1 << 13, BS: 1 << 14, BT: 1 << 15 } as const;
export const DR7 = { enables: 0xff, GD: 1 << 13 } as const;
/** Bits that read as one. */
export const DR6_FIXED = 0xffff0ff0;
export const DR7_FIXED = 0x400;

/** Conditions of DR7.R/W. */
const BREAK = { execute: 0, write: 1, io: 2, readWrite: 3 } as const;
const LENGTHS = [1, 2, 8, 4] as const;

const drOffset = (n: number): number => STATE.dr + 8 * n;
export const readDr = (c: Context, n: number): bigint => c.big(drOffset(n));
export const dr7 = (c: Context): number => c.lo(drOffset(7));

/** Some breakpoint is enabled: the run loop need not ask otherwise. */
export const anyBreakpoint = (c: Context): boolean => (dr7(c) & DR7.enables) !== 0;

/** DR6.B bits of the enabled breakpoints for which `hit` holds. */
function matches(c: Context, hit: (n: number, condition: number, length: number) => boolean): number {
  const control = dr7(c);
  let bits = 0;
  for (let n = 0; n < 4; n++) {
    const enabled = (control >>> (2 * n)) & 3;
    if (!enabled) continue;
    const field = (control >>> (16 + 4 * n)) & 15;
    if (hit(n, field & 3, LENGTHS[field >>> 2]!)) bits |= 1 << n;
  }
  return bits;
}

/** B bits of instruction breakpoints at `lin`; 0 while RFLAGS.RF is set. */
export function matchExecute(c: Context, lin: Lin): number {
  if (c.lo(STATE.eflags) & EFLAGS.RF) return 0;
  return matches(c, (n, condition) => condition === BREAK.execute && c.lin(drOffset(n)) === lin);
}

/** B bits of data breakpoints that an access of `size` bytes at `lin` touches. */
export function matchData(c: Context, lin: Lin, size: number, write: boolean): number {
  return matches(c, (n, condition, length) => {
    if (condition !== BREAK.readWrite && !(write && condition === BREAK.write)) return false;
    const at = c.lin(drOffset(n));
    const start = at - (((at % length) + length) % length);
    return lin < start + length && start < lin + size;
  });
}

/** B bits of I/O breakpoints; they need CR4.DE. */
export function matchIo(c: Context, port: number, size: number): number {
  if (!(c.lo(STATE.cr4) & CR4.DE)) return 0;
  return matches(c, (n, condition, length) => {
    const at = c.lo(drOffset(n)) & 0xffff & -length;
    return condition === BREAK.io && port < at + length && at < port + size;
  });
}

/** Adds to DR6 what a #DB reports; B bits of breakpoints that did not fire are cleared. The hypervisor or handler clears the rest. */
export function recordDebug(c: SystemCpu, bits: number): void {
  const old = c.lo(drOffset(6));
  c.thread.debugCause = bits;
  c.thread.dr6Before = old;
  c.setHalves(drOffset(6), (old & ~DR6.B) | bits | DR6_FIXED, 0);
}

/** A single step has completed (TF was set when the instruction began): #DB as a trap. */
export function singleStep(cpu: SystemCpu, extra = 0): false {
  recordDebug(cpu, DR6.BS | extra);
  return cpu.fault(EXC.DB);
}

/** Instruction breakpoint before the instruction at RIP: #DB as a fault. True when none matches. */
export function checkExecuteBreakpoint(cpu: SystemCpu): boolean {
  const bits = anyBreakpoint(cpu) ? matchExecute(cpu, (is64(cpu) ? cpu.rip : (cpu.rip + cpu.segBase(1)) % 0x1_0000_0000) as Lin) : 0;
  if (bits === 0) return true;
  recordDebug(cpu, bits);
  return cpu.fault(EXC.DB);
}

/** MOV to DRn from a value; false with the fault recorded. Used by hypervisors too: reserved bits are forced as hardware forces them. */
export function writeDr(cpu: SystemCpu, n: number, v: bigint): boolean {
  if (n >= 6 && v >> 32n) return cpu.fault(EXC.GP, 0);
  const low = Number(v & 0xffffffffn);
  if (n === 6) cpu.setHalves(drOffset(6), (low & ~0x1000) | DR6_FIXED, 0);
  else if (n === 7) cpu.setHalves(drOffset(7), (low & ~0xd000) | DR7_FIXED, 0);
  else cpu.setBig(drOffset(n), v);
  return true;
}

/** The register that an encoding names, its access checked: DR4 and DR5 are aliases unless CR4.DE; general detect faults. */
function accessDr(cpu: SystemCpu, encoded: number): number | undefined {
  let n = encoded;
  if (n > 7 || ((n === 4 || n === 5) && cpu.lo(STATE.cr4) & CR4.DE)) {
    cpu.fault(EXC.UD);
    return undefined;
  }
  if (n === 4 || n === 5) n += 2;
  if (dr7(cpu) & DR7.GD) {
    // The handler may use the registers: GD is cleared.
    cpu.setHalves(drOffset(7), dr7(cpu) & ~DR7.GD, 0);
    recordDebug(cpu, DR6.BD);
    cpu.fault(EXC.DB);
    return undefined;
  }
  return n;
}

export const debugHandlers = {
  MOV_TO_DR(cpu: SystemCpu, d: Decoded) {
    const [to, from] = d.operands;
    if (to?.kind !== 'reg' || from?.kind !== 'reg') return cpu.fault(EXC.UD);
    const n = accessDr(cpu, to.index);
    if (n === undefined || !writeDr(cpu, n, cpu.reg(from.index) & mask(is64(cpu) ? 8 : 4))) return false;
    cpu.modeChanged();
    return next(cpu, d);
  },
  MOV_FROM_DR(cpu: SystemCpu, d: Decoded) {
    const [to, from] = d.operands;
    if (to?.kind !== 'reg' || from?.kind !== 'reg') return cpu.fault(EXC.UD);
    const n = accessDr(cpu, from.index);
    if (n === undefined) return false;
    setGpr(cpu, to.index, is64(cpu) ? 8 : 4, readDr(cpu, n));
    return next(cpu, d);
  },
};
