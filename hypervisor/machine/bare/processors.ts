// The CPUs of the board in virtual time: who runs, who sleeps, who waits to be started, and in which order they take turns.
//
// With several CPUs awake each runs for at most WINDOW before the others catch up, always in the same order, so that a run can be repeated
// exactly. A CPU that is alone runs to the next timer. A window ends early where one CPU concerns another: at an interrupt that wakes one,
// at a timer that is set for sooner. Time in which nobody runs is skipped.

import type { Lin } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import type { EmulatedCpu } from '../exec/cpu.ts';
import type { Machine } from '../machine.ts';
import { CS, EFLAGS, STATE } from '../state.ts';
import { REQUEST, type SharedTime, WAITING } from '../system/ports.ts';
import { monitorFired } from '../system/processor.ts';
import { initContext, resetContext } from '../system/reset.ts';
import type { BoardTimeline } from './timeline.ts';
import { TSC_READ_CYCLES } from './wait-states.ts';

const WINDOW_NS = 10_000;

type Activity = 'running' | 'halted' | 'waitForSipi';

export class Processors {
  private readonly machine: Machine;
  private readonly timeline: BoardTimeline;
  private readonly window: number;
  private readonly activity: Activity[];
  /** What time has been seen by anybody. */
  private readonly time: SharedTime = { seen: 0, readCost: TSC_READ_CYCLES };
  /** Everybody is at this cycle at least, or asleep. */
  private base = 0;
  /** End of the turn at hand. */
  private endOfTurn = 0;
  private active: EmulatedCpu | undefined;

  constructor(machine: Machine, timeline: BoardTimeline) {
    this.machine = machine;
    this.timeline = timeline;
    this.window = Math.round((WINDOW_NS * timeline.hz) / 1e9);
    this.activity = machine.cpus.map(() => 'waitForSipi');
    for (const cpu of machine.cpus) cpu.time = this.time;
  }

  /** The cycle that a device sees: that of the CPU that touches it, or of the event; it never goes back. */
  get cycle(): number {
    const now = this.active?.cycles ?? this.base;
    if (now > this.time.seen) this.time.seen = now;
    return this.time.seen;
  }

  /** The CPU at work waits for a device. */
  stall(cycles: number): void {
    if (this.active) this.active.cycles += cycles;
  }
  /** Run() is to come back as soon as the instruction at hand is done. */
  interrupt(): void {
    this.endOfTurn = Math.min(this.endOfTurn, this.active?.cycles ?? this.base);
    this.active?.leave(RunExit.deadline);
  }
  /** A timer was set that is due at a cycle, sooner than all others. */
  dueAt(cycle: number): void {
    if (cycle >= this.endOfTurn) return;
    this.endOfTurn = cycle;
    this.active?.leave(RunExit.deadline);
  }

  get isAsleep(): boolean {
    return this.activity.every((a) => a !== 'running');
  }

  // ------------------------------------------------------------------ waking and starting

  /** An interrupt waits for a CPU. */
  wake(id: number): void {
    if (this.activity[id] !== 'halted') return;
    const cpu = this.machine.cpus[id]!;
    if (!this.wakes(cpu)) return;
    this.start(cpu);
  }
  /** HLT ends with an interrupt that would be taken (SDM Vol 2A, HLT); MWAIT with others too, and with a store to the monitored line. */
  private wakes(cpu: EmulatedCpu): boolean {
    const requests = cpu.apic?.requests ?? 0;
    const { waiting, nmiBlocked } = cpu.thread;
    // A halted guest of VMX wakes for what makes exits too, and in deeper states for less.
    const guest = cpu.nonRoot !== null && cpu.nonRoot === cpu.vmx?.guest ? cpu.vmx.guest : undefined;
    if (guest !== undefined && waiting === WAITING.no) return guest.wakes(cpu, requests);
    if (requests & REQUEST.nmi && !nmiBlocked) return true;
    if (waiting !== WAITING.no && monitorFired(cpu)) return true;
    if (requests & REQUEST.intr && waiting === WAITING.mwaitAnyInterrupt) return true;
    return (requests & REQUEST.intr) !== 0 && (cpu.u32(STATE.eflags) & EFLAGS.IF) !== 0;
  }
  private start(cpu: EmulatedCpu): void {
    const now = this.active?.cycles ?? this.base;
    this.activity[cpu.id] = 'running';
    cpu.thread.waiting = WAITING.no;
    cpu.cycles = Math.max(cpu.cycles, now);
    if (this.active !== undefined && this.active !== cpu) this.interrupt();
  }

  /** The INIT IPI (SDM Vol 3A, 9.4; Table 9-1): the bootstrap processor starts over at the reset vector, others wait for a start-up IPI. */
  init(id: number): void {
    const cpu = this.machine.cpus[id]!;
    // In VMX operation INIT is blocked, or makes an exit of the guest (SDM Vol 3C, 23.8 and 25.2).
    if (cpu.vmx?.init()) {
      if (cpu.nonRoot !== null && cpu !== this.active) this.start(cpu);
      return;
    }
    initContext(cpu, this.machine.profile.signature);
    this.settle(cpu);
    if (id === 0) this.start(cpu);
    else this.activity[id] = 'waitForSipi';
    if (cpu === this.active) this.interrupt();
  }
  /** The start-up IPI: real mode at vector << 12 (9.4.4.1). Ignored unless awaited. */
  startup(id: number, vector: number): void {
    const cpu = this.machine.cpus[id]!;
    if (cpu.vmx?.startup(vector)) {
      if (cpu.nonRoot !== null && cpu !== this.active) this.start(cpu);
      return;
    }
    if (this.activity[id] !== 'waitForSipi') return;
    cpu.setSegment(CS, vector << 8, 0x9b, 0xffff, vector << 12);
    cpu.rip = 0 as Lin;
    cpu.modeChanged();
    this.start(cpu);
  }

  reset(): void {
    for (const cpu of this.machine.cpus) {
      resetContext(cpu, this.machine.profile.signature);
      cpu.thread.msrs.clear();
      cpu.vmx?.reset();
      this.settle(cpu);
      this.activity[cpu.id] = cpu.id === 0 ? 'running' : 'waitForSipi';
      cpu.cycles = Math.max(cpu.cycles, this.base);
    }
  }
  private settle(cpu: EmulatedCpu): void {
    cpu.thread.interruptShadow = false;
    cpu.thread.nmiBlocked = false;
    cpu.thread.monitor = undefined;
    cpu.thread.waiting = WAITING.no;
    cpu.modeChanged();
    cpu.flushAll();
  }

  // ------------------------------------------------------------------ turns

  /** One turn of everybody that is awake, at most to `limit`. Undefined: go on. */
  turn(limit: number): 'limit' | 'idle' | 'shutdown' | undefined {
    const { timeline } = this;
    this.endOfTurn = Number.POSITIVE_INFINITY;
    if (timeline.expireOne(this.base)) return undefined;
    if (this.base >= limit) return 'limit';
    for (const cpu of this.machine.cpus)
      if (cpu.thread.waiting !== WAITING.no && this.activity[cpu.id] === 'halted' && this.wakes(cpu)) this.start(cpu);
    const awake = this.machine.cpus.filter((c) => this.activity[c.id] === 'running');
    const { next } = timeline;
    if (awake.length === 0) {
      if (next === Number.POSITIVE_INFINITY) return 'idle';
      this.base = Math.max(this.base, Math.min(next, limit));
      return undefined;
    }
    this.endOfTurn = Math.min(next, limit, awake.length > 1 ? this.base + this.window : Number.POSITIVE_INFINITY);
    for (const cpu of awake) if (this.runCpu(cpu) === 'shutdown') return 'shutdown';
    // A CPU that stalled past the end is ahead; one that was woken on the way is not. When all went to sleep, the last to do so counts.
    const running = this.machine.cpus.filter((c) => this.activity[c.id] === 'running').map((c) => c.cycles);
    const reached = running.length > 0 ? Math.min(...running) : Math.max(...awake.map((c) => c.cycles));
    this.base = Math.max(this.base, Math.min(reached, this.endOfTurn));
    return undefined;
  }

  private runCpu(cpu: EmulatedCpu): 'shutdown' | undefined {
    while (this.activity[cpu.id] === 'running' && cpu.cycles < this.endOfTurn) {
      this.active = cpu;
      const exit = cpu.run(this.endOfTurn);
      this.active = undefined;
      if (exit === RunExit.shutdown) return 'shutdown';
      if (exit !== RunExit.halt) continue;
      if (this.wakes(cpu)) cpu.thread.waiting = WAITING.no;
      else this.activity[cpu.id] = 'halted';
    }
    return undefined;
  }
}
