// How long a CPU waits for a device, in nanoseconds: everything else costs one cycle an instruction.
//
// Orders of magnitude, not a model of a board: a cycle on the ISA bus takes 8 clocks of 8.33 MHz, a read across PCI that cannot be posted
// some hundred nanoseconds; an xAPIC register is on the die. Firmware and kernels poll ports by the clock (the PIT calibration of Linux, the
// UART, the keyboard controller); with accesses of one cycle they would do it millions of times.
/** RDTSC is slow on all processors: about 25 cycles on Intel's (A. Fog, Instruction tables). Delay loops consist of it. */
export const TSC_READ_CYCLES = 24;

export const WAIT_NS = {
  port: 1000,
  memoryRead: 400,
  memoryWrite: 100,
  localApic: 10,
} as const;
