// The two timers of a vCPU and the deadline of SCHEDOP_poll (xen/common/sched/core.c).
//
// A periodic timer ticks only while its vCPU runs, and one tick stands for all that were missed. The single-shot timer wakes the vCPU.

import { VIRQ_TIMER } from '@ringworld/abi';
import { MILLISECS } from './clock.ts';
import type { Hypervisor } from './hypervisor.ts';
import { Timer } from './timers.ts';
import type { Vcpu } from './vcpu.ts';

/** 2^50 ns, about 13 days: what lies further ahead comes from jiffies that wrapped in Linux, do_set_timer_op. */
const FAR_FUTURE = 2 ** 50;

export class VcpuTimers {
  private readonly hv: Hypervisor;
  private readonly vcpu: Vcpu;
  private period = 0;
  private lastTick = 0;
  private readonly periodic: Timer;
  private readonly singleshot: Timer;
  private readonly poll: Timer;

  constructor(hv: Hypervisor, vcpu: Vcpu) {
    this.hv = hv;
    this.vcpu = vcpu;
    this.periodic = new Timer(() => this.tick());
    this.singleshot = new Timer(() => vcpu.domain.evtchn.raiseVcpuVirq(vcpu, VIRQ_TIMER));
    this.poll = new Timer(() => {
      if (vcpu.isPolling) hv.scheduler.unblock(vcpu);
    });
  }

  /** set_timer_op: an absolute system time in ns, 0 to stop. */
  setTimerOp(timeout: number): void {
    if (timeout === 0) {
      this.stopSingleshot();
      return;
    }
    const now = this.hv.now();
    // A timeout that wrapped means either "at once" or "never": a tick in 100 ms serves both without burning the CPU.
    const odd = timeout < 0 || timeout - now >= FAR_FUTURE;
    this.setSingleshot(odd ? now + 100 * MILLISECS : timeout);
  }

  setSingleshot(deadline: number): void {
    this.hv.timers.set(this.singleshot, deadline);
  }
  stopSingleshot(): void {
    this.hv.timers.stop(this.singleshot);
  }
  get singleshotDeadline(): number {
    return this.singleshot.isActive ? this.singleshot.deadline : 0;
  }

  /** ns; 0 stops it. */
  setPeriodic(period: number): void {
    this.period = period;
    this.hv.timers.stop(this.periodic);
    if (period === 0) return;
    this.lastTick = this.hv.now();
    if (this.vcpu.cpu !== null) this.switchedTo();
  }
  /** vcpu_periodic_timer_work, when the vCPU gets a CPU. */
  switchedTo(): void {
    if (this.period !== 0) this.tick();
  }
  switchedFrom(): void {
    if (this.period !== 0) this.hv.timers.stop(this.periodic);
  }

  setPoll(deadline: number): void {
    this.hv.timers.set(this.poll, deadline);
  }
  stopPoll(): void {
    this.hv.timers.stop(this.poll);
  }

  stopAll(): void {
    this.period = 0;
    for (const t of [this.periodic, this.singleshot, this.poll]) this.hv.timers.stop(t);
  }

  private tick(): void {
    const now = this.hv.now();
    if (now >= this.lastTick + this.period) {
      this.vcpu.domain.evtchn.raiseVcpuVirq(this.vcpu, VIRQ_TIMER);
      this.lastTick = now;
    }
    this.hv.timers.set(this.periodic, this.lastTick + this.period);
  }
}
