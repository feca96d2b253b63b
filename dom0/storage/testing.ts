// Files in memory for specs, slow or failing on demand.
import type { HostFile } from './host-file.ts';

export class MemoryFile implements HostFile {
  readonly name: string;
  readonly identity: string;
  readonly isReadonly: boolean;
  readonly blockSize = 4096;
  readonly sectorSize = 512;
  readonly canPunch: boolean = true;
  bytes: Uint8Array;
  size: number;
  flushes = 0;
  isClosed = false;
  /** What happened, in order: 'write 512+4096'. */
  readonly log: string[] = [];
  /** Operations wait for what this returns. */
  delay: () => Promise<void> | void = () => {};

  constructor(bytes: Uint8Array, name = 'memory', isReadonly = false) {
    this.bytes = bytes;
    this.size = bytes.length;
    this.name = name;
    this.identity = name;
    this.isReadonly = isReadonly;
  }
  async refresh(): Promise<number> {
    this.size = this.bytes.length;
    return this.size;
  }
  read(at: number, into: Uint8Array): Promise<void> | void {
    return this.after(`read ${at}+${into.length}`, () => {
      into.fill(0);
      into.set(this.bytes.subarray(at, at + into.length));
    });
  }
  write(at: number, from: Uint8Array): Promise<void> | void {
    if (this.isReadonly) throw new Error(`${this.name} is read-only`);
    return this.after(`write ${at}+${from.length}`, () => {
      if (at + from.length > this.bytes.length) {
        const longer = new Uint8Array(at + from.length);
        longer.set(this.bytes);
        this.bytes = longer;
        this.size = longer.length;
      }
      this.bytes.set(from, at);
    });
  }
  async flush(): Promise<void> {
    this.log.push('flush');
    this.flushes++;
  }
  async punch(at: number, length: number): Promise<void> {
    this.log.push(`punch ${at}+${length}`);
    this.bytes.fill(0, at, at + length);
  }
  async close(): Promise<void> {
    this.isClosed = true;
  }
  private after(what: string, act: () => void): Promise<void> | void {
    const wait = this.delay();
    const run = () => {
      this.log.push(what);
      act();
    };
    return wait === undefined ? run() : wait.then(run);
  }
}

/** Bytes that differ from place to place. */
export const pattern = (length: number, seed = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (Math.imul(i + seed * 7919, 0x9e3779b1) >>> 24) & 0xff);
