// The two 8259A interrupt controllers of the PC (Intel 8259A data sheet, order number 231468), the slave on the master's pin 2, with the
// edge/level control registers of the PIIX3 at 0x4d0 and 0x4d1.

import type { IrqLine, PortDevice } from './bus.ts';
import { bytePorts } from './byte-ports.ts';

/** Plain data. Pin n is bit n everywhere. */
export interface PicState {
  /** Level of the pins. */
  lines: number;
  irr: number;
  isr: number;
  imr: number;
  /** 1: level-triggered (ELCR). */
  elcr: number;
  /** ICW2: vector of pin 0; the low three bits are zero. */
  base: number;
  /** Which ICW is awaited; 0 when initialized. */
  step: 0 | 2 | 3 | 4;
  icw4Needed: boolean;
  single: boolean;
  levelMode: boolean;
  autoEoi: boolean;
  rotateOnAutoEoi: boolean;
  specialMask: boolean;
  specialFullyNested: boolean;
  /** The pin of lowest priority; 7 after initialization. */
  lowest: number;
  readIsr: boolean;
  poll: boolean;
}

const reset = (): PicState => ({
  lines: 0,
  irr: 0,
  isr: 0,
  imr: 0,
  elcr: 0,
  base: 0,
  step: 0,
  icw4Needed: false,
  single: false,
  levelMode: false,
  autoEoi: false,
  rotateOnAutoEoi: false,
  specialMask: false,
  specialFullyNested: false,
  lowest: 7,
  readIsr: false,
  poll: false,
});

const NONE = 8;

/** One 8259A. Priorities count from 0, the highest: that of the pin after `lowest`. */
export class Pic8259 {
  state: PicState = reset();
  /** The INT output. */
  private readonly output: IrqLine;
  private readonly isMaster: boolean;
  /** Pins whose trigger mode is fixed to edge: of the master the timer, the keyboard and the cascade, of the slave clock and FPU. */
  private readonly elcrMask: number;

  constructor(isMaster: boolean, output: IrqLine) {
    this.isMaster = isMaster;
    this.elcrMask = isMaster ? 0xf8 : 0xde;
    this.output = output;
  }

  reset(): void {
    const { lines } = this.state;
    this.state = { ...reset(), lines };
    this.update();
  }

  setLine(pin: number, level: boolean): void {
    const s = this.state;
    const bit = 1 << pin;
    const isLevel = s.levelMode || (s.elcr & bit) !== 0;
    if (level) {
      // An edge is remembered until it is acknowledged; it must still be high then (below).
      if (isLevel || !(s.lines & bit)) s.irr |= bit;
      s.lines |= bit;
    } else {
      s.irr &= ~bit;
      s.lines &= ~bit;
    }
    this.update();
  }

  /** Priority of the best pin of a set; NONE when it is empty. */
  private priority(pins: number): number {
    if (pins === 0) return NONE;
    let p = 0;
    while (!(pins & (1 << ((p + this.state.lowest + 1) & 7)))) p++;
    return p;
  }
  private pinOf(priority: number): number {
    return (priority + this.state.lowest + 1) & 7;
  }

  /** The pin that INT is for, or -1. */
  private wanted(): number {
    const s = this.state;
    const best = this.priority(s.irr & ~s.imr);
    if (best === NONE) return -1;
    // In special mask mode a masked pin in service inhibits nothing. In special fully nested mode the slave may interrupt itself.
    let serving = s.specialMask ? s.isr & ~s.imr : s.isr;
    if (s.specialFullyNested && this.isMaster) serving &= ~(1 << 2);
    return best < this.priority(serving) ? this.pinOf(best) : -1;
  }

  update(): void {
    this.output(this.wanted() >= 0);
  }
  get asks(): boolean {
    return this.wanted() >= 0;
  }

  /** The pin that an INTA would name now, without one. */
  peek(): number {
    const pin = this.wanted();
    return pin < 0 ? 7 : pin;
  }

  /** INTA. A request that has gone gives pin 7 without setting its in-service bit ("default IR7"). */
  acknowledge(): number {
    const s = this.state;
    const pin = this.wanted();
    if (pin < 0) return 7;
    const bit = 1 << pin;
    if (!(s.levelMode || s.elcr & bit)) s.irr &= ~bit;
    if (!s.autoEoi) s.isr |= bit;
    else if (s.rotateOnAutoEoi) s.lowest = pin;
    // INT falls with INTA, so that a slave with more to say makes its master an edge again.
    this.output(false);
    this.update();
    return pin;
  }

  write(command: boolean, value: number): void {
    if (command) {
      if (value & 0x10) this.icw1(value);
      else if (value & 0x08) this.ocw3(value);
      else this.ocw2(value);
    } else this.data(value);
    this.update();
  }
  private icw1(value: number): void {
    const { lines, elcr } = this.state;
    this.state = {
      ...reset(),
      lines,
      elcr,
      step: 2,
      icw4Needed: (value & 1) !== 0,
      single: (value & 2) !== 0,
      levelMode: (value & 8) !== 0,
    };
    // The edge detectors are reset: a pin must go low and high again. Level pins ask at once.
    this.state.irr = lines & (this.state.levelMode ? 0xff : elcr);
  }
  private data(value: number): void {
    const s = this.state;
    switch (s.step) {
      case 0:
        s.imr = value;
        return;
      case 2:
        s.base = value & 0xf8;
        s.step = !s.single ? 3 : s.icw4Needed ? 4 : 0;
        return;
      case 3:
        s.step = s.icw4Needed ? 4 : 0;
        return;
      case 4:
        s.autoEoi = (value & 2) !== 0;
        s.specialFullyNested = (value & 0x10) !== 0;
        s.step = 0;
    }
  }
  private ocw3(value: number): void {
    const s = this.state;
    if (value & 4) s.poll = true;
    if (value & 2) s.readIsr = (value & 1) !== 0;
    if (value & 0x40) s.specialMask = (value & 0x20) !== 0;
  }
  /** R, SL, EOI in bits 7:5. */
  private ocw2(value: number): void {
    const s = this.state;
    const pin = value & 7;
    switch (value >>> 5) {
      case 0:
      case 4:
        s.rotateOnAutoEoi = (value & 0x80) !== 0;
        return;
      case 1:
      case 5: {
        const p = this.priority(s.isr);
        if (p === NONE) return;
        const served = this.pinOf(p);
        s.isr &= ~(1 << served);
        if (value & 0x80) s.lowest = served;
        return;
      }
      case 3:
        s.isr &= ~(1 << pin);
        return;
      case 6:
        s.lowest = pin;
        return;
      case 7:
        s.isr &= ~(1 << pin);
        s.lowest = pin;
    }
  }

  read(command: boolean): number {
    const s = this.state;
    if (s.poll) {
      // The read is the INTA of a poll (data sheet, "Poll Command").
      s.poll = false;
      return this.asks ? 0x80 | this.acknowledge() : 0;
    }
    return command ? (s.readIsr ? s.isr : s.irr) : s.imr;
  }

  get elcr(): number {
    return this.state.elcr;
  }
  set elcr(value: number) {
    const s = this.state;
    s.elcr = value & this.elcrMask;
    s.irr |= s.lines & s.elcr;
    this.update();
  }
}

export class PicPair {
  readonly master: Pic8259;
  readonly slave: Pic8259;
  /** For the bus: 0x20 and 0x21, 0xa0 and 0xa1, 0x4d0 and 0x4d1. */
  readonly ports: PortDevice;

  /** `output` is the master's INT. */
  constructor(output: IrqLine) {
    this.master = new Pic8259(true, output);
    this.slave = new Pic8259(false, (level) => this.master.setLine(2, level));
    this.ports = bytePorts({ readByte: (port) => this.readByte(port), writeByte: (port, value) => this.writeByte(port, value) });
  }

  /** Pins 0 to 15, without 2. */
  setLine(irq: number, level: boolean): void {
    if (irq < 8) this.master.setLine(irq, level);
    else this.slave.setLine(irq - 8, level);
  }

  /** INTA of the processor: the vector. */
  acknowledge(): number {
    const pin = this.master.acknowledge();
    if (pin !== 2 || this.master.state.single) return this.master.state.base + pin;
    return this.slave.state.base + this.slave.acknowledge();
  }

  /** The vector that acknowledge() would give now; nothing changes. */
  peek(): number {
    const pin = this.master.peek();
    if (pin !== 2 || this.master.state.single) return this.master.state.base + pin;
    return this.slave.state.base + this.slave.peek();
  }

  reset(): void {
    this.master.reset();
    this.slave.reset();
    this.master.elcr = 0;
    this.slave.elcr = 0;
  }

  private chip(port: number): Pic8259 {
    return (port & 0xf0) === 0x20 || port === 0x4d0 ? this.master : this.slave;
  }
  private readByte(port: number): number {
    const chip = this.chip(port);
    return port >= 0x4d0 ? chip.elcr : chip.read((port & 1) === 0);
  }
  private writeByte(port: number, value: number): void {
    const chip = this.chip(port);
    if (port >= 0x4d0) chip.elcr = value;
    else chip.write((port & 1) === 0, value);
  }
}
