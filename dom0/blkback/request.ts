// A request from the moment it is taken out of the ring until it is answered (Linux's struct pending_req). Objects are used again: at full
// speed nothing is made per request but one view of its buffer.
import { BLKIF_RSP_OKAY } from '@ringworld/abi';
import type { BlockStore } from '../storage/block-store.ts';
import { GrantPages } from './data-path.ts';
import { SECTOR } from './layout.ts';

export class BlkRequest {
  /** Its number in the ring, for traces. */
  index = 0;
  /** BLKIF_OP_*; of an indirect request the operation that it stands for. */
  operation = 0;
  /** The frontend's id, only ever given back. */
  idLow = 0;
  idHigh = 0;
  status: number = BLKIF_RSP_OKAY;
  sector = 0;
  /** In all segments; of a discard, what it says. */
  sectorCount = 0;
  isSecure = false;
  readonly pages = new GrantPages();
  /** The pages of an indirect descriptor; none when the segments are in the request. */
  readonly descriptor = new GrantPages();
  /** What is read or written. */
  buffer: Uint8Array | null = null;
  bytes: Uint8Array = NOTHING;
  /** The storage that it was given to, which a change of media may replace. */
  store: BlockStore | null = null;

  get byteLength(): number {
    return this.sectorCount * SECTOR;
  }
}

const NOTHING = new Uint8Array(0);

/** Buffers by size, powers of two from a page up. What was in one may be seen only by the storage that overwrites it. */
export class BufferPool {
  private readonly free: Uint8Array[][] = [];

  take(r: BlkRequest): void {
    const length = r.byteLength;
    const power = 32 - Math.clz32(Math.max(length, 4096) - 1);
    const buffer = this.free[power]?.pop() ?? new Uint8Array(2 ** power);
    r.buffer = buffer;
    r.bytes = buffer.subarray(0, length);
  }

  give(r: BlkRequest): void {
    const { buffer } = r;
    if (buffer === null) return;
    r.buffer = null;
    r.bytes = NOTHING;
    const power = 31 - Math.clz32(buffer.length);
    const list = this.free[power];
    if (list === undefined) this.free[power] = [buffer];
    else if (list.length < 64) list.push(buffer);
  }
}
