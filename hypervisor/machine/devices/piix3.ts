// The ISA bridge of the PIIX3 (Intel 82371SB, order 290550): routes the four PCI interrupt wires to ISA interrupts.
// Register values at power-on are those of QEMU's `pc` machine.

import type { IrqLine } from './bus.ts';
import { PciFunction } from './pci-function.ts';

/** PIRQRC[A:D] (290550, 2.2.12): bit 7 switches the wire off, bits 3:0 name an ISA interrupt. */
const PIRQRC = 0x60;
const PIRQ_OFF = 0x80;

export interface Piix3State {
  /** Bit n: PIRQ wire n is asserted. */
  wires: number;
}

const INITIAL: readonly (readonly [number, number])[] = [
  [0x07, 0x02],
  [0x4c, 0x4d],
  [0x4e, 0x03],
  [0x60, 0x80],
  [0x61, 0x80],
  [0x62, 0x80],
  [0x63, 0x80],
  [0x69, 0x02],
  [0x70, 0x80],
  [0x76, 0x0c],
  [0x77, 0x0c],
  [0x78, 0x02],
  [0xa0, 0x08],
  [0xa8, 0x0f],
];

export class Piix3 extends PciFunction {
  readonly router: Piix3State = { wires: 0 };
  /** ISA interrupt lines 0 to 15, as inputs of the 8259s and of the I/O APIC alike. */
  private readonly isa: readonly IrqLine[];
  private readonly levels: boolean[] = new Array(16).fill(false);
  /** For a board that routes the wires itself: told of each wire's ISA interrupt (0: off) when it changes; all are off at power-on. */
  private readonly onRoute: (wire: number, irq: number) => void;
  private readonly told: number[] = new Array(4).fill(0);

  constructor(isa: readonly IrqLine[], onRoute: (wire: number, irq: number) => void = () => {}) {
    super({
      vendor: 0x8086,
      device: 0x7000,
      classCode: 0x060100,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      multifunction: true,
    });
    this.isa = isa;
    this.onRoute = onRoute;
    for (const [at, v] of INITIAL) this.config[at] = v;
    for (let at = 0x40; at < 0x100; at++) this.writable[at] = 0xff;
    this.rememberInitial();
  }

  /** For PciBus.onPirq. */
  readonly pirq = (wire: number, level: boolean): void => {
    this.router.wires = level ? this.router.wires | (1 << wire) : this.router.wires & ~(1 << wire);
    this.route();
  };

  protected override written(at: number, size: number): void {
    if (at < PIRQRC + 4 && at + size > PIRQRC) this.route();
  }
  /** Drives each ISA interrupt with the OR of the wires that are routed to it. */
  private route(): void {
    let asserted = 0;
    for (let wire = 0; wire < 4; wire++) {
      const r = this.config[PIRQRC + wire]!;
      const irq = r & PIRQ_OFF ? 0 : r & 15;
      if (irq !== this.told[wire]) this.onRoute(wire, irq);
      this.told[wire] = irq;
      if (!(r & PIRQ_OFF) && this.router.wires & (1 << wire)) asserted |= 1 << (r & 15);
    }
    for (let irq = 0; irq < 16; irq++) {
      const level = (asserted & (1 << irq)) !== 0;
      if (level === this.levels[irq]) continue;
      this.levels[irq] = level;
      this.isa[irq]?.(level);
    }
  }
}
