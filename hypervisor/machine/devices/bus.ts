// What a device of the PC sees of the board that it sits on: interrupt lines, virtual time, port and memory ranges, and RAM through DMA.
//
// A device is a class over plain data (`state`), so that it can be written out and read back; callbacks are wired up when it is made.

/** An interrupt line: the device says whether it drives it. */
export type IrqLine = (level: boolean) => void;

export interface Timer {
  cancel(): void;
}
/** Virtual time of the machine. */
export interface Timeline {
  /** Nanoseconds since power-on; a double. Never the host's clock. */
  readonly now: number;
  /** Calls back once, at that time or as soon after it as an instruction boundary allows. */
  schedule(at: number, run: () => void): Timer;
}

/** Sizes are 1, 2 or 4 bytes, values unsigned; `port` is the absolute port number. */
export interface PortDevice {
  in(port: number, size: number): number;
  out(port: number, size: number, value: number): void;
}
/** Sizes are 1, 2 or 4 (an access of 8 comes as two of 4), values unsigned; `offset` is relative to the range. */
export interface MemoryDevice {
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

export interface Bus {
  /** Answers for ports [first, first + count). The last one attached wins. */
  attachPorts(first: number, count: number, device: PortDevice): void;
  detachPorts(first: number, count: number): void;
  /** Answers for physical addresses [base, base + size); both multiples of 4096. */
  attachMemory(base: number, size: number, device: MemoryDevice): void;
  detachMemory(base: number, size: number): void;
}

/** How a device reaches RAM; an IOMMU can sit here. Addresses outside RAM read as ones and ignore writes. */
export interface Dma {
  read(address: number, length: number): Uint8Array;
  write(address: number, bytes: Uint8Array): void;
}
