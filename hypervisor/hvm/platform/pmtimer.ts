// The ACPI power management timer and the PM1a event registers (xen/arch/x86/hvm/pmtimer.c): at the ports of Xen's tables, version 0 or 1, of
// which HVM_PARAM_ACPI_IOPORTS_LOCATION chooses. PM1a_CNT, between them, is the device model's unless somebody here wants to hear of sleep.
//
// There is no SMI and no SMI_CMD in Xen's FADT: the registers raise the SCI from the beginning, and PM1a_CNT shows SCI_EN set.

import {
  ACPI_PM_TMR_BLK_ADDRESS_V0,
  ACPI_PM_TMR_BLK_ADDRESS_V1,
  ACPI_PM1A_CNT_BLK_ADDRESS_V0,
  ACPI_PM1A_CNT_BLK_ADDRESS_V1,
  ACPI_PM1A_EVT_BLK_ADDRESS_V0,
  ACPI_PM1A_EVT_BLK_ADDRESS_V1,
  XEN_EINVAL,
} from '@ringworld/abi';
import { PM1 } from '../../machine/devices/acpi-power.ts';
import type { IrqLine, Timeline, Timer } from '../../machine/devices/bus.ts';
import { PmTimer } from '../../machine/devices/pm-timer.ts';
import type { PlatformBus, PlatformPorts } from './ports.ts';

const SCI_MASK = PM1.TMR | PM1.GBL | PM1.PWRBTN | PM1.SLPBTN;
/** PM1a_CNT (ACPI 6.5, 4.8.3.2.1). */
const SCI_EN = 0x0001;
const SLP_TYP = 0x1c00;
const SLP_TYP_SHIFT = 10;
const SLP_EN = 0x2000;

const LOCATIONS = [
  { event: ACPI_PM1A_EVT_BLK_ADDRESS_V0, control: ACPI_PM1A_CNT_BLK_ADDRESS_V0, timer: ACPI_PM_TMR_BLK_ADDRESS_V0 },
  { event: ACPI_PM1A_EVT_BLK_ADDRESS_V1, control: ACPI_PM1A_CNT_BLK_ADDRESS_V1, timer: ACPI_PM_TMR_BLK_ADDRESS_V1 },
] as const;

/** Plain data. */
export interface PmState {
  /** 0 or 1: HVM_PARAM_ACPI_IOPORTS_LOCATION. */
  location: number;
  status: number;
  enable: number;
  control: number;
  /** Changes of the timer's top bit that TMR_STS has accounted for. */
  timerChanges: number;
}

export interface AcpiPmOptions {
  readonly timeline: Timeline;
  readonly bus: PlatformBus;
  /** ISA IRQ 9. */
  readonly sci: IrqLine;
  /** SLP_EN with this SLP_TYP; with it PM1a_CNT answers. */
  readonly onSleep: ((type: number) => void) | undefined;
}

const all = (size: number): number => 2 ** (8 * size) - 1;

export class AcpiPm {
  state: PmState = { location: 0, status: 0, enable: 0, control: 0, timerChanges: 0 };
  private readonly options: AcpiPmOptions;
  private readonly timer: PmTimer;
  private event: Timer | undefined;

  constructor(options: AcpiPmOptions) {
    this.options = options;
    // As TMR_VAL_EXT in Xen's FADT says.
    this.timer = new PmTimer({ timeline: options.timeline, bits: 32 });
    this.state.timerChanges = this.timer.changes;
    this.attach();
  }

  /** HVM_PARAM_ACPI_IOPORTS_LOCATION (pmtimer_change_ioport). 0, or -XEN_EINVAL for another than 0 and 1. */
  moveTo(location: number): number {
    if (location !== 0 && location !== 1) return -XEN_EINVAL;
    const { bus } = this.options;
    const at = this.at;
    bus.detachPorts(at.event, 4);
    bus.detachPorts(at.control, 2);
    bus.detachPorts(at.timer, 4);
    this.state.location = location;
    this.attach();
    return 0;
  }
  private get at(): (typeof LOCATIONS)[number] {
    return LOCATIONS[this.state.location === 0 ? 0 : 1];
  }
  private attach(): void {
    const { bus, onSleep } = this.options;
    bus.attach(this.at.event, 4, this.events);
    bus.attach(this.at.timer, 4, this.counter);
    if (onSleep) bus.attach(this.at.control, 2, this.control);
  }

  /** hvm_acpi_power_button, hvm_acpi_sleep_button: XEN_DOMCTL_sendtrigger. */
  pressButton(button: 'power' | 'sleep'): void {
    this.state.status |= button === 'power' ? PM1.PWRBTN : PM1.SLPBTN;
    this.update();
  }

  /** PM1a_STS, whose bits are cleared by writing them as 1, and PM1a_EN; of any size. */
  private readonly events: PlatformPorts = {
    io: (port, size, isIn, value) => {
      const s = this.state;
      this.countTimer();
      const offset = port - this.at.event;
      if (isIn) return (((s.status | (s.enable << 16)) >>> (8 * offset)) & all(size)) >>> 0;
      for (let i = 0; i < size; i++) {
        const shift = 8 * ((offset + i) & 1);
        const byte = ((value >>> (8 * i)) & 0xff) << shift;
        if (offset + i < 2) s.status &= ~byte;
        else s.enable = (s.enable & ~(0xff << shift)) | byte;
      }
      this.update();
      return 0;
    },
  };

  /** TMR_VAL: 32 bits at once, and not to be written. */
  private readonly counter: PlatformPorts = {
    io: (_port, size, isIn) => {
      if (size !== 4) return isIn ? all(size) : 0;
      return isIn ? this.timer.value : undefined;
    },
  };

  private readonly control: PlatformPorts = {
    io: (port, size, isIn, value) => {
      const s = this.state;
      const shift = 8 * (port - this.at.control);
      if (isIn) return ((s.control | SCI_EN) >>> shift) & all(size);
      const written = (value & all(size)) << shift;
      s.control = (s.control & ~(SLP_TYP & (all(size) << shift))) | (written & SLP_TYP);
      if (written & SLP_EN) this.options.onSleep?.((s.control & SLP_TYP) >>> SLP_TYP_SHIFT);
      return 0;
    },
  };

  private countTimer(): void {
    const { changes } = this.timer;
    if (changes !== this.state.timerChanges) this.state.status |= PM1.TMR;
    this.state.timerChanges = changes;
  }
  private update(): void {
    const s = this.state;
    this.countTimer();
    this.options.sci((s.status & s.enable & SCI_MASK) !== 0);
    this.event?.cancel();
    this.event = undefined;
    // Nobody looks at TMR_STS without an access, which counts, unless it is to raise the SCI.
    if (s.enable & PM1.TMR && !(s.status & PM1.TMR)) this.event = this.timer.onChange(() => this.update());
  }
}
