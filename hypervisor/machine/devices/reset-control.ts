// The two ports through which a PC resets itself: the reset control register at 0xcf9 (PIIX3 data sheet 290550, 2.1.13; ACPI's reset
// register) and system control port A at 0x92 (fast A20, fast INIT).

import type { Bus } from './bus.ts';
import { type ByteDevice, bytePorts } from './byte-ports.ts';

export const RESET_PORT = 0xcf9;
/** What ACPI's RESET_VALUE says: a hard reset, on the rising edge of bit 2. */
export const RESET_VALUE = 0x06;
const HARD = 0x02;
const RESET_CPU = 0x04;
const PORT_A = 0x92;
const FAST_INIT = 0x01;
const FAST_A20 = 0x02;

export interface ResetControlState {
  control: number;
  portA: number;
}

export interface ResetControlOptions {
  /** A hard reset resets the whole board, a soft one (INIT) the CPU only. */
  reset: (kind: 'hard' | 'init') => void;
  a20: (open: boolean) => void;
}

export class ResetControl implements ByteDevice {
  state: ResetControlState = { control: 0, portA: 0 };
  readonly #options: ResetControlOptions;

  constructor(options: ResetControlOptions) {
    this.#options = options;
  }

  /** 0xcf9 lies within PCI's 0xcf8 to 0xcff: attach after that. */
  attach(bus: Bus): void {
    const ports = bytePorts(this);
    bus.attachPorts(RESET_PORT, 1, ports);
    bus.attachPorts(PORT_A, 1, ports);
  }

  readByte(port: number): number {
    return port === RESET_PORT ? this.state.control : this.state.portA;
  }

  writeByte(port: number, value: number): void {
    const s = this.state;
    if (port === RESET_PORT) {
      const rising = (value & RESET_CPU) !== 0 && (s.control & RESET_CPU) === 0;
      s.control = value & (HARD | RESET_CPU);
      if (!rising) return;
      s.control = 0;
      this.#options.reset(value & HARD ? 'hard' : 'init');
      return;
    }
    const init = (value & FAST_INIT) !== 0 && (s.portA & FAST_INIT) === 0;
    s.portA = value & (FAST_INIT | FAST_A20);
    this.#options.a20((value & FAST_A20) !== 0);
    if (init) this.#options.reset('init');
  }
}
