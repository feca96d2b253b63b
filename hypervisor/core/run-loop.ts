// The run loop: interleaves physical CPUs, timers and host tasks in virtual time, the same way every time.
//
// Virtual time advances in windows. With several CPUs busy each runs for at most WINDOW before the others catch up, so that their clocks
// never differ by more; a CPU that is alone runs to the next timer, or to the first thing that concerns somebody else. Time in which
// nobody runs is skipped.

import { RunExit } from '../machine/cpu-api.ts';
import { MICROSECS } from './clock.ts';
import { updateRunstateArea } from './guest-area.ts';
import type { Hypervisor } from './hypervisor.ts';
import type { Pcpu } from './pcpu.ts';
import { updateVcpuTime } from './pvclock.ts';
import { changeRunstate } from './runstate.ts';
import { RUNSTATE, type Vcpu } from './vcpu.ts';

const WINDOW = 10 * MICROSECS;

/**
 * Why run() came back: nothing will ever happen without input from the host; host I/O is late; the limit; `stop` said so; or all
 * sleep until a timer and `maySkipTo` would not have the time skipped.
 */
export type RunEnd = 'idle' | 'waiting' | 'limit' | 'stopped' | 'asleep';

export interface RunOptions {
  /** Virtual cycles since boot at which to come back. */
  untilCycles?: number;
  /** Asked between windows. */
  stop?: () => boolean;
  /** Asked before idle time is skipped to system time `ns`: a host that paces guests by the wall clock says no and comes again later. */
  maySkipTo?: (ns: number) => boolean;
  /** Up to the limit time passes even if nobody waits for any: the host's clock runs on, and somebody outside goes by it. */
  timePasses?: boolean;
}

export class RunLoop {
  private readonly hv: Hypervisor;

  constructor(hv: Hypervisor) {
    this.hv = hv;
  }

  run(options: RunOptions = {}): RunEnd {
    const { hv } = this;
    const until = options.untilCycles ?? Number.POSITIVE_INFINITY;
    for (;;) {
      hv.runHostTasks();
      if (options.stop?.()) return 'stopped';
      if (hv.isHeld) return 'waiting';
      hv.timers.expire(hv.now());
      if (hv.hasHostWork) continue;
      this.schedule();
      const busy = hv.pcpus.filter((p) => p.current !== null);
      if (hv.baseCycles >= until) return 'limit';
      const next = Math.min(until, hv.timers.next === Number.POSITIVE_INFINITY ? hv.timers.next : hv.clock.toCycles(hv.timers.next));
      if (busy.length === 0) {
        // Not until the limit either: time would pass for nobody.
        if (hv.timers.next === Number.POSITIVE_INFINITY && options.timePasses !== true) return 'idle';
        if (options.maySkipTo?.(hv.clock.toNs(next)) === false) return 'asleep';
        this.advance(next);
      } else if (busy.length === 1) this.advance(this.runAlone(busy[0]!, next));
      else this.advance(this.runTogether(busy, Math.min(next, hv.baseCycles + hv.clock.toCycles(WINDOW))));
    }
  }

  /** See Hypervisor.vacate. */
  vacate(p: Pcpu): void {
    this.schedulePcpu(p);
  }

  private schedule(): void {
    const { hv } = this;
    hv.scheduler.isNeeded = false;
    const now = hv.now();
    for (const p of hv.pcpus) if (p.needsSchedule || now >= p.sliceEnd) this.schedulePcpu(p);
  }

  private schedulePcpu(p: Pcpu): void {
    const { scheduler, clock } = this.hv;
    const now = clock.toNs(p.cpu.cycles);
    p.needsSchedule = false;
    p.sliceEnd = Number.POSITIVE_INFINITY;
    scheduler.charge(p, now);
    const prev = p.current;
    const next = scheduler.choose(p, now);
    if (next === prev) return;
    if (prev !== null) this.switchFrom(p, prev, now);
    p.current = next;
    p.startedAt = now;
    if (next !== null) this.switchTo(p, next, now);
  }

  private switchFrom(p: Pcpu, v: Vcpu, now: number): void {
    v.timers.switchedFrom();
    this.hv.hooksOf(v).switchFrom(this.hv, v, p.cpu);
    v.context.copyFrom(p.cpu);
    v.cpu = null;
    p.lastVcpu = v;
    this.hv.scheduler.putBack(v, now);
    updateRunstateArea(v);
  }

  private switchTo(p: Pcpu, v: Vcpu, now: number): void {
    const { hv } = this;
    changeRunstate(hv, v, RUNSTATE.running, now);
    p.cpu.copyFrom(v.context);
    v.cpu = p.cpu;
    hv.hooksOf(v).switchTo(hv, v, p.cpu);
    updateRunstateArea(v);
    updateVcpuTime(hv, v);
    v.timers.switchedTo();
  }

  /** Runs the only busy CPU; returns the cycle it came to. */
  private runAlone(p: Pcpu, limit: number): number {
    const { hv } = this;
    let end = hv.scheduler.hasWaiting ? Math.min(limit, hv.clock.toCycles(p.sliceEnd)) : limit;
    let endNs = end === Number.POSITIVE_INFINITY ? end : hv.clock.toNs(end);
    while (p.cpu.cycles < end) {
      this.runOnce(p, end);
      if (hv.scheduler.isNeeded || hv.hasHostWork) break;
      // The guest may have set a timer that is due sooner.
      if (hv.timers.next < endNs) {
        endNs = hv.timers.next;
        end = hv.clock.toCycles(endNs);
      }
    }
    return p.cpu.cycles;
  }

  /** Runs several CPUs up to `end`, each in its turn. */
  private runTogether(busy: readonly Pcpu[], end: number): number {
    for (const p of busy) {
      while (p.cpu.cycles < end) {
        if (p.needsSchedule) this.schedulePcpu(p);
        if (p.current === null) {
          p.idleCycles += end - p.cpu.cycles;
          break;
        }
        this.runOnce(p, end);
      }
    }
    return end;
  }

  /** To the deadline or through one exit. */
  // TOUR hypercall 30: One entry into the guest and one exit from it. Everything a guest can want of the hypervisor arrives as the
  // RunExit that run() returns; nothing is thrown across this line.
  private runOnce(p: Pcpu, end: number): void {
    const { hv } = this;
    const vcpu = p.current!;
    hv.active = p;
    const hooks = hv.hooksOf(vcpu);
    hooks.deliverPending(hv, vcpu);
    // Delivery may have crashed the guest (no stack to push on).
    if (!p.needsSchedule) {
      const exit = p.cpu.run(end);
      if (exit !== RunExit.deadline) hooks.handleExit(hv, vcpu, p.cpu, exit);
    }
    hv.active = null;
  }

  /** Everybody's clock is at least `cycles` from here on. */
  private advance(cycles: number): void {
    const { hv } = this;
    hv.baseCycles = cycles;
    for (const p of hv.pcpus) {
      if (p.cpu.cycles >= cycles) continue;
      if (p.current === null) p.idleCycles += cycles - p.cpu.cycles;
      p.cpu.cycles = cycles;
    }
  }
}
