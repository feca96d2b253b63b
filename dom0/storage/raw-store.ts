// A raw image: the file's bytes are the disk's.
import type { BlockStore, LatencyModel } from './block-store.ts';
import type { HostFile } from './host-file.ts';
import { InOrder } from './in-order.ts';

export const SECTOR = 512;

/** A secure discard overwrites in pieces of this size. */
const WIPE_BYTES = 1 << 20;

export class RawStore implements BlockStore {
  sectors: number;
  readonly sectorSize: number;
  readonly isReadonly: boolean;
  readonly canDiscard: boolean;
  readonly discardGranularity: number;
  readonly canDiscardSecurely: boolean;
  readonly latency: LatencyModel;
  onResize: ((sectors: number) => void) | null = null;
  private readonly file: HostFile;
  private readonly order = new InOrder();

  /** A last sector that the file holds in part only is not part of the disk (as with a loop device). */
  constructor(file: HostFile, latency: LatencyModel) {
    this.file = file;
    this.latency = latency;
    this.sectors = Math.floor(file.size / SECTOR);
    this.sectorSize = file.sectorSize;
    this.isReadonly = file.isReadonly;
    this.canDiscard = file.canPunch && !file.isReadonly;
    this.discardGranularity = file.blockSize;
    this.canDiscardSecurely = this.canDiscard;
  }

  read(sector: number, into: Uint8Array): Promise<void> | void {
    const at = sector * SECTOR;
    return this.order.run(at, at + into.length, false, () => this.file.read(at, into));
  }

  write(sector: number, from: Uint8Array): Promise<void> | void {
    const at = sector * SECTOR;
    return this.order.run(at, at + from.length, true, () => this.file.write(at, from));
  }

  flush(): Promise<void> | void {
    return this.order.track(() => this.file.flush());
  }

  discard(sector: number, count: number, secure: boolean): Promise<void> | void {
    const at = sector * SECTOR;
    const length = count * SECTOR;
    return this.order.run(at, at + length, true, async () => {
      if (secure) await this.wipe(at, length);
      await this.file.punch(at, length);
    });
  }

  /** Looks at the file again: it may have been extended or cut while it was in use. */
  async refresh(): Promise<void> {
    const sectors = Math.floor((await this.file.refresh()) / SECTOR);
    if (sectors === this.sectors) return;
    this.sectors = sectors;
    this.onResize?.(sectors);
  }

  async close(): Promise<void> {
    await this.order.idle();
    try {
      if (!this.isReadonly) await this.file.flush();
    } finally {
      await this.file.close();
    }
  }

  /** The old bytes are overwritten, down to the medium, before their blocks are given back. */
  private async wipe(at: number, length: number): Promise<void> {
    const zeros = new Uint8Array(Math.min(length, WIPE_BYTES));
    for (let done = 0; done < length; done += zeros.length)
      await this.file.write(at + done, zeros.subarray(0, Math.min(zeros.length, length - done)));
    await this.file.flush();
  }
}
