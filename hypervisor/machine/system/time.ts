// The time-stamp counter: cycles of this CPU plus the context's offset (SDM Vol 3B, 17.17).

import type { Decoded } from '../isa/decoded.ts';
import { RAX, RCX, RDX, STATE } from '../state.ts';
import { CR4, EXC } from './bits.ts';
import { next } from './mode.ts';
import type { SystemCpu } from './ports.ts';

/** TSC of the current context; the offset is a double in the context. */
export function readTsc(cpu: SystemCpu): bigint {
  return BigInt.asUintN(64, BigInt(Math.floor(timeOf(cpu) + cpu.ram.f64[(cpu.base + STATE.tscOffset) >>> 3]!)));
}

/**
 * The cycle that this CPU sees. CPUs of a board take turns: the one that runs may be behind what another has read and told of. Time that
 * has been seen is never seen to go back, as the synchronized counters of one package never do (SDM Vol 3B, 17.17.1).
 */
export function timeOf(cpu: SystemCpu): number {
  const { time } = cpu;
  if (time === undefined) return cpu.cycles;
  if (cpu.cycles > time.seen) time.seen = cpu.cycles;
  return time.seen;
}

/** IA32_TSC_ADJUST, kept in thread.msrs: what writes of the counter have added to it (SDM Vol 3B, 17.17.3). */
export const TSC_ADJUST = 0x3b;

/** Makes the TSC read `value` now; a difference goes into IA32_TSC_ADJUST as well. */
export function setTsc(cpu: SystemCpu, value: bigint): void {
  const { msrs } = cpu.thread;
  const moved = BigInt.asIntN(64, value - readTsc(cpu));
  cpu.ram.f64[(cpu.base + STATE.tscOffset) >>> 3] = Number(BigInt.asIntN(64, value)) - timeOf(cpu);
  msrs.set(TSC_ADJUST, BigInt.asUintN(64, (msrs.get(TSC_ADJUST) ?? 0n) + moved));
}

/** Writes IA32_TSC_ADJUST: the TSC moves by as much. */
export function adjustTsc(cpu: SystemCpu, value: bigint): void {
  const { msrs } = cpu.thread;
  const moved = BigInt.asIntN(64, value - (msrs.get(TSC_ADJUST) ?? 0n));
  cpu.ram.f64[(cpu.base + STATE.tscOffset) >>> 3]! += Number(moved);
  msrs.set(TSC_ADJUST, value);
}

function rdtsc(cpu: SystemCpu): boolean {
  if (cpu.lo(STATE.cr4) & CR4.TSD && cpu.cpl > 0) return cpu.fault(EXC.GP, 0);
  // No BigInt: kernels read the counter all the time. A sum of two doubles below 2^53 is exact; a negative one wraps as 64 bits do.
  if (cpu.time) cpu.cycles += cpu.time.readCost;
  const t = Math.floor(timeOf(cpu) + cpu.ram.f64[(cpu.base + STATE.tscOffset) >>> 3]!);
  cpu.setRegHalves(RAX, t % 0x1_0000_0000, 0);
  cpu.setRegHalves(RDX, Math.floor(t / 0x1_0000_0000), 0);
  return true;
}

const AMD_PERFCTR0 = 0xc001_0004;

export const timeHandlers = {
  RDTSC: (cpu: SystemCpu, d: Decoded) => rdtsc(cpu) && next(cpu, d),
  RDTSCP(cpu: SystemCpu, d: Decoded) {
    if (!rdtsc(cpu)) return false;
    cpu.setRegHalves(RCX, cpu.lo(STATE.tscAux), 0);
    return next(cpu, d);
  },
  /** AMD's four counters, which hold what was written; Intel's profiles have none: every index is invalid. */
  RDPMC(cpu: SystemCpu, d: Decoded) {
    if (cpu.cpl > 0 && !(cpu.lo(STATE.cr4) & CR4.PCE)) return cpu.fault(EXC.GP, 0);
    const n = cpu.regLo(RCX) >>> 0;
    if (cpu.profile.vendor !== 'AuthenticAMD' || n > 3) return cpu.fault(EXC.GP, 0);
    const v = cpu.thread.msrs.get(AMD_PERFCTR0 + n) ?? 0n;
    cpu.setReg(RAX, v & 0xffffffffn);
    cpu.setReg(RDX, v >> 32n);
    return next(cpu, d);
  },
};
