// Identification, MSRs, random numbers, and waiting: CPUID, RDMSR, WRMSR, RDPID, RDRAND, RDSEED, MONITOR, MWAIT.

import type { Lin } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import type { Decoded } from '../isa/decoded.ts';
import { ARITHMETIC_FLAGS, DS, EFLAGS, RAX, RBX, RCX, RDX, STATE } from '../state.ts';
import { EXC } from './bits.ts';
import { cpuid } from './cpuid.ts';
import { is64, next, requireCpl0 } from './mode.ts';
import { readMsr, writeMsr } from './msr.ts';
import { setGpr } from './operands.ts';
import { type SystemCpu, WAITING } from './ports.ts';

function executeCpuid(cpu: SystemCpu, d: Decoded): boolean {
  if (cpu.thread.cpuidFaulting && cpu.cpl > 0) return cpu.fault(EXC.GP, 0);
  const [a, b, c, dx] = cpuid(cpu, cpu.regLo(RAX) >>> 0, cpu.regLo(RCX) >>> 0);
  cpu.setRegHalves(RAX, a, 0);
  cpu.setRegHalves(RBX, b, 0);
  cpu.setRegHalves(RCX, c, 0);
  cpu.setRegHalves(RDX, dx, 0);
  return next(cpu, d);
}

/**
 * A Weyl sequence through MurmurHash3's finalizer (Appleby): deterministic by seed, as everything that a guest can see. Neighbouring seeds,
 * which neighbouring CPUs have, give unrelated numbers from the first one on.
 */
function random32(cpu: SystemCpu): number {
  const state = (cpu.thread.random + 0x9e3779b9) >>> 0;
  cpu.thread.random = state;
  let x = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** CF tells that a number was ready: always. The other arithmetic flags are cleared. */
function rdrand(cpu: SystemCpu, d: Decoded): boolean {
  const dst = d.operands[0];
  if (dst?.kind !== 'reg') return cpu.fault(EXC.UD);
  setGpr(cpu, dst.index, d.opSize, (BigInt(random32(cpu)) << 32n) | BigInt(random32(cpu)));
  cpu.rflags = (cpu.rflags & ~ARITHMETIC_FLAGS) | EFLAGS.CF;
  return next(cpu, d);
}

/** As CPUID leaf 5 says it: one cache line. */
const MONITOR_LINE = 64;

/** Whether there is no armed monitor (any more): its line has changed. */
export function monitorFired(cpu: SystemCpu): boolean {
  const { monitor } = cpu.thread;
  if (monitor === undefined) return true;
  for (let i = 0; i < MONITOR_LINE; i++)
    if (cpu.ram.u8[monitor.host + i] !== monitor.seen[i]) {
      cpu.thread.monitor = undefined;
      return true;
    }
  return false;
}

export const processorHandlers = {
  CPUID: executeCpuid,
  RDMSR(cpu: SystemCpu, d: Decoded) {
    if (!requireCpl0(cpu)) return false;
    const v = readMsr(cpu, cpu.regLo(RCX) >>> 0);
    if (v === undefined) return cpu.fault(EXC.GP, 0);
    cpu.setReg(RAX, v & 0xffffffffn);
    cpu.setReg(RDX, v >> 32n);
    return next(cpu, d);
  },
  WRMSR(cpu: SystemCpu, d: Decoded) {
    if (!requireCpl0(cpu)) return false;
    const v = (BigInt(cpu.regLo(RDX) >>> 0) << 32n) | BigInt(cpu.regLo(RAX) >>> 0);
    return writeMsr(cpu, cpu.regLo(RCX) >>> 0, v) ? next(cpu, d) : cpu.fault(EXC.GP, 0);
  },
  RDPID(cpu: SystemCpu, d: Decoded) {
    const dst = d.operands[0];
    if (dst?.kind !== 'reg') return cpu.fault(EXC.UD);
    setGpr(cpu, dst.index, is64(cpu) ? 8 : 4, BigInt(cpu.u32(STATE.tscAux)));
    return next(cpu, d);
  },
  RDRAND: rdrand,
  RDSEED: rdrand,
  /** Above CPL 0: #UD. MONITOR reads a byte, with all the faults of a load (SDM Vol 2B, MONITOR). */
  MONITOR(cpu: SystemCpu, d: Decoded) {
    if (cpu.cpl > 0) return cpu.fault(EXC.UD);
    if (cpu.regLo(RCX) !== 0) return cpu.fault(EXC.GP, 0);
    const lin = (is64(cpu) ? cpu.regLin(RAX) : (cpu.regLo(RAX) + cpu.segBase(DS)) >>> 0) as Lin;
    const host = cpu.probe(lin, 1, false);
    if (host === 0) return false;
    const line = host - (host % MONITOR_LINE);
    // What is not RAM comes in a window of the CPU's own, and is never seen to change: an MWAIT then waits for an interrupt.
    cpu.thread.monitor = { host: line, seen: cpu.ram.u8.slice(line, line + MONITOR_LINE) };
    return next(cpu, d);
  },
  MWAIT(cpu: SystemCpu, d: Decoded) {
    if (cpu.cpl > 0) return cpu.fault(EXC.UD);
    if (cpu.regLo(RCX) & ~1) return cpu.fault(EXC.GP, 0);
    next(cpu, d);
    // Without an armed monitor, or after a store to its line, MWAIT does not wait.
    if (monitorFired(cpu)) return true;
    cpu.thread.waiting = cpu.regLo(RCX) & 1 ? WAITING.mwaitAnyInterrupt : WAITING.mwait;
    return cpu.leave(RunExit.halt);
  },
  /** Outside system-management mode, which this machine does not have. */
  RSM: (cpu: SystemCpu, _d: Decoded) => cpu.fault(EXC.UD),
};
