// The rate limit of `vif = ['rate=...']`: a bucket of bytes filled every so often of virtual time (Linux's netback.c, tx_credit_exceeded
// and tx_add_credit). A packet that finds too little waits for the next filling.
import type { Timers } from '../kernel/timers.ts';

/** Enough for a packet of any size; otherwise a small rate would never let a large one pass. */
const MIN_BURST = 131072;

export interface Rate {
  readonly bytes: number;
  readonly usec: number;
}

/** The `rate` node: "<bytes>,<usec>". Null for none, and for one that cannot be read, which limits nothing. */
export function parseRate(text: string | null): Rate | null {
  const m = /^(\d+),(\d+)$/.exec(text ?? '');
  if (m === null) return null;
  const rate = { bytes: Number(m[1]), usec: Number(m[2]) };
  return rate.usec === 0 ? null : rate;
}

/** Plain data. */
export interface CreditState {
  remaining: number;
  /** ns. */
  windowStart: number;
}

export class Credit {
  readonly state: CreditState;
  private readonly timers: Timers;
  private readonly again: () => void;
  private rate: Rate | null;
  private cancel: (() => void) | null = null;

  /** `again` is called when there may be credit for who was refused. */
  constructor(timers: Timers, rate: Rate | null, again: () => void) {
    this.timers = timers;
    this.again = again;
    this.rate = rate;
    this.state = { remaining: rate?.bytes ?? 0, windowStart: timers.now() };
  }

  setRate(rate: Rate | null): void {
    this.rate = rate;
    if (rate !== null && this.cancel === null) this.state.remaining = Math.min(this.state.remaining, rate.bytes);
    if (rate === null && this.cancel !== null) this.wake();
  }

  /** Takes `size` bytes of credit. False: not now; `again` will be called. */
  take(size: number): boolean {
    const { rate, state } = this;
    if (rate === null) return true;
    if (size > state.remaining) {
      if (this.cancel !== null) return false;
      const now = this.timers.now();
      const next = state.windowStart + rate.usec * 1000;
      if (now >= next) {
        state.windowStart = now;
        this.fill(rate);
      }
      if (size > state.remaining) {
        const due = Math.max(next, state.windowStart + rate.usec * 1000);
        state.windowStart = due;
        this.cancel = this.timers.after(due - now, () => {
          // It may have been changed meanwhile.
          if (this.rate !== null) this.fill(this.rate);
          this.wake();
        });
        return false;
      }
    }
    state.remaining -= size;
    return true;
  }

  stop(): void {
    this.cancel?.();
    this.cancel = null;
  }

  private wake(): void {
    this.stop();
    this.again();
  }

  private fill(rate: Rate): void {
    this.state.remaining = Math.min(this.state.remaining + rate.bytes, Math.max(MIN_BURST, rate.bytes));
  }
}
