// The ACPI power management timer: 3.579545 MHz, 24 or 32 bits, with an event whenever its top bit changes (ACPI 6.5, 4.8.3.3).

import type { Timeline, Timer } from './bus.ts';
import { Oscillator } from './oscillator.ts';

export const PM_TIMER_HERTZ = 3_579_545;

export interface PmTimerOptions {
  timeline: Timeline;
  /** 24 is what every OS can live with; 32 must be said in the FADT (TMR_VAL_EXT). */
  bits: 24 | 32;
}

/** No state of its own: it cannot be written, and has counted since power-on. */
export class PmTimer {
  readonly #options: PmTimerOptions;
  readonly #clock = new Oscillator(PM_TIMER_HERTZ);
  readonly #half: number;

  constructor(options: PmTimerOptions) {
    this.#options = options;
    this.#half = 2 ** (options.bits - 1);
  }

  #tick(): number {
    return this.#clock.ticks(this.#options.timeline.now);
  }

  get value(): number {
    return this.#tick() % (2 * this.#half);
  }

  /** How often the top bit has changed since power-on. */
  get changes(): number {
    return Math.floor(this.#tick() / this.#half);
  }

  /** Calls back when the top bit changes next. */
  onChange(run: () => void): Timer {
    return this.#options.timeline.schedule(this.#clock.timeOf((this.changes + 1) * this.#half), run);
  }
}
