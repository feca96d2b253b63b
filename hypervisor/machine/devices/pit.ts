// The 8254 of a PC at ports 0x40 to 0x43, and what port 0x61 shows of it: counter 0 drives IRQ0, counter 1 the refresh toggle, counter 2 the
// speaker and whatever software times with it. Source: Intel 8254 data sheet (231164), PIIX3 data sheet (290550) for port 0x61.

import type { Bus, IrqLine, Timeline, Timer } from './bus.ts';
import { bytePorts } from './byte-ports.ts';
import { Oscillator } from './oscillator.ts';
import {
  ACCESS_LSB,
  ACCESS_MSB,
  ACCESS_WORD,
  advance,
  counterStatus,
  counterValue,
  createCounter,
  nextEdge,
  nextIsPulse,
  type PitCounterState,
  setGate,
  writeControl,
  writeCount,
} from './pit-counter.ts';

export const PIT_HERTZ = 1_193_182;
/** Counter 1 refreshes memory every 18 clocks (15 us) on every PC; the BIOS's count is taken for granted. */
const REFRESH_CLOCKS = 18;

const PORT_COUNTER0 = 0x40;
const PORT_CONTROL = 0x43;
const PORT_SYSTEM_CONTROL = 0x61;

/** What the counters' read side remembers, apart from counting. */
interface Latch {
  /** A latched count that is still to be read, or -1. */
  count: number;
  /** A latched status byte, or -1; it is read before the count. */
  status: number;
  /** The next read of a 16-bit count gives its high byte. */
  high: boolean;
}

export interface PitState {
  counters: [PitCounterState, PitCounterState, PitCounterState];
  latches: [Latch, Latch, Latch];
  /** Port 0x61, bits 0 to 3 as written: gate 2, speaker data, and the two NMI masks, which mask nothing here. */
  systemControl: number;
}

export interface PitOptions {
  timeline: Timeline;
  irq0: IrqLine;
  /** The speaker's cone moves; for those who want to hear it. */
  speaker?: (level: boolean) => void;
}

export class Pit {
  state: PitState;
  readonly #options: PitOptions;
  readonly #clock = new Oscillator(PIT_HERTZ);
  #timer: Timer | undefined;

  constructor(options: PitOptions) {
    this.#options = options;
    const latch = (): Latch => ({ count: -1, status: -1, high: false });
    this.state = {
      counters: [createCounter(true), createCounter(true), createCounter(false)],
      latches: [latch(), latch(), latch()],
      systemControl: 0,
    };
  }

  attach(bus: Bus): void {
    const ports = bytePorts(this);
    bus.attachPorts(PORT_COUNTER0, 4, ports);
    bus.attachPorts(PORT_SYSTEM_CONTROL, 1, ports);
  }

  /** Timers and lines from `state`, after it was replaced. */
  resume(): void {
    this.#options.irq0(this.state.counters[0].out);
    this.#schedule();
  }

  readByte(port: number): number {
    const tick = this.#tick();
    if (port === PORT_SYSTEM_CONTROL) {
      const counter = this.state.counters[2];
      advance(counter, tick);
      const toggle = Math.floor(tick / REFRESH_CLOCKS) & 1;
      return this.state.systemControl | (toggle << 4) | (counter.out ? 0x20 : 0);
    }
    // The control word register cannot be read; the bus floats.
    if (port === PORT_CONTROL) return 0xff;
    return this.#readCounter(port - PORT_COUNTER0, tick);
  }

  writeByte(port: number, value: number): void {
    const tick = this.#tick();
    if (port === PORT_SYSTEM_CONTROL) {
      this.state.systemControl = value & 0x0f;
      const counter = this.state.counters[2];
      advance(counter, tick);
      setGate(counter, (value & 1) !== 0);
      this.#options.speaker?.((value & 2) !== 0 && counter.out);
    } else if (port === PORT_CONTROL) this.#control(value, tick);
    else this.#writeCounter(port - PORT_COUNTER0, value, tick);
  }

  #tick(): number {
    return this.#clock.ticks(this.#options.timeline.now);
  }

  #control(value: number, tick: number): void {
    const select = value >> 6;
    if (select === 3) {
      // Read-back: bits 5 and 4 are active low, bits 3 to 1 name the counters.
      for (let i = 0; i < 3; i++) {
        if (!(value & (2 << i))) continue;
        if (!(value & 0x20)) this.#latchCount(i, tick);
        if (!(value & 0x10)) this.#latchStatus(i, tick);
      }
      return;
    }
    const access = (value >> 4) & 3;
    if (access === 0) {
      this.#latchCount(select, tick);
      return;
    }
    // SAFE: select is 0 to 2 here.
    const counter = this.state.counters[select]!;
    advance(counter, tick);
    writeControl(counter, access, (value >> 1) & 7, (value & 1) !== 0);
    this.state.latches[select] = { count: -1, status: -1, high: false };
    if (select === 0) this.#output();
  }

  /** A second latch command before the first was read out is ignored; so for the status. */
  #latchCount(index: number, tick: number): void {
    const [counter, latch] = [this.state.counters[index]!, this.state.latches[index]!];
    if (latch.count >= 0) return;
    advance(counter, tick);
    latch.count = counterValue(counter);
  }

  #latchStatus(index: number, tick: number): void {
    const [counter, latch] = [this.state.counters[index]!, this.state.latches[index]!];
    if (latch.status >= 0) return;
    advance(counter, tick);
    latch.status = counterStatus(counter);
  }

  #readCounter(index: number, tick: number): number {
    const [counter, latch] = [this.state.counters[index]!, this.state.latches[index]!];
    if (latch.status >= 0) {
      const status = latch.status;
      latch.status = -1;
      return status;
    }
    advance(counter, tick);
    const value = latch.count >= 0 ? latch.count : counterValue(counter);
    const high = counter.access === ACCESS_MSB || (counter.access === ACCESS_WORD && latch.high);
    if (counter.access === ACCESS_WORD) latch.high = !latch.high;
    if (high || counter.access === ACCESS_LSB) latch.count = -1;
    return high ? value >> 8 : value & 0xff;
  }

  #writeCounter(index: number, value: number, tick: number): void {
    const counter = this.state.counters[index]!;
    advance(counter, tick);
    writeCount(counter, value);
    if (index === 0) this.#output();
  }

  #output(): void {
    this.#options.irq0(this.state.counters[0].out);
    this.#schedule();
  }

  /** A pulse of one clock is shown as one moment, its end: low, then high. That halves the events of mode 2, which every kernel uses. */
  #schedule(): void {
    this.#timer?.cancel();
    const counter = this.state.counters[0];
    const edge = nextEdge(counter);
    const pulse = nextIsPulse(counter);
    const at = pulse ? edge + 1 : edge;
    this.#timer = edge < 0 ? undefined : this.#options.timeline.schedule(this.#clock.timeOf(at), () => this.#edge(at, pulse));
  }

  #edge(tick: number, pulse: boolean): void {
    if (pulse) this.#options.irq0(false);
    advance(this.state.counters[0], tick);
    this.#output();
  }
}
