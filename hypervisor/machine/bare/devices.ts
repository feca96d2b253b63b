// Which devices a PC has, and where: each is made here and wired to the board's buses, lines and time. What is on PCI is in chipset.ts.

import { AcpiPower } from '../devices/acpi-power.ts';
import type { IrqLine } from '../devices/bus.ts';
import { BOCHS_DEBUG_PORT, createDebugExit, createDebugPort, SEABIOS_DEBUG_PORT } from '../devices/debug-port.ts';
import { Dma8237 } from '../devices/dma8237.ts';
import { Hpet } from '../devices/hpet.ts';
import { Pit } from '../devices/pit.ts';
import { Ps2Controller } from '../devices/ps2.ts';
import { ResetControl } from '../devices/reset-control.ts';
import { Rtc } from '../devices/rtc.ts';
import { cmosBytes } from '../devices/rtc-cmos.ts';
import { Uart } from '../devices/uart.ts';
import { Board, type BoardOptions } from './board.ts';
import { attachChipset, type Chipset, type ChipsetOptions } from './chipset.ts';
import { createFwCfg } from './firmware-config.ts';

const COM1 = 0x3f8;
const COM1_IRQ = 4;
/** The system control interrupt of ACPI, as on QEMU's pc. */
const SCI = 9;

export interface PcOptions extends BoardOptions, ChipsetOptions {
  /** The real-time clock at power-on: seconds since 1970, UTC. */
  readonly epoch: number;
  /** A BIOS image: a multiple of 4 KiB that ends at 4 GiB. Without one the board starts with RAM below 1 MiB and no code. */
  readonly firmware?: Uint8Array;
  /** Gets what COM1 sends. */
  readonly serial?: (byte: number) => void;
  /** Gets what is written to the debug ports 0xe9 and 0x402. */
  readonly debug?: (byte: number) => void;
}

/** The board and what is on it. */
export interface Pc extends Chipset {
  readonly board: Board;
  readonly com1: Uart;
  readonly rtc: Rtc;
  readonly pit: Pit;
  readonly hpet: Hpet;
  readonly power: AcpiPower;
  readonly ps2: Ps2Controller;
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
  const ps2 = new Ps2Controller({
    timeline,
    irq1: irqs[1]!,
    irq12: irqs[12]!,
    reset: () => board.requestReset('keyboard controller'),
    a20: (open) => memoryMap.setA20(open),
  });
  const isaDma = new Dma8237();
  const com1 = new Uart({ timeline, irq: irqs[COM1_IRQ]!, output: options.serial ?? (() => {}) });
  const chipset = attachChipset(board, power, options);

  hpet.attach(bus);
  pit.attach(bus);
  rtc.attach(bus);
  power.attach(bus);
  ps2.attach(bus);
  isaDma.attach(bus);
  // After PCI, whose configuration ports surround 0xcf9.
  reset.attach(bus);
  com1.attach(bus, COM1);
  for (const port of [BOCHS_DEBUG_PORT, SEABIOS_DEBUG_PORT]) createDebugPort(port, options.debug ?? (() => {})).attach(bus);
  createDebugExit((code) => board.exit(code & 0xff)).attach(bus);
  if (options.firmware) {
    memoryMap.installFirmware(options.firmware);
    createFwCfg(board).attach(bus);
  }
  board.onReset(() => {
    hpet.reset();
    rtc.reset();
    power.reset();
    ps2.reset();
    isaDma.reset();
    com1.reset();
    memoryMap.setA20(true);
  });
  board.reset();
  return { board, com1, rtc, pit, hpet, power, ps2, ...chipset };
}
