// Ports that exist in emulators only: text out at 0xe9 (Bochs) and 0x402 (SeaBIOS), and a way to end the machine with an exit code (QEMU).

import type { Bus, PortDevice } from './bus.ts';

/** Bochs: reads give the port's own number, by which software knows that somebody listens; SeaBIOS asks the same of 0x402. */
const PRESENT = 0xe9;
export const BOCHS_DEBUG_PORT = 0xe9;
export const SEABIOS_DEBUG_PORT = 0x402;

export function createDebugPort(port: number, output: (byte: number) => void): { attach(bus: Bus): void } {
  const device: PortDevice = {
    in: (_port, size) => (size === 1 ? PRESENT : 2 ** (8 * size) - 256 + PRESENT),
    out: (_port, size, value) => {
      for (let i = 0; i < size; i++) output((value >>> (8 * i)) & 0xff);
    },
  };
  return { attach: (bus) => bus.attachPorts(port, 1, device) };
}

/** QEMU's isa-debug-exit, at the place where test suites put it. */
export const DEBUG_EXIT_PORT = 0xf4;

/** A write of v ends the machine with code 2v + 1, so that no guest can feign the success of the program that runs it. */
export function createDebugExit(exit: (code: number) => void, port = DEBUG_EXIT_PORT): { attach(bus: Bus): void } {
  const device: PortDevice = { in: () => 0, out: (_port, _size, value) => exit(value * 2 + 1) };
  return { attach: (bus) => bus.attachPorts(port, 4, device) };
}
