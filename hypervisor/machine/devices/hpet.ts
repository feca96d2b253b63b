// The high precision event timer at 0xfed00000: a 64-bit counter of 10 ns ticks (unless told otherwise) and three comparators, after IA-PC HPET specification 1.0a.
//
// In legacy replacement mode (2.3.5) timers 0 and 1 take the lines of the PIT and of the RTC. So the board wires those two devices to
// pitInput and rtcInput, which pass their lines on except in that mode.

import type { Bus, Dma, IrqLine, MemoryDevice, Timeline, Timer } from './bus.ts';
import { accumulate, addTicks, type HpetTimerState, isPeriodic, type Pair, TN, ticksToMatch, writeComparator } from './hpet-timer.ts';

export const HPET_BASE = 0xfed0_0000;
export const HPET_PERIOD_FS = 10_000_000;
const FS_PER_NS = 1e6;
export const HPET_TIMERS = 3;

const ENABLE_CNF = 1;
const LEG_RT_CNF = 2;
/** Vendor 8086, legacy replacement, 64-bit counter, number of the last timer, revision 1. */
const CAPABILITIES = (0x8086 << 16) | (1 << 15) | (1 << 13) | ((HPET_TIMERS - 1) << 8) | 1;

/** Pins 2 and 8 (the legacy ones), and 16 to 23, which no ISA device has: as QEMU's q35 and most chipsets say. */
const DEFAULT_ROUTES = 0x00ff_0104;

export interface HpetState {
  config: number;
  /** Interrupt status, one bit for each timer; only level-triggered timers set theirs. */
  status: number;
  /** The main counter at tick `since` of the power-on clock; it moves only while enabled. */
  counter: Pair;
  since: number;
  timers: HpetTimerState[];
  /** Levels of the PIT and RTC lines. */
  pit: boolean;
  rtc: boolean;
}

export interface HpetOptions {
  timeline: Timeline;
  /** The line of ISA IRQ 0 (the I/O APIC's pin 2) and of IRQ 8. */
  irq0: IrqLine;
  irq8: IrqLine;
  /** The I/O APIC's input pins. */
  pin(pin: number, level: boolean): void;
  /** Pins that timers may be routed to, a bit each. */
  routes?: number;
  /** A tick of the main counter, in whole nanoseconds; 10 unless given. */
  tickNs?: number;
  /** With a way to RAM, timers can deliver by a message (an MSI) as well. */
  dma?: Dma;
}

export class Hpet implements MemoryDevice {
  state: HpetState;
  readonly pitInput: IrqLine;
  readonly rtcInput: IrqLine;
  readonly #options: HpetOptions;
  readonly #routes: number;
  readonly #tickNs: number;
  #events: (Timer | undefined)[] = [];

  constructor(options: HpetOptions) {
    this.#options = options;
    this.#routes = options.routes ?? DEFAULT_ROUTES;
    this.#tickNs = options.tickNs ?? HPET_PERIOD_FS / FS_PER_NS;
    this.state = this.#powerOn();
    this.pitInput = (level) => {
      this.state.pit = level;
      if (!this.#legacy()) this.#options.irq0(level);
    };
    this.rtcInput = (level) => {
      this.state.rtc = level;
      if (!this.#legacy()) this.#options.irq8(level);
    };
  }

  #powerOn(): HpetState {
    const config = TN.PER_INT_CAP | TN.SIZE_CAP | (this.#options.dma ? TN.FSB_CAP : 0);
    // Comparators come out of reset with all ones (2.3.9.1).
    const timer = (): HpetTimerState => ({
      config,
      comparator: [0xffff_ffff, 0xffff_ffff],
      period: [0, 0],
      setsHigh: false,
      fsbValue: 0,
      fsbAddress: 0,
    });
    const timers = Array.from({ length: HPET_TIMERS }, timer);
    return { config: 0, status: 0, counter: [0, 0], since: 0, timers, pit: false, rtc: false };
  }

  attach(bus: Bus): void {
    bus.attachMemory(HPET_BASE, 4096, this);
  }

  /** Timers and lines from `state`, after it was replaced. */
  resume(): void {
    this.#legacyLines();
    for (let i = 0; i < HPET_TIMERS; i++) {
      this.#drive(i, (this.state.status & (1 << i)) !== 0);
      this.#schedule(i);
    }
  }

  /** The board's reset: the PIT and the RTC have their lines back. */
  reset(): void {
    const { pit, rtc } = this.state;
    for (let i = 0; i < HPET_TIMERS; i++) this.#clear(i);
    this.state = { ...this.#powerOn(), pit, rtc };
    this.resume();
  }

  read(offset: number, size: number): number {
    const word = this.#readWord(offset & ~3);
    return size === 4 ? word : Math.floor(word / 2 ** (8 * (offset & 3))) % 2 ** (8 * size);
  }

  /** Registers are accessed as 32 or 64 bits on aligned addresses (2.3.2); a narrower write is ignored. */
  write(offset: number, size: number, value: number): void {
    if (size !== 4 || offset & 3) return;
    if (offset >= 0x100) this.#writeTimer((offset - 0x100) >> 5, offset & 0x1f, value);
    else this.#writeGeneral(offset, value);
  }

  #readWord(offset: number): number {
    const s = this.state;
    switch (offset) {
      case 0x000:
        return CAPABILITIES >>> 0;
      case 0x004:
        return this.#tickNs * FS_PER_NS;
      case 0x010:
        return s.config;
      case 0x020:
        return s.status;
      case 0x0f0:
        // What kernels read as their clock: no allocation here.
        return s.config & ENABLE_CNF ? (s.counter[0] + this.#tick() - s.since) % 2 ** 32 : s.counter[0];
      case 0x0f4:
        return this.#counter()[1];
    }
    const timer = offset >= 0x100 ? s.timers[(offset - 0x100) >> 5] : undefined;
    if (!timer) return 0;
    switch (offset & 0x1f) {
      case 0x00:
        return timer.config;
      case 0x04:
        return this.#routes;
      case 0x08:
        return timer.comparator[0];
      case 0x0c:
        return timer.config & TN.MODE32 ? 0 : timer.comparator[1];
      case 0x10:
        return timer.fsbValue;
      case 0x14:
        return timer.fsbAddress;
      default:
        return 0;
    }
  }

  #writeGeneral(offset: number, value: number): void {
    const s = this.state;
    switch (offset) {
      case 0x010: {
        const counter = this.#counter();
        s.config = value & (ENABLE_CNF | LEG_RT_CNF);
        this.#setCounter(counter);
        this.#legacyLines();
        break;
      }
      case 0x020:
        for (let i = 0; i < HPET_TIMERS; i++) if (value & s.status & (1 << i)) this.#clear(i);
        break;
      case 0x0f0:
        this.#setCounter([value, this.#counter()[1]]);
        break;
      case 0x0f4:
        this.#setCounter([this.#counter()[0], value]);
        break;
    }
  }

  #writeTimer(index: number, offset: number, value: number): void {
    const timer = this.state.timers[index];
    if (!timer) return;
    switch (offset) {
      case 0x00:
        this.#configure(index, timer, value);
        break;
      case 0x08:
        writeComparator(timer, 0, value);
        break;
      case 0x0c:
        writeComparator(timer, 1, value);
        break;
      case 0x10:
        timer.fsbValue = value;
        break;
      case 0x14:
        timer.fsbAddress = value;
        break;
    }
    this.#schedule(index);
  }

  #configure(index: number, timer: HpetTimerState, value: number): void {
    const fsb = timer.config & TN.FSB_CAP ? TN.FSB_EN : 0;
    const writable = TN.INT_TYPE | TN.INT_ENB | TN.TYPE | TN.VAL_SET | TN.MODE32 | TN.ROUTE | fsb;
    const mask = 1 << index;
    // A level that stood on the old route leaves it.
    if (this.state.status & mask) this.#drive(index, false);
    timer.config = (timer.config & ~writable) | (value & writable);
    if (timer.config & TN.MODE32) {
      timer.comparator[1] = 0;
      timer.period[1] = 0;
    }
    if (!(timer.config & TN.INT_TYPE)) this.state.status &= ~mask;
    if (this.state.status & mask) this.#drive(index, true);
  }

  #tick(): number {
    return Math.floor(this.#options.timeline.now / this.#tickNs);
  }

  #counter(): Pair {
    const { config, counter, since } = this.state;
    return config & ENABLE_CNF ? addTicks(counter, this.#tick() - since) : counter;
  }

  #setCounter(value: Readonly<Pair>): void {
    this.state.counter = [value[0], value[1]];
    this.state.since = this.#tick();
    for (let i = 0; i < HPET_TIMERS; i++) this.#schedule(i);
  }

  #legacy(): boolean {
    return (this.state.config & LEG_RT_CNF) !== 0;
  }
  /** On a change of mode the two lines show whoever drives them now. */
  #legacyLines(): void {
    const { pit, rtc, status } = this.state;
    this.#options.irq0(this.#legacy() ? (status & 1) !== 0 && this.#enabled(0) : pit);
    this.#options.irq8(this.#legacy() ? (status & 2) !== 0 && this.#enabled(1) : rtc);
  }
  #enabled(index: number): boolean {
    return (this.state.timers[index]!.config & TN.INT_ENB) !== 0;
  }

  #schedule(index: number): void {
    this.#events[index]?.cancel();
    this.#events[index] = undefined;
    const timer = this.state.timers[index]!;
    // Without an interrupt only a level-triggered timer shows that it matched; a periodic one must move its accumulator.
    const matters = timer.config & (TN.INT_ENB | TN.INT_TYPE) || (isPeriodic(timer) && (timer.period[0] || timer.period[1]));
    if (!(this.state.config & ENABLE_CNF) || !matters) return;
    const tick = this.#tick() + ticksToMatch(timer, this.#counter());
    // A match beyond a double's reach is centuries away.
    if (tick >= 2 ** 53) return;
    this.#events[index] = this.#options.timeline.schedule(tick * this.#tickNs, () => this.#match(index));
  }

  #match(index: number): void {
    const timer = this.state.timers[index]!;
    accumulate(timer, this.#counter());
    if (timer.config & TN.INT_TYPE) {
      this.state.status |= 1 << index;
      this.#drive(index, true);
    } else if (timer.config & TN.INT_ENB) {
      this.#drive(index, true);
      this.#drive(index, false);
    }
    this.#schedule(index);
  }

  #clear(index: number): void {
    this.state.status &= ~(1 << index);
    this.#drive(index, false);
  }

  /** Raises or lowers whatever the timer's interrupt is routed to. */
  #drive(index: number, level: boolean): void {
    const timer = this.state.timers[index]!;
    const raise = level && this.#enabled(index);
    if (timer.config & TN.FSB_EN) {
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setUint32(0, timer.fsbValue, true);
      if (raise) this.#options.dma?.write(timer.fsbAddress, bytes);
    } else if (this.#legacy() && index === 0) this.#options.irq0(raise);
    else if (this.#legacy() && index === 1) this.#options.irq8(raise);
    else {
      const pin = (timer.config & TN.ROUTE) >> TN.ROUTE_SHIFT;
      // A route that the timer cannot have leads nowhere (2.3.8, Tn_INT_ROUTE_CNF).
      if (this.#routes & (1 << pin)) this.#options.pin(pin, raise);
    }
  }
}
