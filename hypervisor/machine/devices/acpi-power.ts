// The power management function of the PIIX4 as far as ACPI sees it: the PM1 event and control blocks, the timer between them, a general
// purpose event block, and the APM ports through which firmware hands over to ACPI. Ports and numbers are those of QEMU's i440FX platform.
//
// Sources: ACPI 6.5, 4.8.3 (PM1), 4.8.4 (GPE), 4.8.3.3 (timer); PIIX4 data sheet (290562), 7.2 for the order within the block.

import type { Bus, IrqLine, PortDevice, Timeline, Timer } from './bus.ts';
import { type ByteDevice, bytePorts } from './byte-ports.ts';
import { PmTimer } from './pm-timer.ts';

/** Where SeaBIOS puts the block when it was given ACPI tables, and what our tables say. */
export const PM_BASE = 0x600;
export const PM_LENGTH = 0x40;
export const GPE0_BASE = 0xafe0;
/** Bytes of the whole block: two of status, two of enable. */
export const GPE0_LENGTH = 4;
export const APM_CNT = 0xb2;
export const ACPI_ENABLE = 0xf1;
export const ACPI_DISABLE = 0xf0;

/** Offsets in the block. */
const STS = 0x00;
const EN = 0x02;
const CNT = 0x04;
const TMR = 0x08;

/** PM1 status bits; the enable register has its bits in the same places. */
export const PM1 = { TMR: 0x0001, GBL: 0x0020, PWRBTN: 0x0100, SLPBTN: 0x0200, RTC: 0x0400, WAK: 0x8000 } as const;
const STS_BITS = 0x8731;
const EN_BITS = 0x0721;
const SCI_EN = 0x0001;
const SLP_TYP_SHIFT = 10;
const SLP_EN = 0x2000;
/** SCI_EN changes through the APM port only; GBL_RLS and SLP_EN are write-only. */
const CNT_BITS = 0x1c02;

/** What software writes into SLP_TYP; the DSDT's \_Sx packages say the same numbers. */
export const SLP_TYP = { S5: 0, S3: 1, S4: 2 } as const;

export interface AcpiPowerState {
  base: number;
  status: number;
  enable: number;
  control: number;
  /** Changes of the timer's top bit that TMR_STS has accounted for. */
  timerChanges: number;
  gpeStatus: number;
  gpeEnable: number;
  apmControl: number;
  apmStatus: number;
}

export interface AcpiPowerOptions {
  timeline: Timeline;
  /** The SCI: level, active high, ISA IRQ 9. */
  sci: IrqLine;
  timerBits?: 24 | 32;
  powerOff: () => void;
  /** S3 and S4; without it such a request is ignored. */
  sleep?: (type: number) => void;
  /** A write to the APM control port, which raises an SMI on a real chipset; called after SCI_EN has followed. */
  smi?: (command: number) => void;
}

export class AcpiPower {
  state: AcpiPowerState = {
    base: 0,
    status: 0,
    enable: 0,
    control: 0,
    timerChanges: 0,
    gpeStatus: 0,
    gpeEnable: 0,
    apmControl: 0,
    apmStatus: 0,
  };
  readonly #options: AcpiPowerOptions;
  readonly #timer: PmTimer;
  #bus: Bus | undefined;
  #event: Timer | undefined;

  constructor(options: AcpiPowerOptions) {
    this.#options = options;
    this.#timer = new PmTimer({ timeline: options.timeline, bits: options.timerBits ?? 24 });
  }

  /** The fixed ports; the block itself appears at moveTo(). */
  attach(bus: Bus): void {
    this.#bus = bus;
    bus.attachPorts(APM_CNT, 2, bytePorts(this.#apm));
    bus.attachPorts(GPE0_BASE, GPE0_LENGTH, bytePorts(this.#gpe));
    if (this.state.base) bus.attachPorts(this.state.base, PM_LENGTH, this.#block);
  }

  /** The PCI function's base address register (PMBA) was set; 0 takes the block off the bus. */
  moveTo(base: number): void {
    if (this.state.base) this.#bus?.detachPorts(this.state.base, PM_LENGTH);
    this.state.base = base;
    if (base) this.#bus?.attachPorts(base, PM_LENGTH, this.#block);
  }

  /** Timers and lines from `state`, after it was replaced. */
  resume(): void {
    const { base } = this.state;
    if (base) this.#bus?.attachPorts(base, PM_LENGTH, this.#block);
    this.#update();
  }

  reset(): void {
    this.moveTo(0);
    const s = this.state;
    s.status = s.enable = s.control = s.gpeStatus = s.gpeEnable = 0;
    s.timerChanges = this.#timer.changes;
    this.#update();
  }

  pressPowerButton(): void {
    this.raise(PM1.PWRBTN);
  }
  /** Sets PM1 status bits, as the fixed hardware does. */
  raise(bits: number): void {
    this.state.status |= bits;
    this.#update();
  }
  /** Sets a general purpose event's status bit, 0 to 15. */
  raiseGpe(event: number): void {
    this.state.gpeStatus |= 1 << event;
    this.#update();
  }

  /** The block takes whole accesses: a 4-byte read of the timer must not tear, and drivers access pairs of registers by word. */
  readonly #block: PortDevice = {
    in: (port, size) => {
      const offset = port - this.state.base;
      if (offset >= TMR && offset < TMR + 4) return Math.floor(this.#timer.value / 2 ** (8 * (offset - TMR))) % 2 ** (8 * size);
      let value = 0;
      for (let i = 0; i < size; i++) value += this.#readByte(offset + i) * 2 ** (8 * i);
      return value;
    },
    out: (port, size, value) => {
      const offset = port - this.state.base;
      // Low byte first: SLP_TYP and SLP_EN are both in the high byte of the control register.
      for (let i = 0; i < size; i++) this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff);
      this.#update();
    },
  };

  #readByte(offset: number): number {
    this.#countTimer();
    const { status, enable, control } = this.state;
    const register = offset < EN ? status : offset < CNT ? enable : offset < CNT + 2 ? control : 0;
    return (register >> (8 * (offset & 1))) & 0xff;
  }

  #writeByte(offset: number, byte: number): void {
    const s = this.state;
    const shift = 8 * (offset & 1);
    const value = byte << shift;
    const mask = 0xff << shift;
    const register = offset & ~1;
    this.#countTimer();
    if (register === STS) s.status &= ~(value & STS_BITS);
    else if (register === EN) s.enable = (s.enable & ~mask) | (value & EN_BITS);
    else if (register === CNT) {
      s.control = (s.control & ~(mask & CNT_BITS)) | (value & CNT_BITS);
      if (value & SLP_EN) this.#sleep((s.control >> SLP_TYP_SHIFT) & 7);
    }
  }

  #sleep(type: number): void {
    if (type === SLP_TYP.S5) this.#options.powerOff();
    else this.#options.sleep?.(type);
  }

  #countTimer(): void {
    const { changes } = this.#timer;
    if (changes !== this.state.timerChanges) this.state.status |= PM1.TMR;
    this.state.timerChanges = changes;
  }

  #update(): void {
    const s = this.state;
    this.#countTimer();
    const events = (s.status & s.enable & EN_BITS) !== 0 || (s.gpeStatus & s.gpeEnable) !== 0;
    // Before ACPI is enabled the same events would raise an SMI.
    this.#options.sci(events && (s.control & SCI_EN) !== 0);
    this.#event?.cancel();
    this.#event = undefined;
    if (s.enable & PM1.TMR && !(s.status & PM1.TMR)) this.#event = this.#timer.onChange(() => this.#update());
  }

  readonly #gpe: ByteDevice = {
    readByte: (port) => {
      const offset = port - GPE0_BASE;
      return ((offset < 2 ? this.state.gpeStatus : this.state.gpeEnable) >> (8 * (offset & 1))) & 0xff;
    },
    writeByte: (port, value) => {
      const offset = port - GPE0_BASE;
      const shift = 8 * (offset & 1);
      if (offset < 2) this.state.gpeStatus &= ~(value << shift);
      else this.state.gpeEnable = (this.state.gpeEnable & ~(0xff << shift)) | (value << shift);
      this.#update();
    },
  };

  /** On a real board the SMI handler sets SCI_EN; this machine's firmware has none to speak of, so the port does (as in QEMU). */
  readonly #apm: ByteDevice = {
    readByte: (port) => (port === APM_CNT ? this.state.apmControl : this.state.apmStatus),
    writeByte: (port, value) => {
      if (port !== APM_CNT) {
        this.state.apmStatus = value;
        return;
      }
      this.state.apmControl = value;
      if (value === ACPI_ENABLE) this.state.control |= SCI_EN;
      else if (value === ACPI_DISABLE) this.state.control &= ~SCI_EN;
      this.#update();
      this.#options.smi?.(value);
    },
  };
}
