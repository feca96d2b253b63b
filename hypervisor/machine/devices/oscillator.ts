// A crystal: how many ticks of a given frequency have passed by a moment of virtual time, and when a tick comes.
//
// Devices count in ticks and never in nanoseconds, so that rounding is in this file only. Whole seconds are split off before the product is
// taken: at the frequencies of a PC (32768 Hz to 3.58 MHz) the rest then fits a double exactly, however long the machine has been running.

const SECOND = 1e9;

export class Oscillator {
  readonly hertz: number;

  /** `hertz` must be a whole number. */
  constructor(hertz: number) {
    this.hertz = hertz;
  }

  /** Whole ticks in [0, now]; `now` in nanoseconds. Never decreases with `now`. */
  ticks(now: number): number {
    const seconds = Math.floor(now / SECOND);
    return seconds * this.hertz + Math.floor(((now - seconds * SECOND) * this.hertz) / SECOND);
  }

  /** The first whole nanosecond at which ticks() is at least `tick`. */
  timeOf(tick: number): number {
    const seconds = Math.floor(tick / this.hertz);
    let at = seconds * SECOND + Math.ceil(((tick - seconds * this.hertz) * SECOND) / this.hertz);
    while (this.ticks(at) < tick) at++;
    return at;
  }
}
