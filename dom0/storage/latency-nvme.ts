// The latency model 'nvme': a data centre SSD of 2017. It works on many requests at once, so a request has a latency, and beside that takes
// up the device for a while: the longer of what its rate of operations and its rate of bytes allow.
import type { LatencyModel } from './block-store.ts';
import type { Figure } from './latency.ts';

const P4500 = 'Intel SSD DC P4500 2 TB, table of technical specifications in Lenovo Press product guide 4XB7A08539';

export const NVME = {
  readIops: { value: 490_000, source: P4500 },
  writeIops: { value: 38_000, source: P4500 },
  readBytesPerSecond: { value: 3.2e9, source: P4500 },
  writeBytesPerSecond: { value: 1.05e9, source: P4500 },
  readRandomNs: { value: 85_000, source: P4500 },
  readSequentialNs: { value: 10_000, source: P4500 },
  writeRandomNs: { value: 20_000, source: P4500 },
  writeSequentialNs: { value: 13_000, source: P4500 },
  flushNs: { value: 13_000, source: 'derived: its write buffer survives a loss of power, so a flush is one more command' },
  discardNs: { value: 20_000, source: 'derived: as a write of no bytes (its tables change, its flash is erased later)' },
} satisfies Record<string, Figure>;

const SECOND = 1e9;
const SECTOR = 512;

export class NvmeModel implements LatencyModel {
  readonly name = 'nvme';
  /** Plain data: until when the device is taken, and where the next sequential request would begin. */
  readonly state = { busyUntil: 0, nextRead: -1, nextWrite: -1 };

  read(now: number, sector: number, bytes: number): number {
    const isSequential = sector === this.state.nextRead;
    this.state.nextRead = sector + bytes / SECTOR;
    const transfer = (bytes / NVME.readBytesPerSecond.value) * SECOND;
    const latency = isSequential ? NVME.readSequentialNs.value : NVME.readRandomNs.value;
    return this.wait(now, Math.max(isSequential ? 0 : SECOND / NVME.readIops.value, transfer)) + latency + transfer;
  }

  write(now: number, sector: number, bytes: number): number {
    const isSequential = sector === this.state.nextWrite;
    this.state.nextWrite = sector + bytes / SECTOR;
    const transfer = (bytes / NVME.writeBytesPerSecond.value) * SECOND;
    const latency = isSequential ? NVME.writeSequentialNs.value : NVME.writeRandomNs.value;
    return this.wait(now, Math.max(isSequential ? 0 : SECOND / NVME.writeIops.value, transfer)) + latency + transfer;
  }

  flush(now: number): number {
    return this.wait(now, 0) + NVME.flushNs.value;
  }

  discard(now: number): number {
    return this.wait(now, 0) + NVME.discardNs.value;
  }

  /** How long until the device takes the request up, which then has it for `occupied` ns. */
  private wait(now: number, occupied: number): number {
    const start = Math.max(now, this.state.busyUntil);
    this.state.busyUntil = start + occupied;
    return start - now;
  }
}
