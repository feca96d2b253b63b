// The exit port of QEMU's isa-debug-exit, at 0xf4 as every test kernel has it: a write of v ends the run with exit code (v << 1) | 1.

import type { Bus, PortDevice } from '../devices/bus.ts';

export const EXIT_PORT = 0xf4;

export class ExitPort implements PortDevice {
  private readonly exit: (code: number) => void;

  constructor(exit: (code: number) => void) {
    this.exit = exit;
  }
  attach(bus: Bus): void {
    bus.attachPorts(EXIT_PORT, 4, this);
  }
  in(): number {
    return 0;
  }
  /** An exit code of a process has eight bits. */
  out(_port: number, _size: number, value: number): void {
    this.exit(((value << 1) | 1) & 0xff);
  }
}
