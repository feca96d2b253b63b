// Where packets for guests wait for the end of the burst: their bytes in pages of dom0, the copies into the guests' pages in one batch over
// all queues of all interfaces. The flush makes the copies with one hypercall and then lets each queue publish its responses.
import type { GrantCopyBatch } from '../kernel/grant-copy.ts';
import type { PageFlips } from './page-flips.ts';
import type { StagingPages } from './shared.ts';

export interface StagedQueue {
  /** The copies are made: copies.status() and flips.status() tell how each went. */
  complete(): void;
}

export class RxStage {
  readonly copies: GrantCopyBatch;
  readonly flips: PageFlips;
  private readonly staging: StagingPages;
  private readonly queues: StagedQueue[] = [];
  private used = 0;

  constructor(staging: StagingPages, copies: GrantCopyBatch, flips: PageFlips) {
    this.staging = staging;
    this.copies = copies;
    this.flips = flips;
  }

  /** Makes room for a packet of so many pages; what was staged before may be flushed for it. */
  reserve(pages: number): void {
    if (this.used + pages > this.staging.views.length) this.flush();
  }

  /** The next page of those reserved, with `bytes` in it. Returns its frame. */
  put(bytes: Uint8Array): number {
    const page = this.used++;
    this.staging.views[page]!.writeBytes(0, bytes);
    return this.staging.first + page;
  }

  /** The queue has responses to publish at the next flush. */
  join(queue: StagedQueue): void {
    if (!this.queues.includes(queue)) this.queues.push(queue);
  }

  flush(): void {
    if (this.queues.length === 0) return;
    this.copies.flush();
    this.flips.flush();
    this.used = 0;
    const queues = this.queues.splice(0);
    for (const q of queues) q.complete();
  }
}
