// Runstates: which of running, runnable, blocked and offline a vCPU is in, and how long it has been in each. A guest computes its
// stolen time from them.

import type { Hypervisor } from './hypervisor.ts';
import { RUNSTATE, type Runstate, type Vcpu } from './vcpu.ts';

/** vcpu_runstate_change. `now` is system time in ns. */
export function changeRunstate(hv: Hypervisor, vcpu: Vcpu, state: Runstate, now: number): void {
  if (vcpu.runstate === state) return;
  hv.traceRunstate?.(vcpu, state, now);
  const delta = now - vcpu.runstateEntry;
  // Clocks of two CPUs may differ by part of a window: time never runs backwards.
  if (delta > 0) {
    vcpu.runstateTime[vcpu.runstate] += delta;
    vcpu.runstateEntry = now;
  }
  vcpu.runstate = state;
}

/** vcpu_runstate_get: the times up to `now`. */
export function currentRunstate(vcpu: Vcpu, now: number): { state: Runstate; entry: number; time: [number, number, number, number] } {
  const time: [number, number, number, number] = [...vcpu.runstateTime];
  time[vcpu.runstate] += Math.max(0, now - vcpu.runstateEntry);
  return { state: vcpu.runstate, entry: vcpu.runstateEntry, time };
}

/** CPU time that the vCPU has consumed, ns. */
export const cpuTime = (vcpu: Vcpu, now: number): number => currentRunstate(vcpu, now).time[RUNSTATE.running];
