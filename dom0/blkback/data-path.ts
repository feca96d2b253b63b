// How the backend gets at pages that a frontend granted. Work is added for many requests and made by commit(), so that a batch of requests
// costs one hypercall of each kind.
import { MAX_SEGMENTS } from './layout.ts';
import type { PersistentGrant } from './persistent.ts';

/** Granted pages of one request, and which part of each it uses. */
export class GrantPages {
  count = 0;
  /** One of them could not be used. */
  isBad = false;
  grefs = new Uint32Array(MAX_SEGMENTS);
  /** First byte in the page, and how many. */
  offsets = new Uint16Array(MAX_SEGMENTS);
  lengths = new Uint16Array(MAX_SEGMENTS);
  /** Where a page is mapped, for data-mapped.ts: index into its frames (-1: it is not), Xen's handle, or whose mapping it is. */
  slots = new Int32Array(MAX_SEGMENTS);
  handles = new Uint32Array(MAX_SEGMENTS);
  persistent: (PersistentGrant | null)[] = [];

  /** Makes room for `count` pages and forgets the ones before. */
  reset(count: number): void {
    if (this.grefs.length < count) {
      this.grefs = new Uint32Array(count);
      this.offsets = new Uint16Array(count);
      this.lengths = new Uint16Array(count);
      this.slots = new Int32Array(count);
      this.handles = new Uint32Array(count);
    }
    this.slots.fill(-1, 0, count);
    for (let i = 0; i < count; i++) this.persistent[i] = null;
    this.count = count;
    this.isBad = false;
  }
}

export interface DataPath {
  /** The pages are going to be loaded, or (not `isReadonly`) stored to: to be committed before that. */
  claim(pages: GrantPages, isReadonly: boolean): void;
  /** Copies the used part of each page to where it goes in `into`, one after another. Done when committed; `isBad` tells of failure. */
  load(pages: GrantPages, into: Uint8Array): void;
  store(pages: GrantPages, from: Uint8Array): void;
  /** The pages are no longer needed: let go when committed. */
  release(pages: GrantPages): void;
  commit(): void;
  /** There is time to tidy up. */
  tidy(): void;
  /** Lets go of everything at once. */
  close(): void;
}
