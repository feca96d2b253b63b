// The MC146818A real-time clock and its battery-backed RAM: ports 0x70 and 0x71, with the PIIX3's second bank at 0x72 and 0x73. IRQ8.
//
// The date at power-on is an input. The second's end is the end of the chip's update cycle: then the registers step, UF and AF rise, and UIP,
// which stood for the 2228 us before (244 of warning and 1984 of updating), falls. Nothing runs while nobody looks: registers catch up when
// they are touched, and there is an event only for an interrupt that is enabled. Source: Motorola MC146818A data sheet (ADI1182R1).

import type { Bus, IrqLine, Timeline, Timer } from './bus.ts';
import { bytePorts } from './byte-ports.ts';
import { Oscillator } from './oscillator.ts';
import { alarmMatches, DAY, passSeconds, REG_B, RTC, secondsOf, setSeconds, timeOfDay, weekday } from './rtc-calendar.ts';

const HERTZ = 32_768;
/** 2228 us. */
const UPDATE_TICKS = 73;

const REG_A = { UIP: 0x80, DV: 0x70, RS: 0x0f } as const;
/** The only divider setting for a 32.768 kHz crystal; 11x holds the divider in reset. */
const DV_RUNNING = 0x20;
const REG_C = { IRQF: 0x80, PF: 0x40, AF: 0x20, UF: 0x10 } as const;
const VRT = 0x80;

export interface RtcState {
  index: number;
  extendedIndex: number;
  /** Bit 7 of port 0x70: the board's NMI mask. */
  nmiMasked: boolean;
  regs: number[];
  extended: number[];
  /** The tick of the last second's end that the registers show. */
  second: number;
  /** Periodic flags have been accounted for up to this tick; periods count from `phase`. */
  periodic: number;
  phase: number;
}

export interface RtcOptions {
  timeline: Timeline;
  irq8: IrqLine;
  /** Date at power-on: seconds since 1970, as the clock shall show it (the PC's custom is UTC or local time). */
  epoch: number;
  /** Initial bytes of the RAM (rtc-cmos.ts). */
  cmos?: ReadonlyMap<number, number>;
  nmiMask?: (masked: boolean) => void;
}

export class Rtc {
  state: RtcState;
  readonly #options: RtcOptions;
  readonly #clock = new Oscillator(HERTZ);
  #timer: Timer | undefined;

  constructor(options: RtcOptions) {
    this.#options = options;
    const regs = new Array<number>(128).fill(0);
    for (const [index, byte] of options.cmos ?? []) regs[index] = byte;
    regs[RTC.a] = DV_RUNNING | 6;
    regs[RTC.b] = REG_B.H24;
    regs[RTC.c] = 0;
    const now = this.#tick();
    this.state = {
      index: 0,
      extendedIndex: 0,
      nmiMasked: false,
      regs,
      extended: new Array<number>(128).fill(0),
      second: now,
      periodic: now,
      phase: 0,
    };
    this.#show(options.epoch);
  }
  /** The registers show a date from now on. A clock that was running before: the fraction of its second is kept. */
  #show(epoch: number): void {
    const { regs } = this.state;
    setSeconds(regs, Math.floor(epoch));
    regs[RTC.dayOfWeek] = weekday(epoch);
    this.state.second = this.#tick() - Math.floor((epoch - Math.floor(epoch)) * HERTZ);
  }

  attach(bus: Bus): void {
    bus.attachPorts(0x70, 4, bytePorts(this));
  }

  /** Timers and lines from `state`, after it was replaced. */
  resume(): void {
    this.#update();
  }

  /** The board's reset: interrupts off (data sheet, RESET pin); time and RAM live on the battery. */
  reset(): void {
    this.#catchUp();
    this.state.regs[RTC.b]! &= ~(REG_B.PIE | REG_B.AIE | REG_B.UIE | REG_B.SQWE);
    this.state.regs[RTC.c] = 0;
    this.state.nmiMasked = false;
    this.#update();
  }

  readByte(port: number): number {
    const { regs, extended, index, extendedIndex } = this.state;
    if (port === 0x73) return extended[extendedIndex]!;
    // The index registers are write-only; the bus floats.
    if (port !== 0x71) return 0xff;
    this.#catchUp();
    switch (index) {
      case RTC.a:
        return regs[RTC.a]! | (this.#updating() ? REG_A.UIP : 0);
      case RTC.c: {
        const flags = regs[RTC.c]!;
        regs[RTC.c] = 0;
        this.#update();
        return flags;
      }
      case RTC.d:
        return VRT;
      default:
        return regs[index]!;
    }
  }

  writeByte(port: number, value: number): void {
    const s = this.state;
    if (port === 0x70) {
      s.index = value & 0x7f;
      s.nmiMasked = (value & 0x80) !== 0;
      this.#options.nmiMask?.(s.nmiMasked);
    } else if (port === 0x72) s.extendedIndex = value & 0x7f;
    else if (port === 0x73) s.extended[s.extendedIndex] = value;
    else {
      this.#catchUp();
      this.#write(s.index, value);
      this.#update();
    }
  }

  #write(index: number, value: number): void {
    const { regs } = this.state;
    switch (index) {
      case RTC.a: {
        const was = this.#dividerRuns();
        regs[RTC.a] = value & ~REG_A.UIP;
        // Out of divider reset the first update comes half a second later.
        if (!was && this.#dividerRuns()) this.#restart(this.#tick() - HERTZ / 2);
        break;
      }
      case RTC.b: {
        const was = this.#runs();
        regs[RTC.b] = value;
        // SET clears UIE. While it stood the seconds went by unseen, but the divider kept their phase.
        if (value & REG_B.SET) regs[RTC.b]! &= ~REG_B.UIE;
        else if (!was && this.#dividerRuns()) this.state.second += HERTZ * Math.floor((this.#tick() - this.state.second) / HERTZ);
        break;
      }
      case RTC.c:
      case RTC.d:
        break;
      default:
        regs[index] = value;
    }
  }

  #restart(second: number): void {
    this.state.second = second;
    this.state.phase = this.#tick();
    this.state.periodic = this.#tick();
  }

  #tick(): number {
    return this.#clock.ticks(this.#options.timeline.now);
  }
  #dividerRuns(): boolean {
    return (this.state.regs[RTC.a]! & REG_A.DV) === DV_RUNNING;
  }
  #runs(): boolean {
    return this.#dividerRuns() && !(this.state.regs[RTC.b]! & REG_B.SET);
  }
  #updating(): boolean {
    return this.#runs() && this.state.second + HERTZ - this.#tick() <= UPDATE_TICKS;
  }

  /** Clock ticks of one periodic interrupt, or 0. Rates 1 and 2 are those of 8 and 9 (data sheet, table 3, 32.768 kHz column). */
  #period(): number {
    const rate = this.state.regs[RTC.a]! & REG_A.RS;
    if (rate === 0 || !this.#dividerRuns()) return 0;
    return rate <= 2 ? 64 << rate : 1 << (rate - 1);
  }

  /** Brings registers and flags to the present. */
  #catchUp(): void {
    const s = this.state;
    const now = this.#tick();
    const period = this.#period();
    if (period > 0 && Math.floor((now - s.phase) / period) > Math.floor((s.periodic - s.phase) / period)) s.regs[RTC.c]! |= REG_C.PF;
    s.periodic = now;
    if (!this.#runs()) return;
    const seconds = Math.floor((now - s.second) / HERTZ);
    if (seconds <= 0) return;
    s.second += seconds * HERTZ;
    s.regs[RTC.c]! |= REG_C.UF;
    const start = timeOfDay(s.regs);
    for (let i = 1; i <= Math.min(seconds, DAY) && !(s.regs[RTC.c]! & REG_C.AF); i++)
      if (alarmMatches(s.regs, (start + i) % DAY)) s.regs[RTC.c]! |= REG_C.AF;
    passSeconds(s.regs, seconds);
  }

  /** The interrupt line, and the event that may raise it next. */
  #update(): void {
    const { regs } = this.state;
    // PIE, AIE and UIE stand where PF, AF and UF do.
    const raised = (regs[RTC.c]! & regs[RTC.b]! & (REG_C.PF | REG_C.AF | REG_C.UF)) !== 0;
    regs[RTC.c] = (regs[RTC.c]! & ~REG_C.IRQF) | (raised ? REG_C.IRQF : 0);
    this.#options.irq8(raised);
    this.#timer?.cancel();
    this.#timer = undefined;
    // Raised, it stays so until register C is read: nothing more can happen to the line.
    if (raised) return;
    const next = this.#nextEvent();
    if (next < Number.POSITIVE_INFINITY)
      this.#timer = this.#options.timeline.schedule(this.#clock.timeOf(next), () => {
        this.#catchUp();
        this.#update();
      });
  }

  #nextEvent(): number {
    const { regs, second, phase } = this.state;
    const b = regs[RTC.b]!;
    const period = this.#period();
    let next = Number.POSITIVE_INFINITY;
    if (b & REG_B.PIE && period > 0) next = phase + (Math.floor((this.#tick() - phase) / period) + 1) * period;
    if (b & (REG_B.AIE | REG_B.UIE) && this.#runs()) next = Math.min(next, second + HERTZ);
    return next;
  }

  /** Sets the date, as whoever owns the battery may: seconds since 1970. */
  setEpoch(epoch: number): void {
    this.#catchUp();
    this.#show(epoch);
    this.#update();
  }
  /** The date that the clock shows, for those who save or compare; seconds since 1970. */
  get epoch(): number {
    this.#catchUp();
    this.#update();
    return secondsOf(this.state.regs);
  }
}
