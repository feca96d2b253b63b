// Which devices a PC has, and where: each is made here and wired to the board's buses, lines and time.

import { AcpiPower } from '../devices/acpi-power.ts';
import type { IrqLine } from '../devices/bus.ts';
import { Hpet } from '../devices/hpet.ts';
import { Pit } from '../devices/pit.ts';
import { ResetControl } from '../devices/reset-control.ts';
import { Rtc } from '../devices/rtc.ts';
import { cmosBytes } from '../devices/rtc-cmos.ts';
import { Uart } from '../devices/uart.ts';
import { Board, type BoardOptions } from './board.ts';
import { ExitPort } from './exit-port.ts';

const COM1 = 0x3f8;
const COM1_IRQ = 4;
/** The system control interrupt of ACPI, as on QEMU's pc. */
const SCI = 9;

export interface PcOptions extends BoardOptions {
  /** The real-time clock at power-on: seconds since 1970, UTC. */
  readonly epoch: number;
  /** Gets what COM1 sends. */
  readonly serial?: (byte: number) => void;
}

/** The board and what is on it. */
export interface Pc {
  readonly board: Board;
  readonly com1: Uart;
  readonly rtc: Rtc;
  readonly pit: Pit;
  readonly hpet: Hpet;
  readonly power: AcpiPower;
}

/** A board with everything on it, at RESET. */
export function createPc(options: PcOptions): Pc {
  const board = new Board(options);
  const { bus, timeline, dma, memoryMap } = board;
  const irqs: readonly IrqLine[] = Array.from({ length: 24 }, (_, n) => board.irq(n));

  const hpet = new Hpet({
    timeline,
    irq0: irqs[0]!,
    irq8: irqs[8]!,
    // Pin 2 of the I/O APIC is line 0.
    pin: (pin, level) => irqs[pin === 2 ? 0 : pin]?.(level),
    dma,
  });
  const pit = new Pit({ timeline, irq0: hpet.pitInput });
  const rtc = new Rtc({
    timeline,
    irq8: hpet.rtcInput,
    epoch: options.epoch,
    cmos: cmosBytes({ ramBelow4G: memoryMap.lowEnd, ramAbove4G: memoryMap.highEnd - 2 ** 32, cpus: options.cpus }),
  });
  const power = new AcpiPower({ timeline, sci: irqs[SCI]!, powerOff: () => board.powerOff() });
  const reset = new ResetControl({
    reset: (kind) => board.requestReset(kind === 'hard' ? 'reset control register' : 'system control port A'),
    a20: (open) => memoryMap.setA20(open),
  });
  const com1 = new Uart({ timeline, irq: irqs[COM1_IRQ]!, output: options.serial ?? (() => {}) });

  hpet.attach(bus);
  pit.attach(bus);
  rtc.attach(bus);
  power.attach(bus);
  reset.attach(bus);
  com1.attach(bus, COM1);
  new ExitPort((code) => board.exit(code)).attach(bus);
  board.onReset(() => {
    rtc.reset();
    power.reset();
    memoryMap.setA20(true);
  });
  board.reset();
  return { board, com1, rtc, pit, hpet, power };
}
