// The credit scheduler: one run queue for all CPUs, ordered by credit. Credit is burnt while running, faster the smaller the domain's
// weight; when the best candidate has none left, everybody gets some (the scheme of Xen's credit2, xen/common/sched/credit2.c).
//
// A vCPU that cannot run is in no queue. Everything here is a function of virtual time and order of calls: no randomness.

import { MICROSECS, MILLISECS } from './clock.ts';
import type { Hypervisor } from './hypervisor.ts';
import type { EvtchnPort } from './ids.ts';
import type { Pcpu } from './pcpu.ts';
import { changeRunstate } from './runstate.ts';
import { ALL_CPUS, RUNSTATE, type Vcpu } from './vcpu.ts';

/** Credit given at a reset, in ns of running at the default weight (CSCHED2_CREDIT_INIT). */
const CREDIT_INIT = 10 * MILLISECS;
const DEFAULT_WEIGHT = 256;
const MIN_SLICE = 500 * MICROSECS;
const MAX_SLICE = 10 * MILLISECS;
/** A vCPU that has just got a CPU keeps it for this long (sched_ratelimit_us). */
const RATELIMIT = 1 * MILLISECS;

/** A mask of all ones means every CPU; the first 32 can be told apart. */
const mayRunOn = (v: Vcpu, p: Pcpu): boolean => v.affinity === ALL_CPUS || (p.id < 32 && (v.affinity & (1 << p.id)) !== 0);

export class Scheduler {
  private readonly hv: Hypervisor;
  private readonly queue: Vcpu[] = [];
  /** Set when some CPU should choose anew before guests run on: the run loop ends its window. */
  isNeeded = false;

  constructor(hv: Hypervisor) {
    this.hv = hv;
  }

  isRunnable(v: Vcpu): boolean {
    return !v.isDown && !v.isBlocked && v.pauseCount === 0 && v.domain.pauseCount === 0 && !v.isHosted;
  }

  /** Somebody is runnable and has no CPU. */
  get hasWaiting(): boolean {
    return this.queue.length > 0;
  }

  // --- what happens to vCPUs

  /** vcpu_wake: some reason not to run has gone. */
  wake(v: Vcpu): void {
    if (v.isHosted) return;
    if (this.isRunnable(v)) {
      if (v.runstate >= RUNSTATE.blocked) changeRunstate(this.hv, v, RUNSTATE.runnable, this.hv.now());
      if (v.cpu === null && !this.queue.includes(v)) {
        this.insert(v);
        this.tickle(v);
      }
    } else if (!v.isBlocked && v.runstate === RUNSTATE.blocked) changeRunstate(this.hv, v, RUNSTATE.offline, this.hv.now());
  }

  /** vcpu_sleep_nosync: some reason not to run has come up. */
  sleep(v: Vcpu): void {
    if (this.isRunnable(v)) return;
    if (v.cpu !== null) {
      this.resched(v);
      return;
    }
    this.remove(v);
    if (v.runstate === RUNSTATE.runnable) changeRunstate(this.hv, v, RUNSTATE.offline, this.hv.now());
  }

  /** vcpu_unblock: an event for it, or the end of a poll. */
  unblock(v: Vcpu): void {
    if (!v.isBlocked) return;
    v.isBlocked = false;
    if (v.isPolling) {
      v.isPolling = false;
      v.pollPort = 0 as EvtchnPort;
      v.timers.stopPoll();
    }
    this.wake(v);
  }

  /** The running vCPU waits for an event. */
  block(v: Vcpu): void {
    v.isBlocked = true;
    this.sleep(v);
  }

  yield(v: Vcpu): void {
    v.isYielding = true;
    this.resched(v);
  }

  pause(v: Vcpu): void {
    v.pauseCount++;
    this.sleep(v);
  }
  unpause(v: Vcpu): void {
    if (--v.pauseCount === 0) this.wake(v);
  }

  /** The vCPU may have to leave the CPU that it runs on. */
  affinityChanged(v: Vcpu): void {
    if (v.cpu === null) {
      if (this.isRunnable(v)) this.tickle(v);
      return;
    }
    for (const p of this.hv.pcpus) if (p.current === v && !mayRunOn(v, p)) this.resched(v);
  }

  private resched(v: Vcpu): void {
    for (const p of this.hv.pcpus) if (p.current === v) p.needsSchedule = true;
    this.isNeeded = true;
  }

  // --- choosing

  /** What `pcpu` should run next; the caller has charged the current vCPU. Slices are set here. */
  choose(pcpu: Pcpu, now: number): Vcpu | null {
    const current = pcpu.current;
    const keep = current !== null && this.isRunnable(current) && mayRunOn(current, pcpu) ? current : null;
    if (keep !== null && !keep.isYielding && now - pcpu.startedAt < RATELIMIT) {
      pcpu.sliceEnd = pcpu.startedAt + RATELIMIT;
      return keep;
    }
    let best = this.queue.find((v) => mayRunOn(v, pcpu)) ?? null;
    if (keep !== null && best !== null && !keep.isYielding && keep.credit >= best.credit) best = null;
    const next = best ?? keep;
    if (keep !== null) keep.isYielding = false;
    if (next === null) return null;
    if (next !== keep) this.remove(next);
    if (next.credit <= 0) this.reset();
    const rival = this.queue[0] ?? (next !== keep ? keep : null);
    const lead = rival === null ? MAX_SLICE : next.credit - rival.credit;
    pcpu.sliceEnd = now + Math.min(Math.max(lead, MIN_SLICE), MAX_SLICE);
    return next;
  }

  /** Takes credit for the time since `pcpu` was last charged. */
  charge(pcpu: Pcpu, now: number): void {
    const v = pcpu.current;
    if (v !== null && now > pcpu.chargedAt) v.credit -= ((now - pcpu.chargedAt) * DEFAULT_WEIGHT) / v.domain.weight;
    pcpu.chargedAt = now;
  }

  /** Puts a vCPU that lost its CPU where it belongs. */
  putBack(v: Vcpu, now: number): void {
    if (this.isRunnable(v)) {
      changeRunstate(this.hv, v, RUNSTATE.runnable, now);
      this.insert(v);
    } else changeRunstate(this.hv, v, v.isBlocked ? RUNSTATE.blocked : RUNSTATE.offline, now);
  }

  private insert(v: Vcpu): void {
    let at = this.queue.length;
    while (at > 0 && this.queue[at - 1]!.credit < v.credit) at--;
    this.queue.splice(at, 0, v);
  }
  private remove(v: Vcpu): void {
    const at = this.queue.indexOf(v);
    if (at >= 0) this.queue.splice(at, 1);
  }

  /** An idle CPU takes a woken vCPU at once; else the one whose vCPU has the least credit, if that is less. */
  private tickle(v: Vcpu): void {
    let victim: Pcpu | null = null;
    for (const p of this.hv.pcpus) {
      if (!mayRunOn(v, p)) continue;
      if (p.current === null) {
        victim = p;
        break;
      }
      if (p.current.credit < v.credit && (victim === null || p.current.credit < victim.current!.credit)) victim = p;
    }
    if (victim === null) return;
    victim.needsSchedule = true;
    this.isNeeded = true;
  }

  private reset(): void {
    for (const d of this.hv.domains.values())
      for (const v of d.vcpus) if (v !== undefined) v.credit = Math.min(v.credit + CREDIT_INIT, CREDIT_INIT);
  }
}
