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

/** Makes the TSC read `value` now. */
export function setTsc(cpu: SystemCpu, value: bigint): void {
  cpu.ram.f64[(cpu.base + STATE.tscOffset) >>> 3] = Number(BigInt.asIntN(64, value)) - timeOf(cpu);
}

function rdtsc(cpu: SystemCpu): boolean {
  if (cpu.lo(STATE.cr4) & CR4.TSD && cpu.cpl > 0) return cpu.fault(EXC.GP, 0);
  const t = readTsc(cpu);
  cpu.setReg(RAX, t & 0xffffffffn);
  cpu.setReg(RDX, t >> 32n);
  return true;
}

export const timeHandlers = {
  RDTSC: (cpu: SystemCpu, d: Decoded) => rdtsc(cpu) && next(cpu, d),
  RDTSCP(cpu: SystemCpu, d: Decoded) {
    if (!rdtsc(cpu)) return false;
    cpu.setRegHalves(RCX, cpu.lo(STATE.tscAux), 0);
    return next(cpu, d);
  },
  /** No performance counters: every index is invalid. */
  RDPMC: (cpu: SystemCpu, _d: Decoded) => cpu.fault(EXC.GP, 0),
};
