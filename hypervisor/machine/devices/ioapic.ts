// The I/O APIC: 24 pins or more, each with a redirection entry (Intel 82093AA data sheet, order number 290566), with the EOI register that
// version 0x20 has.

import { type ApicMessage, DELIVERY, destinationOf8 } from './apic-message.ts';
import type { MemoryDevice } from './bus.ts';
import { clear, set, test } from './lapic-state.ts';

export const IOAPIC_BASE = 0xfec0_0000;
export const IOAPIC_PINS = 24;
/** An 82093AA is version 0x11; from 0x20 on there is an EOI register, and a local APIC may be told not to broadcast. */
const VERSION = 0x20;

export interface IoApicOptions {
  /** 24 unless given; 120 at most. */
  readonly pins?: number;
  /** Version register; 0x20 unless given. The EOI register is there from 0x20 on. */
  readonly version?: number;
}

/** Bits of the low half of a redirection entry. */
const VECTOR = 0xff;
const LOGICAL = 1 << 11;
const STATUS = 1 << 12;
const ACTIVE_LOW = 1 << 13;
const REMOTE_IRR = 1 << 14;
const LEVEL = 1 << 15;
const MASKED = 1 << 16;
const WRITABLE = VECTOR | (7 << 8) | LOGICAL | ACTIVE_LOW | LEVEL | MASKED;

/** Indirect registers, and the two direct ones and EOI. */
const REG = { id: 0, version: 1, arbitration: 2, redirection: 0x10 } as const;
const IOREGSEL = 0x00;
const IOWIN = 0x10;
const EOI = 0x40;

/** Plain data. */
export interface IoApicState {
  id: number;
  select: number;
  /** Bit n, in words of 32: pin n is driven (after the polarity: asserted is 1 whatever the electrical level). */
  lines: number[];
  /** Edges that wait to be sent. */
  edges: number[];
  low: number[];
  high: number[];
}

const reset = (pins: number): IoApicState => ({
  id: 0,
  select: 0,
  lines: new Array<number>(Math.ceil(pins / 32)).fill(0),
  edges: new Array<number>(Math.ceil(pins / 32)).fill(0),
  low: new Array<number>(pins).fill(MASKED),
  high: new Array<number>(pins).fill(0),
});

export class IoApic implements MemoryDevice {
  state: IoApicState;
  readonly pins: number;
  private readonly version: number;
  /** Delivers a message; false when no local APIC took it. */
  private readonly send: (m: ApicMessage) => boolean;

  constructor(send: (m: ApicMessage) => boolean, options: IoApicOptions = {}) {
    this.send = send;
    this.pins = options.pins ?? IOAPIC_PINS;
    this.version = options.version ?? VERSION;
    this.state = reset(this.pins);
  }

  /** RESET: the lines are as the devices drive them. */
  reset(): void {
    const { lines } = this.state;
    this.state = { ...reset(this.pins), lines };
  }

  /**
   * A pin by what it means: asserted or not. The polarity bit is kept and read back but does not invert: devices of this board say "I want
   * service", and firmware tells an OS the polarity that makes it so.
   */
  setLine(pin: number, asserted: boolean): void {
    const s = this.state;
    const was = test(s.lines, pin);
    if (asserted) set(s.lines, pin);
    else clear(s.lines, pin);
    if (asserted && !was && !(s.low[pin]! & LEVEL)) set(s.edges, pin);
    this.service(pin);
  }

  private service(pin: number): void {
    const s = this.state;
    const low = s.low[pin]!;
    if (low & MASKED) {
      // An edge that comes while the pin is masked is lost, as on the 82093AA.
      clear(s.edges, pin);
      return;
    }
    const level = (low & LEVEL) !== 0;
    if (level ? !test(s.lines, pin) || low & REMOTE_IRR : !test(s.edges, pin)) return;
    const delivery = (low >>> 8) & 7;
    clear(s.edges, pin);
    // Remote IRR stands until the EOI: set before the message goes out, since taking it may already answer.
    const acknowledged = level && (delivery === DELIVERY.fixed || delivery === DELIVERY.lowest);
    if (acknowledged) s.low[pin] = low | REMOTE_IRR;
    const taken = this.send({
      destination: destinationOf8(s.high[pin]! >>> 24, (low & LOGICAL) !== 0),
      logical: (low & LOGICAL) !== 0,
      delivery,
      vector: low & VECTOR,
      level,
    });
    if (!taken && acknowledged) s.low[pin] = s.low[pin]! & ~REMOTE_IRR;
  }

  /** Whether the entry of a pin lets the 8259s through (ExtINT) to the local APIC of this ID. */
  isExtInt(pin: number, id: number): boolean {
    const low = this.state.low[pin]!;
    return !(low & (MASKED | LOGICAL)) && ((low >>> 8) & 7) === DELIVERY.extInt && this.state.high[pin]! >>> 24 === id;
  }

  /** EOI of a level-triggered vector, broadcast by a local APIC or written to the EOI register. */
  eoi(vector: number): void {
    const s = this.state;
    for (let pin = 0; pin < this.pins; pin++) {
      const low = s.low[pin]!;
      if (!(low & REMOTE_IRR) || (low & VECTOR) !== vector) continue;
      s.low[pin] = low & ~REMOTE_IRR;
      this.service(pin);
    }
  }

  read(offset: number, _size: number): number {
    const s = this.state;
    if (offset === IOREGSEL) return s.select;
    if (offset !== IOWIN) return 0;
    switch (s.select) {
      case REG.id:
      case REG.arbitration:
        return (s.id << 24) >>> 0;
      case REG.version:
        return this.version | ((this.pins - 1) << 16);
      default: {
        const n = s.select - REG.redirection;
        if (n < 0 || n >= 2 * this.pins) return 0;
        const pin = n >>> 1;
        return (n & 1 ? s.high[pin]! : s.low[pin]!) >>> 0;
      }
    }
  }

  write(offset: number, _size: number, value: number): void {
    const s = this.state;
    if (offset === IOREGSEL) s.select = value & 0xff;
    else if (offset === EOI && this.version >= 0x20) this.eoi(value & 0xff);
    else if (offset === IOWIN) this.writeRegister(value);
  }
  private writeRegister(value: number): void {
    const s = this.state;
    if (s.select === REG.id) s.id = (value >>> 24) & 15;
    const n = s.select - REG.redirection;
    if (n < 0 || n >= 2 * this.pins) return;
    const pin = n >>> 1;
    if (n & 1) s.high[pin] = (value & 0xff000000) >>> 0;
    else {
      const old = s.low[pin]!;
      // Delivery status and remote IRR are read-only; an entry made edge-triggered forgets its remote IRR.
      const kept = value & LEVEL ? old & REMOTE_IRR : 0;
      s.low[pin] = ((value & WRITABLE) | kept) & ~STATUS;
    }
    this.service(pin);
  }
}
