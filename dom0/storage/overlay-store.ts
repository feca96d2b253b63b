// Copy on write: a disk that begins as its base and keeps what is written in a layer of its own. The base is only read.
import type { BlockStore, LatencyModel } from './block-store.ts';
import { InOrder } from './in-order.ts';
import { CLUSTER, type OverlayLayer } from './overlay-layer.ts';

const SECTOR = 512;

const all = (work: readonly (Promise<void> | void)[]): Promise<void> | void => {
  const waiting = work.filter((w) => w !== undefined);
  if (waiting.length > 0) return Promise.all(waiting).then(() => {});
};

export class OverlayStore implements BlockStore {
  readonly sectors: number;
  readonly sectorSize: number;
  readonly isReadonly: boolean;
  readonly canDiscard: boolean;
  readonly discardGranularity = CLUSTER;
  /** The base keeps what it has. */
  readonly canDiscardSecurely = false;
  readonly latency: LatencyModel;
  onResize: ((sectors: number) => void) | null = null;
  private readonly base: BlockStore;
  private readonly layer: OverlayLayer;
  private readonly order = new InOrder();

  constructor(base: BlockStore, layer: OverlayLayer, isReadonly: boolean, latency: LatencyModel = base.latency) {
    this.latency = latency;
    this.base = base;
    this.layer = layer;
    this.sectors = base.sectors;
    this.sectorSize = base.sectorSize;
    this.isReadonly = isReadonly;
    this.canDiscard = layer.canDiscard && !isReadonly;
  }

  read(sector: number, into: Uint8Array): Promise<void> | void {
    const at = sector * SECTOR;
    return this.order.run(at, at + into.length, false, () => this.readNow(at, into));
  }

  write(sector: number, from: Uint8Array): Promise<void> | void {
    const at = sector * SECTOR;
    const end = at + from.length;
    const first = Math.floor(at / CLUSTER);
    const last = Math.ceil(end / CLUSTER);
    // Whole clusters: a neighbour's write into the same one must not be lost when it is filled up from the base.
    return this.order.run(first * CLUSTER, last * CLUSTER, true, () => {
      const head = first * CLUSTER < at && !this.layer.has(first);
      const tail = end < Math.min(last * CLUSTER, this.sectors * SECTOR) && !this.layer.has(last - 1);
      if (!head && !tail) return this.layer.write(first, at - first * CLUSTER, from);
      return this.fillAndWrite(first, last, at, from, head, tail);
    });
  }

  flush(): Promise<void> | void {
    return this.order.track(() => this.layer.flush());
  }

  /** The clusters that lie whole in the range read as zeros afterwards; the rest of it is left as it is. */
  discard(sector: number, count: number): Promise<void> | void {
    const from = Math.ceil((sector * SECTOR) / CLUSTER);
    const isEnd = sector + count >= this.sectors;
    const to = isEnd ? Math.ceil((this.sectors * SECTOR) / CLUSTER) : Math.floor(((sector + count) * SECTOR) / CLUSTER);
    if (from >= to) return;
    return this.order.run(from * CLUSTER, to * CLUSTER, true, () => this.layer.zero(from, to - from));
  }

  async close(): Promise<void> {
    await this.order.idle();
    try {
      await this.layer.close();
    } finally {
      await this.base.close();
    }
  }

  /** In runs of clusters that are the layer's or the base's. */
  private readNow(at: number, into: Uint8Array): Promise<void> | void {
    const work: (Promise<void> | void)[] = [];
    const end = at + into.length;
    for (let from = at; from < end; ) {
      const cluster = Math.floor(from / CLUSTER);
      const isOurs = this.layer.has(cluster);
      let next = cluster + 1;
      while (next * CLUSTER < end && this.layer.has(next) === isOurs) next++;
      const to = Math.min(end, next * CLUSTER);
      const piece = into.subarray(from - at, to - at);
      work.push(isOurs ? this.layer.read(cluster, from - cluster * CLUSTER, piece) : this.base.read(from / SECTOR, piece));
      from = to;
    }
    return all(work);
  }

  /** A write that covers its first or last cluster in part, which the layer has not: the rest of it comes from the base. */
  private async fillAndWrite(first: number, last: number, at: number, from: Uint8Array, head: boolean, tail: boolean): Promise<void> {
    const diskEnd = this.sectors * SECTOR;
    const start = head ? first * CLUSTER : at;
    const end = tail ? Math.min(last * CLUSTER, diskEnd) : at + from.length;
    const whole = new Uint8Array(end - start);
    if (head) await this.base.read(start / SECTOR, whole.subarray(0, at - start));
    if (tail) await this.base.read((at + from.length) / SECTOR, whole.subarray(at + from.length - start));
    whole.set(from, at - start);
    await this.layer.write(first, start - first * CLUSTER, whole);
  }
}
