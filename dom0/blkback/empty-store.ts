// A drive without a medium: no sectors, so nothing is ever read.
import type { BlockStore } from '../storage/block-store.ts';

const AT_ONCE = () => 0;

export const emptyStore = (): BlockStore => ({
  sectors: 0,
  sectorSize: 512,
  isReadonly: true,
  canDiscard: false,
  discardGranularity: 512,
  canDiscardSecurely: false,
  latency: { name: 'ideal', read: AT_ONCE, write: AT_ONCE, flush: AT_ONCE, discard: AT_ONCE },
  read: () => {},
  write: () => {},
  flush: () => {},
  discard: () => {},
  onResize: null,
  close: () => {},
});
