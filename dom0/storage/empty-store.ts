// A drive without a medium in it.
import type { BlockStore, LatencyModel } from './block-store.ts';

export class EmptyStore implements BlockStore {
  readonly sectors = 0;
  readonly sectorSize = 512;
  readonly isReadonly = true;
  readonly canDiscard = false;
  readonly discardGranularity = 512;
  readonly canDiscardSecurely = false;
  readonly latency: LatencyModel;
  onResize: ((sectors: number) => void) | null = null;

  constructor(latency: LatencyModel) {
    this.latency = latency;
  }
  read(): never {
    throw new Error('no medium');
  }
  write(): never {
    throw new Error('no medium');
  }
  flush(): void {}
  discard(): never {
    throw new Error('no medium');
  }
  close(): void {}
}
