// dom0's clock and timers: system time, one VIRQ_TIMER armed for the first of them (vcpu.h, VCPUOP_set_singleshot_timer; set_timer_op).
import { __HYPERVISOR_set_timer_op, VIRQ_TIMER } from '@ringworld/abi';
import type { EventChannels } from './evtchn.ts';
import type { Hypercalls } from './hypercall.ts';

interface Entry {
  readonly due: number;
  readonly fn: () => void;
}

export class Timers {
  private readonly xen: Hypercalls;
  /** By deadline; those of one deadline in the order in which they were set. */
  private readonly entries: Entry[] = [];
  private armed = 0;

  constructor(xen: Hypercalls, evtchn: EventChannels) {
    this.xen = xen;
    evtchn.bindVirq(VIRQ_TIMER, () => this.expire());
  }

  /** System time, ns since boot. */
  now(): number {
    return this.xen.port.systemTime();
  }

  /** Calls `fn` once, `ns` from now, never before this returns. Returns what takes the timer back. */
  after(ns: number, fn: () => void): () => void {
    const entry: Entry = { due: this.now() + Math.max(0, Math.ceil(ns)), fn };
    const at = this.entries.findIndex((e) => e.due > entry.due);
    this.entries.splice(at < 0 ? this.entries.length : at, 0, entry);
    this.arm();
    return () => {
      const index = this.entries.indexOf(entry);
      if (index >= 0) this.entries.splice(index, 1);
    };
  }

  /** Calls `fn` every `ns` until told to stop. */
  every(ns: number, fn: () => void): () => void {
    let stop = () => {};
    const again = () => {
      stop = this.after(ns, again);
      fn();
    };
    stop = this.after(ns, again);
    return () => stop();
  }

  /** As EventChannels.isPaused; expire() then goes on. */
  isPaused: () => boolean = () => false;

  /** Calls what is due. */
  expire(): void {
    this.armed = 0;
    for (let first = this.entries[0]; first !== undefined && first.due <= this.now() && !this.isPaused(); first = this.entries[0]) {
      this.entries.shift();
      first.fn();
    }
    if (!this.isPaused()) this.arm();
  }

  private arm(): void {
    const due = this.entries[0]?.due;
    if (due === undefined || (this.armed !== 0 && this.armed <= due)) return;
    this.armed = due;
    // 0 would stop the timer.
    this.xen.call('set_timer_op', __HYPERVISOR_set_timer_op, Math.max(1, due));
  }
}
