// A 16550A (National PC16550D data sheet), wired as a PC wires it: OUT2 gates the interrupt onto the bus.
//
// What it sends leaves at once, and its status says so: a kernel that polls while it prints does not wait in virtual time. Only the *interrupt*
// of an emptied transmitter comes a little after the write, so that a driver is called again and again instead of looping in one interrupt.
// What it receives arrives at the programmed baud rate, and never overruns: the wire waits while the FIFO is full.

import type { Bus, IrqLine, Timeline, Timer } from './bus.ts';
import { type ByteDevice, bytePorts } from './byte-ports.ts';

/** Registers, by offset; the first two are the divisor latch while LCR.DLAB is set. */
const RBR_THR = 0;
const IER = 1;
const IIR_FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;

const IER_RDI = 0x01;
const IER_THRI = 0x02;
const IER_RLSI = 0x04;
const IER_MSI = 0x08;
const FCR = { ENABLE: 0x01, CLEAR_RX: 0x02, CLEAR_TX: 0x04, TRIGGER: 0xc0 } as const;
const LCR_BREAK = 0x40;
const LCR_DLAB = 0x80;
const MCR_BITS = { DTR: 0x01, RTS: 0x02, OUT1: 0x04, OUT2: 0x08, LOOP: 0x10 } as const;
const LSR_BITS = { DR: 0x01, OE: 0x02, PE: 0x04, FE: 0x08, BI: 0x10, THRE: 0x20, TEMT: 0x40, FIFO_ERROR: 0x80 } as const;
const LSR_ERRORS = LSR_BITS.OE | LSR_BITS.PE | LSR_BITS.FE | LSR_BITS.BI;
const CHARACTER_ERRORS = LSR_BITS.PE | LSR_BITS.FE | LSR_BITS.BI;

/** Modem lines as they stand in MSR's high half. */
export const MODEM = { CTS: 0x10, DSR: 0x20, RI: 0x40, DCD: 0x80 } as const;

const FIFO_SIZE = 16;
const TRIGGERS = [1, 4, 8, 14] as const;
/** Characters that the wire holds back for the FIFO before receive() refuses more. */
const WIRE_SIZE = 256;
/** 1.8432 MHz, sixteen clocks a bit. */
const BIT_NS = 16e9 / 1_843_200;
/** From a write to the interrupt of the emptied transmitter: longer than a driver takes to look again, short beside a line of text. */
const EMPTIED_NS = 10_000;

/** The sooner of two moments, of which -1 is never. */
const sooner = (a: number, b: number): number => (a < 0 ? b : b < 0 ? a : Math.min(a, b));

/** What waits in a FIFO: a character in bits 0 to 7, its line errors (as LSR has them) from bit 8. */
type Character = number;

export interface UartState {
  ier: number;
  lcr: number;
  mcr: number;
  scratch: number;
  divisor: number;
  /** FCR as far as it lasts: enable and trigger. */
  fcr: number;
  /** LSR's overrun bit and the errors of the character at the FIFO's head, until LSR is read. */
  errors: number;
  /** MSR's delta bits. */
  deltas: number;
  /** Modem inputs as the other end drives them. */
  modem: number;
  rx: Character[];
  /** The receiver's buffer register: what was read last. It keeps its value when there is nothing new. */
  rbr: number;
  wire: Character[];
  /** The transmitter's interrupt is pending. */
  thri: boolean;
  /** When it will be, and when the receiver's timeout falls and the next character is in: nanoseconds, or -1. */
  thriAt: number;
  timeoutAt: number;
  arrivesAt: number;
  /** The FIFO has held characters below its trigger for four character times. */
  timedOut: boolean;
}

export interface UartOptions {
  timeline: Timeline;
  irq: IrqLine;
  /** A byte leaves. */
  output: (byte: number) => void;
  /** The wire has room again after receive() took less than it was given. */
  drained?: () => void;
  /** DTR and RTS (MCR bits 0 and 1) changed. */
  modemControl?: (lines: number) => void;
}

const powerOn = (): UartState => ({
  ier: 0,
  lcr: 0,
  mcr: 0,
  scratch: 0,
  divisor: 12,
  fcr: 0,
  errors: 0,
  deltas: 0,
  modem: MODEM.CTS | MODEM.DSR | MODEM.DCD,
  rx: [],
  rbr: 0,
  wire: [],
  thri: false,
  thriAt: -1,
  timeoutAt: -1,
  arrivesAt: -1,
  timedOut: false,
});

export class Uart implements ByteDevice {
  state: UartState = powerOn();
  readonly #options: UartOptions;
  #base = 0;
  #refused = false;
  #event: Timer | undefined;
  #eventAt = -1;

  constructor(options: UartOptions) {
    this.#options = options;
  }

  /** COM1 is at 0x3f8 (IRQ 4), COM2 at 0x2f8 (IRQ 3). */
  attach(bus: Bus, base: number): void {
    this.#base = base;
    bus.attachPorts(base, 8, bytePorts(this));
  }

  /** Timers and lines from `state`, after it was replaced. */
  resume(): void {
    this.#event?.cancel();
    this.#eventAt = -1;
    this.#update();
  }

  /** Master reset (data sheet, table III): divisor, scratch, the modem's lines and what is on the wire stay. */
  reset(): void {
    const { divisor, scratch, modem, wire } = this.state;
    this.state = { ...powerOn(), divisor, scratch, modem, wire };
    this.#arrive();
    this.resume();
  }

  /** Bytes from the other end. Says how many it took; `drained` is called when the rest may come. */
  receive(bytes: Uint8Array): number {
    const n = Math.min(bytes.length, WIRE_SIZE - this.state.wire.length);
    for (let i = 0; i < n; i++) this.state.wire.push(bytes[i]!);
    this.#refused = n < bytes.length;
    this.#arrive();
    this.#update();
    return n;
  }
  /** The other end holds the line low for longer than a character: a null with BI. */
  receiveBreak(): void {
    this.state.wire.push(LSR_BITS.BI << 8);
    this.#arrive();
    this.#update();
  }
  /** The other end drives its modem lines (MODEM bits). */
  setModem(lines: number): void {
    this.#changeModem(() => {
      this.state.modem = lines;
    });
    this.#update();
  }

  readByte(port: number): number {
    const s = this.state;
    switch (port - this.#base) {
      case RBR_THR:
        return s.lcr & LCR_DLAB ? s.divisor & 0xff : this.#take();
      case IER:
        return s.lcr & LCR_DLAB ? s.divisor >> 8 : s.ier;
      case IIR_FCR: {
        const iir = this.#identification();
        // Reading IIR clears the transmitter's interrupt if that is what it shows.
        if ((iir & 0x0f) === 0x02) s.thri = false;
        this.#update();
        return iir;
      }
      case LCR:
        return s.lcr;
      case MCR:
        return s.mcr;
      case LSR: {
        const lsr = this.#lineStatus();
        s.errors = 0;
        this.#update();
        return lsr;
      }
      case MSR: {
        const msr = this.#modemInputs() | s.deltas;
        s.deltas = 0;
        this.#update();
        return msr;
      }
      default:
        return s.scratch;
    }
  }

  writeByte(port: number, value: number): void {
    const s = this.state;
    switch (port - this.#base) {
      case RBR_THR:
        if (s.lcr & LCR_DLAB) s.divisor = (s.divisor & 0xff00) | value;
        else this.#send(value);
        break;
      case IER:
        if (s.lcr & LCR_DLAB) s.divisor = (s.divisor & 0xff) | (value << 8);
        else this.#enable(value & 0x0f);
        break;
      case IIR_FCR:
        this.#fifoControl(value);
        break;
      case LCR:
        s.lcr = value;
        break;
      case MCR:
        this.#changeModem(() => {
          s.mcr = value & 0x1f;
        });
        this.#options.modemControl?.(s.mcr & (MCR_BITS.DTR | MCR_BITS.RTS));
        break;
      // LSR is for factory tests and MSR read-only on the real chip; software that writes them means nothing.
      case LSR:
      case MSR:
        break;
      default:
        s.scratch = value;
    }
    this.#update();
  }

  #characterTime(): number {
    // Start bit, data bits, parity, one stop bit (a second one, or half of one, is not counted).
    const bits = 2 + 5 + (this.state.lcr & 3) + (this.state.lcr & 8 ? 1 : 0);
    return bits * BIT_NS * Math.max(1, this.state.divisor);
  }

  #fifos(): boolean {
    return (this.state.fcr & FCR.ENABLE) !== 0;
  }
  #depth(): number {
    return this.#fifos() ? FIFO_SIZE : 1;
  }
  #trigger(): number {
    return this.#fifos() ? TRIGGERS[(this.state.fcr >> 6) as 0 | 1 | 2 | 3] : 1;
  }

  #send(byte: number): void {
    const s = this.state;
    if (s.mcr & MCR_BITS.LOOP) this.#accept(byte);
    else this.#options.output(byte);
    s.thri = false;
    s.thriAt = this.#options.timeline.now + EMPTIED_NS;
  }

  #enable(ier: number): void {
    const s = this.state;
    // Enabling the transmitter's interrupt while it is empty raises it at once; drivers probe for that (Linux: UART_BUG_THRE, UART_BUG_TXEN).
    if (ier & ~s.ier & IER_THRI) {
      s.thri = true;
      s.thriAt = -1;
    }
    s.ier = ier;
  }

  #fifoControl(value: number): void {
    const s = this.state;
    const toggled = ((value ^ s.fcr) & FCR.ENABLE) !== 0;
    if (toggled || (value & FCR.ENABLE && value & FCR.CLEAR_RX)) {
      s.rx = [];
      s.errors &= ~CHARACTER_ERRORS;
      s.timedOut = false;
      s.timeoutAt = -1;
    }
    // The transmitter is always empty: clearing its FIFO raises its interrupt again.
    if (toggled || (value & FCR.ENABLE && value & FCR.CLEAR_TX)) s.thri = true;
    s.fcr = value & FCR.ENABLE ? value & (FCR.ENABLE | FCR.TRIGGER) : 0;
  }

  /** A character comes into the FIFO. */
  #accept(character: Character): void {
    const s = this.state;
    if (s.rx.length >= this.#depth()) {
      // The FIFO keeps what it has; without one, the new character takes the old one's place.
      s.errors |= LSR_BITS.OE;
      if (!this.#fifos()) s.rx = [character];
      return;
    }
    s.rx.push(character);
    if (s.rx.length === 1) s.errors |= character >> 8;
    this.#startTimeout();
  }

  /** The CPU reads the receiver's buffer: the head of the FIFO. */
  #take(): number {
    const s = this.state;
    const character = s.rx.shift();
    if (character !== undefined) s.rbr = character & 0xff;
    s.errors &= ~CHARACTER_ERRORS;
    if (s.rx.length > 0) s.errors |= s.rx[0]! >> 8;
    s.timedOut = false;
    this.#startTimeout();
    this.#arrive();
    this.#update();
    return s.rbr;
  }

  /** The character timeout of the FIFO mode: four character times since the last character came or was read. */
  #startTimeout(): void {
    const s = this.state;
    s.timeoutAt = this.#fifos() && s.rx.length > 0 ? this.#options.timeline.now + 4 * this.#characterTime() : -1;
  }

  /** Gives the wire's next character its time. */
  #arrive(): void {
    const s = this.state;
    if (s.arrivesAt < 0 && s.wire.length > 0 && s.rx.length < this.#depth() && !(s.mcr & MCR_BITS.LOOP))
      s.arrivesAt = this.#options.timeline.now + this.#characterTime();
    if (this.#refused && s.wire.length === 0) {
      this.#refused = false;
      this.#options.drained?.();
    }
  }

  #lineStatus(): number {
    const { errors, rx } = this.state;
    const inFifo = rx.length > 0 && this.#fifos() && rx.some((c) => c >> 8);
    return LSR_BITS.THRE | LSR_BITS.TEMT | errors | (rx.length > 0 ? LSR_BITS.DR : 0) | (inFifo ? LSR_BITS.FIFO_ERROR : 0);
  }

  /** In loopback the four outputs feed the four inputs. */
  #modemInputs(): number {
    const { mcr, modem } = this.state;
    if (!(mcr & MCR_BITS.LOOP)) return modem;
    return (
      (mcr & MCR_BITS.RTS ? MODEM.CTS : 0) |
      (mcr & MCR_BITS.DTR ? MODEM.DSR : 0) |
      (mcr & MCR_BITS.OUT1 ? MODEM.RI : 0) |
      (mcr & MCR_BITS.OUT2 ? MODEM.DCD : 0)
    );
  }
  #changeModem(change: () => void): void {
    const before = this.#modemInputs();
    change();
    const now = this.#modemInputs();
    const changed = (before ^ now) >> 4;
    // Three deltas for any change, and TERI for the trailing edge of the ring indicator only.
    this.state.deltas |= (changed & 0x0b) | (before & MODEM.RI && !(now & MODEM.RI) ? 0x04 : 0);
  }

  #identification(): number {
    const { ier, rx, errors, deltas, thri, timedOut } = this.state;
    const fifos = this.#fifos() ? 0xc0 : 0;
    // In order of priority (data sheet, table IV).
    if (ier & IER_RLSI && errors & LSR_ERRORS) return fifos | 0x06;
    if (ier & IER_RDI && rx.length >= this.#trigger()) return fifos | 0x04;
    if (ier & IER_RDI && timedOut) return fifos | 0x0c;
    if (ier & IER_THRI && thri) return fifos | 0x02;
    if (ier & IER_MSI && deltas) return fifos;
    return fifos | 0x01;
  }

  #update(): void {
    const s = this.state;
    const pending = (this.#identification() & 1) === 0;
    // In loopback the OUT pins are inactive, and with them the gate.
    this.#options.irq(pending && (s.mcr & (MCR_BITS.OUT2 | MCR_BITS.LOOP)) === MCR_BITS.OUT2);
    const next = sooner(sooner(s.arrivesAt, s.timeoutAt), s.ier & IER_THRI ? s.thriAt : -1);
    if (next === this.#eventAt) return;
    this.#event?.cancel();
    this.#eventAt = next;
    this.#event = next < 0 ? undefined : this.#options.timeline.schedule(next, () => this.#expire());
  }

  #expire(): void {
    const s = this.state;
    const { now } = this.#options.timeline;
    this.#eventAt = -1;
    if (s.thriAt >= 0 && s.thriAt <= now) {
      s.thriAt = -1;
      s.thri = true;
    }
    if (s.timeoutAt >= 0 && s.timeoutAt <= now) {
      s.timeoutAt = -1;
      s.timedOut = true;
    }
    if (s.arrivesAt >= 0 && s.arrivesAt <= now) {
      s.arrivesAt = -1;
      const character = s.wire.shift();
      if (character !== undefined) this.#accept(character);
      this.#arrive();
    }
    this.#update();
  }

  /** LCR's break bit: the transmitter holds the line. */
  get sendsBreak(): boolean {
    return (this.state.lcr & LCR_BREAK) !== 0;
  }
}
