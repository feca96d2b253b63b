// The board's buses: which device answers for a port or a physical address, and DMA.

import type { Bus, Dma, MemoryDevice, PortDevice } from '../devices/bus.ts';
import type { Outside, PhysicalMap } from '../mmu/physical.ts';
import type { IoPorts } from '../system/ports.ts';

interface Range {
  readonly base: number;
  readonly size: number;
  readonly device: MemoryDevice;
}

/** A device that answers each CPU for itself: the local APIC. Undefined when the address is not its. */
export type PerCpu = (at: number, cpu: number) => MemoryDevice | undefined;

export class BoardBus implements Bus, IoPorts, Outside {
  private readonly ports: (PortDevice | undefined)[] = new Array(0x10000);
  /** The last one attached comes first. */
  private readonly ranges: Range[] = [];
  perCpu: PerCpu = () => undefined;

  attachPorts(first: number, count: number, device: PortDevice): void {
    this.ports.fill(device, first, first + count);
  }
  detachPorts(first: number, count: number): void {
    this.ports.fill(undefined, first, first + count);
  }
  attachMemory(base: number, size: number, device: MemoryDevice): void {
    this.ranges.unshift({ base, size, device });
  }
  detachMemory(base: number, size: number): void {
    const i = this.ranges.findIndex((r) => r.base === base && r.size === size);
    if (i >= 0) this.ranges.splice(i, 1);
  }

  /** Whether an address leads to the CPU's own APIC. */
  isOwn(at: number, cpu: number): boolean {
    return this.perCpu(at, cpu) !== undefined;
  }

  in(port: number, size: number): number {
    return this.ports[port]?.in(port, size) ?? ones(size);
  }
  out(port: number, size: number, value: number): void {
    this.ports[port]?.out(port, size, value);
  }

  read(at: number, size: number, cpu: number): number {
    const own = this.perCpu(at, cpu);
    if (own) return own.read(at % 4096, size);
    for (const r of this.ranges) if (at >= r.base && at < r.base + r.size) return r.device.read(at - r.base, size);
    return ones(size);
  }
  write(at: number, size: number, value: number, cpu: number): void {
    const own = this.perCpu(at, cpu);
    const r = own ? undefined : this.ranges.find((x) => at >= x.base && at < x.base + x.size);
    if (own) own.write(at % 4096, size, value);
    else r?.device.write(at - r.base, size, value);
  }
}

/** An empty bus floats high. */
const ones = (size: number): number => 2 ** (8 * size) - 1;

/** Physical addresses [0xfee00000, 0xfef00000): a device's write there is a message-signalled interrupt (SDM Vol 3A, 10.11). */
export const MSI_BASE = 0xfee0_0000;
const MSI_END = 0xfef0_0000;

export class BoardDma implements Dma {
  private readonly physical: PhysicalMap;
  private readonly msi: (address: number, data: number) => void;

  constructor(physical: PhysicalMap, msi: (address: number, data: number) => void) {
    this.physical = physical;
    this.msi = msi;
  }

  read(address: number, length: number): Uint8Array {
    const { ram } = this.physical;
    const out = new Uint8Array(length).fill(0xff);
    this.eachPage(address, length, (at, done, n) => out.set(ram.u8.subarray(ram.base + at, ram.base + at + n), done));
    return out;
  }
  write(address: number, bytes: Uint8Array): void {
    if (address >= MSI_BASE && address < MSI_END) {
      if (bytes.length === 4) this.msi(address, new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true));
      return;
    }
    this.eachPage(address, bytes.length, (at, done, n, physical) => {
      if (!this.physical.isReadOnly(physical)) this.physical.ram.writeBytes(at, bytes.subarray(done, done + n));
    });
  }

  private eachPage(
    address: number,
    length: number,
    visit: (at: Parameters<PhysicalMap['ram']['writeBytes']>[0], done: number, n: number, physical: number) => void,
  ): void {
    for (let done = 0; done < length; ) {
      const physical = address + done;
      const n = Math.min(length - done, 4096 - (physical % 4096));
      const at = this.physical.locate(physical);
      if (at >= 0) visit(at as Parameters<PhysicalMap['ram']['writeBytes']>[0], done, n, physical);
      done += n;
    }
  }
}
