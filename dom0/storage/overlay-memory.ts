// An overlay in memory, gone with the process. Clusters lie in slabs of a megabyte, found through a table of two levels, so that a large disk
// of which little is written costs little.
import { CLUSTER, type OverlayLayer } from './overlay-layer.ts';

const SLAB_CLUSTERS = 256;
const TABLE = 1024;
/** In the table: not the layer's. Slots are counted from 1; a cluster of zeros has none. */
const BASE = 0;
const ZEROS = -1;

export class MemoryLayer implements OverlayLayer {
  readonly name = 'memory';
  readonly canDiscard = true;
  private readonly tables = new Map<number, Int32Array>();
  private readonly slabs: Uint8Array[] = [];
  private readonly free: number[] = [];
  private used = 0;

  /** Bytes that clusters take. */
  get bytes(): number {
    return (this.used - this.free.length) * CLUSTER;
  }

  has(cluster: number): boolean {
    return this.slot(cluster) !== BASE;
  }

  read(cluster: number, skip: number, into: Uint8Array): void {
    this.pieces(cluster, skip, into, (c, at, piece) => {
      const slot = this.slot(c);
      if (slot === ZEROS) piece.fill(0);
      else piece.set(this.bytesOf(slot).subarray(at, at + piece.length));
    });
  }

  write(cluster: number, skip: number, from: Uint8Array): void {
    this.pieces(cluster, skip, from, (c, at, piece) => {
      let slot = this.slot(c);
      if (slot <= BASE) {
        slot = this.take();
        this.setSlot(c, slot);
        // A slot that was used before holds what it held.
        if (piece.length < CLUSTER) this.bytesOf(slot).fill(0);
      }
      this.bytesOf(slot).set(piece, at);
    });
  }

  zero(cluster: number, count: number): void {
    for (let c = cluster; c < cluster + count; c++) {
      const slot = this.slot(c);
      if (slot > BASE) this.free.push(slot);
      this.setSlot(c, ZEROS);
    }
  }

  flush(): void {}
  close(): void {
    this.tables.clear();
    this.slabs.length = 0;
  }

  private pieces(cluster: number, skip: number, bytes: Uint8Array, each: (cluster: number, at: number, piece: Uint8Array) => void): void {
    let at = skip;
    for (let done = 0, c = cluster; done < bytes.length; c++) {
      const length = Math.min(CLUSTER - at, bytes.length - done);
      each(c, at, bytes.subarray(done, done + length));
      done += length;
      at = 0;
    }
  }

  private slot(cluster: number): number {
    return this.tables.get(Math.floor(cluster / TABLE))?.[cluster % TABLE] ?? BASE;
  }
  private setSlot(cluster: number, slot: number): void {
    const index = Math.floor(cluster / TABLE);
    let table = this.tables.get(index);
    if (table === undefined) {
      table = new Int32Array(TABLE);
      this.tables.set(index, table);
    }
    table[cluster % TABLE] = slot;
  }
  private take(): number {
    const free = this.free.pop();
    if (free !== undefined) return free;
    if (this.used % SLAB_CLUSTERS === 0) this.slabs.push(new Uint8Array(SLAB_CLUSTERS * CLUSTER));
    return ++this.used;
  }
  private bytesOf(slot: number): Uint8Array {
    const index = slot - 1;
    const at = (index % SLAB_CLUSTERS) * CLUSTER;
    return this.slabs[Math.floor(index / SLAB_CLUSTERS)]!.subarray(at, at + CLUSTER);
  }
}
