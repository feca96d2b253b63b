// What a disk or CD drive keeps its data in: sectors of 512 bytes, read and written at once. How long that takes is the drive's model.

export const SECTOR = 512;

export interface BlockStore {
  /** Number of 512-byte sectors. */
  readonly sectors: number;
  readonly readOnly: boolean;
  /** A copy of `count` sectors from `lba` on; all of them exist. */
  read(lba: number, count: number): Uint8Array;
  /** A whole number of sectors, all of which exist. */
  write(lba: number, bytes: Uint8Array): void;
  flush(): void;
}

/**
 * A store that takes its own time: each operation calls `done` once, at once or later, and the drive is busy until then. `undefined` and false
 * say that the medium failed.
 */
export interface AsyncBlockStore {
  readonly isAsync: true;
  readonly sectors: number;
  readonly readOnly: boolean;
  read(lba: number, count: number, done: (bytes: Uint8Array | undefined) => void): void;
  /** The bytes are the store's until `done`. */
  write(lba: number, bytes: Uint8Array, done: (ok: boolean) => void): void;
  flush(done: (ok: boolean) => void): void;
}

/** A store of either kind as a drive uses it. */
export function asAsync(store: BlockStore | AsyncBlockStore): AsyncBlockStore {
  if ('isAsync' in store) return store;
  return {
    isAsync: true,
    sectors: store.sectors,
    readOnly: store.readOnly,
    read: (lba, count, done) => done(store.read(lba, count)),
    write: (lba, bytes, done) => {
      store.write(lba, bytes);
      done(true);
    },
    flush: (done) => {
      store.flush();
      done(true);
    },
  };
}

/** Sectors in memory; what is missing of the last one reads as zeroes. */
export class MemoryBlockStore implements BlockStore {
  readonly sectors: number;
  readonly readOnly: boolean;
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array, readOnly = false) {
    this.sectors = Math.ceil(bytes.length / SECTOR);
    this.readOnly = readOnly;
    this.bytes = bytes;
    if (bytes.length % SECTOR !== 0) {
      this.bytes = new Uint8Array(this.sectors * SECTOR);
      this.bytes.set(bytes);
    }
  }
  read(lba: number, count: number): Uint8Array {
    return this.bytes.slice(lba * SECTOR, (lba + count) * SECTOR);
  }
  write(lba: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, lba * SECTOR);
  }
  flush(): void {}
}

/** Writes stay in memory and the store below is left as it was (`xl`'s and QEMU's "snapshot"). */
export class OverlayBlockStore implements BlockStore {
  readonly sectors: number;
  readonly readOnly = false;
  private readonly below: BlockStore;
  private readonly written = new Map<number, Uint8Array>();

  constructor(below: BlockStore) {
    this.below = below;
    this.sectors = below.sectors;
  }
  read(lba: number, count: number): Uint8Array {
    const bytes = this.below.read(lba, count);
    if (this.written.size > 0)
      for (let i = 0; i < count; i++) {
        const own = this.written.get(lba + i);
        if (own) bytes.set(own, i * SECTOR);
      }
    return bytes;
  }
  write(lba: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length / SECTOR; i++) this.written.set(lba + i, bytes.slice(i * SECTOR, (i + 1) * SECTOR));
  }
  flush(): void {}
}
