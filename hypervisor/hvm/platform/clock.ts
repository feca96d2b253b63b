// Virtual time as the devices of one domain see it: the hypervisor's system time and timers behind the interfaces that devices of the machine
// know (devices/bus.ts, devices/lapic-timer.ts). Time never goes back for a device, though CPUs that take turns may be a window apart.
//
// Guest time tracks real time: while a vCPU waits for a CPU, or the domain is paused, ticks that are due collapse into one, which is
// delivered late (HVMPTM_one_missed_tick_pending of public/hvm/params.h). Interrupt controllers do that by themselves: a request that stands
// cannot be made twice.

import { SECONDS } from '../../core/clock.ts';
import type { Hypervisor } from '../../core/hypervisor.ts';
import { Timer as HvTimer } from '../../core/timers.ts';
import type { Timeline, Timer } from '../../machine/devices/bus.ts';
import type { CycleClock } from '../../machine/devices/lapic-timer.ts';

/**
 * ns. Two ticks of a periodic timer take this long at least, whatever the guest asks for, or it would cost all domains
 * (create_periodic_time in hvm/vpt.c, where it is the period itself; a square wave of the 8254 has two events in a period).
 */
export const MIN_PERIOD = 100_000;

/** ns, 26 days. What a guest sets for later than that never comes: the clock is exact up to 2^53 cycles only (core/clock.ts). */
const NEVER = 2 ** 51;
const noTimer: Timer = { cancel: () => {} };

class DeviceTimer extends HvTimer implements Timer {
  /** Deadline of the event in which this one was set; the guest's own requests have none. */
  before = Number.NEGATIVE_INFINITY;
  private readonly clock: DomainClock;

  constructor(clock: DomainClock, run: () => void) {
    super(run);
    this.clock = clock;
  }
  cancel(): void {
    this.clock.forget(this);
  }
  override fire(): void {
    this.clock.begin(this);
    super.fire();
    this.clock.end();
  }
}

export class DomainClock implements Timeline {
  private readonly hv: Hypervisor;
  private readonly waiting = new Set<DeviceTimer>();
  private isFrozen = false;
  /** The timer whose function runs. */
  private expiring: DeviceTimer | undefined;
  private seen = 0;

  constructor(hv: Hypervisor) {
    this.hv = hv;
  }

  /** System time, ns. */
  get now(): number {
    this.seen = Math.max(this.seen, this.hv.cycles());
    return this.hv.clock.toNs(this.seen);
  }

  schedule(at: number, run: () => void): Timer {
    if (at >= NEVER) return noTimer;
    const t = new DeviceTimer(this, run);
    t.deadline = Math.ceil(at);
    // What is set as a timer expires is its next period: nothing of the guest's has run in between.
    if (this.expiring) {
      t.before = this.expiring.deadline;
      t.deadline = Math.max(t.deadline, this.expiring.before + MIN_PERIOD);
    }
    this.waiting.add(t);
    if (!this.isFrozen) this.hv.timers.set(t, t.deadline);
    return t;
  }
  /** Not before `cycle`, although the timers count whole nanoseconds, which are longer than cycles. */
  at(cycle: number, run: () => void): Timer {
    const { clock } = this.hv;
    if (cycle >= clock.tscHz * (NEVER / SECONDS)) return noTimer;
    const ns = clock.toNs(Math.ceil(cycle));
    return this.schedule(clock.toCycles(ns) < cycle ? ns + 1 : ns, run);
  }

  // --- for DeviceTimer
  forget(t: DeviceTimer): void {
    this.waiting.delete(t);
    this.hv.timers.stop(t);
  }
  begin(t: DeviceTimer): void {
    this.waiting.delete(t);
    this.expiring = t;
  }
  end(): void {
    this.expiring = undefined;
  }

  /** No timer stays set. */
  freeze(): void {
    if (this.isFrozen) return;
    this.isFrozen = true;
    for (const t of this.waiting) this.hv.timers.stop(t);
  }
  /** What came due meanwhile comes at once. */
  thaw(): void {
    if (!this.isFrozen) return;
    this.isFrozen = false;
    for (const t of this.waiting) this.hv.timers.set(t, t.deadline);
  }
}

/**
 * Time of one vCPU, for its vlapic: the cycles of the CPU that it runs on. Not the domain's, which another vCPU may have seen further on:
 * a TSC deadline that this vCPU's TSC has yet to reach must not have passed.
 */
export class VcpuClock implements CycleClock {
  private readonly hv: Hypervisor;
  private readonly timers: DomainClock;
  private seen = 0;

  constructor(hv: Hypervisor, timers: DomainClock) {
    this.hv = hv;
    this.timers = timers;
  }
  get cycle(): number {
    this.seen = Math.max(this.seen, this.hv.cycles());
    return this.seen;
  }
  at(cycle: number, run: () => void): Timer {
    return this.timers.at(cycle, run);
  }
}
