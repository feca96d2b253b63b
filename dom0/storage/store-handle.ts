// One backend's use of a disk that stays open without it, and may be another's too.
import type { BlockStore, LatencyModel } from './block-store.ts';

export class StoreHandle implements BlockStore {
  /** Called by whoever hands out the handles. */
  onResize: ((sectors: number) => void) | null = null;
  private readonly store: BlockStore;
  private readonly closed: () => Promise<void>;
  private isOpen = true;

  constructor(store: BlockStore, closed: () => Promise<void>) {
    this.store = store;
    this.closed = closed;
  }

  get sectors(): number {
    return this.store.sectors;
  }
  get sectorSize(): number {
    return this.store.sectorSize;
  }
  get isReadonly(): boolean {
    return this.store.isReadonly;
  }
  get canDiscard(): boolean {
    return this.store.canDiscard;
  }
  get discardGranularity(): number {
    return this.store.discardGranularity;
  }
  get canDiscardSecurely(): boolean {
    return this.store.canDiscardSecurely;
  }
  get latency(): LatencyModel {
    return this.store.latency;
  }

  read(sector: number, into: Uint8Array): Promise<void> | void {
    return this.store.read(sector, into);
  }
  write(sector: number, from: Uint8Array): Promise<void> | void {
    return this.store.write(sector, from);
  }
  flush(): Promise<void> | void {
    return this.store.flush();
  }
  discard(sector: number, count: number, secure: boolean): Promise<void> | void {
    return this.store.discard(sector, count, secure);
  }
  close(): Promise<void> {
    if (!this.isOpen) return Promise.resolve();
    this.isOpen = false;
    this.onResize = null;
    return this.closed();
  }
}
