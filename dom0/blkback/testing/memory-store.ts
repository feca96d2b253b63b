// For specs: storage in memory that writes down what it was asked for, fails on demand, and can take the host's time as well as the model's.
import type { BlockStore, LatencyModel } from '../../storage/block-store.ts';

export class MemoryStore implements BlockStore {
  bytes: Uint8Array;
  readonly sectorSize = 512;
  isReadonly = false;
  canDiscard = true;
  readonly discardGranularity = 4096;
  canDiscardSecurely = true;
  readonly log: string[] = [];
  readonly violations: string[] = [];
  /** ns for everything. */
  delay = 1000;
  /** Answers by promise, after a turn of the host's event loop. */
  isAsync = false;
  /** Thrown by the next operations. */
  error: Error | null = null;
  isClosed = false;
  onResize: ((sectors: number) => void) | null = null;
  readonly latency: LatencyModel = {
    name: 'test',
    read: () => this.delay,
    write: () => this.delay,
    flush: () => this.delay,
    discard: () => this.delay,
  };

  constructor(sectors: number) {
    this.bytes = new Uint8Array(sectors * 512);
    for (let i = 0; i < this.bytes.length; i++) this.bytes[i] = (Math.imul((i >>> 9) + 1, 0x9e3779b1) >>> ((i & 3) * 8)) & 0xff;
  }

  get sectors(): number {
    return this.bytes.length / 512;
  }
  read(sector: number, into: Uint8Array): Promise<void> | void {
    this.check(sector, into.length / 512);
    return this.act(`read ${sector}+${into.length / 512}`, () => into.set(this.bytes.subarray(sector * 512, sector * 512 + into.length)));
  }
  write(sector: number, from: Uint8Array): Promise<void> | void {
    this.check(sector, from.length / 512);
    return this.act(`write ${sector}+${from.length / 512}`, () => this.bytes.set(from, sector * 512));
  }
  flush(): Promise<void> | void {
    return this.act('flush', () => {});
  }
  discard(sector: number, count: number, secure: boolean): Promise<void> | void {
    this.check(sector, count);
    return this.act(`discard ${sector}+${count}${secure ? ' securely' : ''}`, () =>
      this.bytes.fill(0, sector * 512, (sector + count) * 512),
    );
  }
  close(): void {
    this.isClosed = true;
  }
  resize(sectors: number): void {
    const bytes = new Uint8Array(sectors * 512);
    bytes.set(this.bytes.subarray(0, bytes.length));
    this.bytes = bytes;
    this.onResize?.(sectors);
  }

  /** What a backend must have checked; not an error of the host's, which a request would swallow. */
  private check(sector: number, count: number): void {
    const isWhole = Number.isSafeInteger(sector) && Number.isSafeInteger(count);
    if (!isWhole || sector < 0 || count <= 0 || sector + count > this.sectors)
      this.violations.push(`${sector}+${count} of ${this.sectors}`);
  }

  private act(what: string, act: () => void): Promise<void> | void {
    if (this.error !== null) throw this.error;
    this.log.push(what);
    if (!this.isAsync) return act();
    return new Promise((done) => setImmediate(done)).then(act);
  }
}
