// A drive without a medium in it: no sectors, so nobody has anything to read.
import type { BlockStore } from './block-store.ts';
import { idealLatency } from './latency.ts';

export class EmptyStore implements BlockStore {
  readonly sectors = 0;
  readonly sectorSize = 512;
  readonly isReadonly = true;
  readonly canDiscard = false;
  readonly discardGranularity = 512;
  readonly canDiscardSecurely = false;
  readonly latency = idealLatency();
  onResize: ((sectors: number) => void) | null = null;

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
