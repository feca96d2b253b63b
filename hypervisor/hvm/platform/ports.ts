// The I/O ports and the pages of memory that the platform answers for. What nobody here answers goes to the device model.

import type { Bus, MemoryDevice, PortDevice } from '../../machine/devices/bus.ts';

/** Answers an access to its ports, or leaves it to the device model (undefined). For a write any number will do. */
export interface PlatformPorts {
  io(port: number, size: number, isIn: boolean, value: number): number | undefined;
}

interface Range {
  readonly base: number;
  readonly size: number;
  readonly device: MemoryDevice;
}

const fromDevice = (device: PortDevice): PlatformPorts => ({
  io(port, size, isIn, value) {
    if (isIn) return device.in(port, size);
    device.out(port, size, value);
    return 0;
  },
});

export class PlatformBus implements Bus {
  private readonly ports = new Map<number, PlatformPorts>();
  private readonly memory: Range[] = [];

  attachPorts(first: number, count: number, device: PortDevice): void {
    this.attach(first, count, fromDevice(device));
  }
  attach(first: number, count: number, ports: PlatformPorts): void {
    for (let port = first; port < first + count; port++) this.ports.set(port, ports);
  }
  detachPorts(first: number, count: number): void {
    for (let port = first; port < first + count; port++) this.ports.delete(port);
  }
  attachMemory(base: number, size: number, device: MemoryDevice): void {
    this.memory.push({ base, size, device });
  }
  detachMemory(base: number): void {
    const at = this.memory.findIndex((r) => r.base === base);
    if (at >= 0) this.memory.splice(at, 1);
  }

  /** Whether a port is one of ours. */
  hasPort(port: number): boolean {
    return this.ports.has(port);
  }
  /** An access that is only in part to ports of ours is the device model's, as in hvm_find_io_handler. */
  io(port: number, size: number, isIn: boolean, value: number): number | undefined {
    const p = this.ports.get(port);
    if (p === undefined || (size > 1 && this.ports.get(port + size - 1) !== p)) return undefined;
    return p.io(port, size, isIn, value);
  }

  /** Index of the range that holds an address, or -1. */
  find(gpa: number): number {
    for (let i = 0; i < this.memory.length; i++) {
      const { base, size } = this.memory[i]!;
      if (gpa >= base && gpa < base + size) return i;
    }
    return -1;
  }
  read(range: number, gpa: number, size: number): number {
    const { base, device } = this.memory[range]!;
    return device.read(gpa - base, size);
  }
  write(range: number, gpa: number, size: number, value: number): void {
    const { base, device } = this.memory[range]!;
    device.write(gpa - base, size, value);
  }
}
