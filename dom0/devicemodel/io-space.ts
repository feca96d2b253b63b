// The port and memory space of the device model: which device answers where. Ranges that come or go (BARs move) are registered with the hypervisor,
// which sends requests for registered ranges only.
import type { Bus, MemoryDevice, PortDevice } from './board.ts';

/** An empty bus floats high. */
export const ones = (size: number): number => 2 ** (8 * size) - 1;

/** Told of inclusive ranges in which a device begins or ceases to answer; ranges never overlap. */
export interface RangeListener {
  ports(first: number, last: number, isMapped: boolean): void;
  memory(first: number, last: number, isMapped: boolean): void;
}

interface MemoryRange {
  readonly base: number;
  readonly size: number;
  readonly device: MemoryDevice;
}

const PORTS = 0x10000;

export class IoSpace implements Bus {
  private readonly devices: (PortDevice | undefined)[] = new Array(PORTS);
  /** The last one attached comes first. */
  private readonly ranges: MemoryRange[] = [];
  private readonly listener: RangeListener;

  constructor(listener: RangeListener) {
    this.listener = listener;
  }

  /** The last one attached wins. Ports beyond 0xffff do not exist. */
  attachPorts(first: number, count: number, device: PortDevice): void {
    this.setPorts(first, count, device);
  }
  detachPorts(first: number, count: number): void {
    this.setPorts(first, count, undefined);
  }
  private setPorts(first: number, count: number, device: PortDevice | undefined): void {
    const end = Math.min(first + count, PORTS);
    const isMapped = device !== undefined;
    for (let port = first; port < end; ) {
      // Runs of ports that change between answered and not.
      const start = port;
      const changes = (this.devices[port] !== undefined) !== isMapped;
      while (port < end && ((this.devices[port] !== undefined) !== isMapped) === changes) this.devices[port++] = device;
      if (changes) this.listener.ports(start, port - 1, isMapped);
    }
  }

  attachMemory(base: number, size: number, device: MemoryDevice): void {
    const isCovered = this.covers(base, size);
    this.ranges.unshift({ base, size, device });
    if (!isCovered) this.listener.memory(base, base + size - 1, true);
  }
  detachMemory(base: number, size: number): void {
    const i = this.ranges.findIndex((r) => r.base === base && r.size === size);
    if (i < 0) return;
    this.ranges.splice(i, 1);
    if (!this.covers(base, size)) this.listener.memory(base, base + size - 1, false);
  }
  /** Whether some range touches it. Two BARs at one place are the guest's mistake: the hypervisor then knows of the first only. */
  private covers(base: number, size: number): boolean {
    return this.ranges.some((r) => r.base < base + size && base < r.base + r.size);
  }

  in(port: number, size: number): number {
    return this.devices[port]?.in(port, size) ?? ones(size);
  }
  out(port: number, size: number, value: number): void {
    this.devices[port]?.out(port, size, value);
  }
  read(at: number, size: number): number {
    for (const r of this.ranges) if (at >= r.base && at + size <= r.base + r.size) return r.device.read(at - r.base, size);
    return ones(size);
  }
  write(at: number, size: number, value: number): void {
    for (const r of this.ranges)
      if (at >= r.base && at + size <= r.base + r.size) {
        r.device.write(at - r.base, size, value);
        return;
      }
  }
}
