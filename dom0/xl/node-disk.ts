// A disk image in a file, for Node. A failure of the host's file system is thrown with the file's name in it.

import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import type { BlockStore } from '@ringworld/hypervisor';

const SECTOR = 512;

export class FileBlockStore implements BlockStore {
  readonly path: string;
  readonly sectors: number;
  readonly readOnly: boolean;
  private readonly fd: number;

  constructor(path: string, readOnly: boolean) {
    this.path = path;
    this.readOnly = readOnly;
    this.fd = openSync(path, readOnly ? 'r' : 'r+');
    this.sectors = Math.ceil(fstatSync(this.fd).size / SECTOR);
  }
  read(lba: number, count: number): Uint8Array {
    const bytes = new Uint8Array(count * SECTOR);
    // A file that ends within its last sector leaves zeroes.
    for (let done = 0; done < bytes.length; ) {
      const n = this.named(() => readSync(this.fd, bytes, done, bytes.length - done, lba * SECTOR + done));
      if (n === 0) break;
      done += n;
    }
    return bytes;
  }
  write(lba: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; )
      done += this.named(() => writeSync(this.fd, bytes, done, bytes.length - done, lba * SECTOR + done));
  }
  flush(): void {
    this.named(() => fsyncSync(this.fd));
  }
  close(): void {
    closeSync(this.fd);
  }
  private named<T>(run: () => T): T {
    try {
      return run();
    } catch (cause) {
      throw new Error(`disk image ${this.path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
  }
}
