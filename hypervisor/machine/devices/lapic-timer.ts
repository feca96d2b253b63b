// The local APIC's timer (SDM Vol 3A, 10.5.4): one-shot, periodic, TSC-deadline. Everything is counted in cycles of the board.

import type { Timer } from './bus.ts';

/** Virtual time in cycles. */
export interface CycleClock {
  readonly cycle: number;
  at(cycle: number, run: () => void): Timer;
}

export const TIMER_MODE = { oneShot: 0, periodic: 1, tscDeadline: 2 } as const;

/** Plain data. */
export interface LapicTimerState {
  mode: number;
  initial: number;
  divide: number;
  /** Cycle at which the count was `initial`; meaningful while it runs. */
  start: number;
  running: boolean;
  /** IA32_TSC_DEADLINE; 0 when disarmed. */
  deadline: number;
}

export const timerReset = (): LapicTimerState => ({ mode: 0, initial: 0, divide: 0, start: 0, running: false, deadline: 0 });

/** Divide configuration register: bits 3, 1 and 0 (SDM Vol 3A, Figure 10-10). */
export const divisor = (dcr: number): number => {
  const n = (dcr & 3) | ((dcr >>> 1) & 4);
  return n === 7 ? 1 : 2 << n;
};

export class LapicTimer {
  state = timerReset();
  private event: Timer | undefined;
  private readonly clock: CycleClock;
  /** Cycles per tick of the undivided timer clock. */
  private readonly ratio: number;
  private readonly fire: () => void;
  /** What IA32_TIME_STAMP_COUNTER reads at cycle 0. */
  private readonly tscOffset: () => number;

  constructor(clock: CycleClock, ratio: number, tscOffset: () => number, fire: () => void) {
    this.clock = clock;
    this.ratio = ratio;
    this.tscOffset = tscOffset;
    this.fire = fire;
  }

  reset(): void {
    this.stop();
    this.state = timerReset();
  }
  private stop(): void {
    this.event?.cancel();
    this.event = undefined;
    this.state.running = false;
  }
  private get period(): number {
    return this.state.initial * divisor(this.state.divide) * this.ratio;
  }

  setMode(mode: number): void {
    const s = this.state;
    if (mode === s.mode) return;
    // Going in or out of deadline mode disarms the timer; between the two others it counts on (SDM Vol 3A, 10.5.4.1).
    if (mode === TIMER_MODE.tscDeadline || s.mode === TIMER_MODE.tscDeadline) {
      this.stop();
      s.deadline = 0;
      s.initial = 0;
    }
    s.mode = mode;
  }

  setInitial(count: number): void {
    const s = this.state;
    if (s.mode === TIMER_MODE.tscDeadline) return;
    this.stop();
    s.initial = count;
    if (count !== 0) this.begin(this.clock.cycle);
  }
  private begin(start: number): void {
    this.state.start = start;
    this.state.running = true;
    this.event = this.clock.at(start + this.period, () => this.expired());
  }
  private expired(): void {
    const s = this.state;
    this.event = undefined;
    s.running = false;
    if (s.mode === TIMER_MODE.tscDeadline) s.deadline = 0;
    else if (s.mode === TIMER_MODE.periodic) {
      // Behind by whole periods when its CPU could not be reached in time: those are lost, not made up for.
      const late = Math.floor((this.clock.cycle - s.start) / this.period);
      this.begin(s.start + Math.max(1, late) * this.period);
    }
    this.fire();
  }

  /** The count goes on from where it is, at the new rate. */
  setDivide(value: number): void {
    const s = this.state;
    const left = this.current;
    s.divide = value & 0xb;
    if (!s.running || s.mode === TIMER_MODE.tscDeadline) return;
    this.stop();
    this.begin(this.clock.cycle - (s.initial - left) * divisor(s.divide) * this.ratio);
  }

  get current(): number {
    const s = this.state;
    if (!s.running || s.mode === TIMER_MODE.tscDeadline) return 0;
    const ticks = Math.floor((this.clock.cycle - s.start) / (divisor(s.divide) * this.ratio));
    return Math.max(0, s.initial - ticks);
  }

  get deadline(): number {
    return this.state.mode === TIMER_MODE.tscDeadline ? this.state.deadline : 0;
  }
  /** Ignored outside deadline mode. A deadline that has passed fires at once. */
  setDeadline(tsc: number): void {
    const s = this.state;
    if (s.mode !== TIMER_MODE.tscDeadline) return;
    this.stop();
    s.deadline = tsc;
    if (tsc === 0) return;
    const cycle = tsc - this.tscOffset();
    s.running = true;
    if (cycle <= this.clock.cycle) this.expired();
    else this.event = this.clock.at(cycle, () => this.expired());
  }
}
