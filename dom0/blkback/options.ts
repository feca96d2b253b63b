// The switches of the block backend: what it offers to frontends, and how it goes about its work. Linux's blkback has most of them as module
// parameters; the defaults are Linux's unless a comment says otherwise.
import { parseOptionList } from '../kernel/option-list.ts';

/**
 * How data gets between the frontend's pages and the storage.
 * - `persistent`: pages are mapped once and stay mapped, if the frontend agrees to use the same ones again (which costs it a copy);
 * - `map`: pages are mapped for each request and unmapped when it is over;
 * - `copy`: pages are never mapped; Xen copies between them and pages of dom0's (as QEMU's backend does).
 */
export type DataPath = 'map' | 'copy' | 'persistent';

export interface BlkbackOptions {
  readonly data: DataPath;
  /** Events to the frontend: when its rsp_event asks for one, or after every response whatever it asked for. */
  readonly notify: 'asked' | 'each';
  /**
   * While requests come, how many of them it takes for the frontend to send the next event (req_event). Above 1 the backend looks by itself
   * `kickWithinNs` after it ran dry, or a frontend that waits for fewer would wait for ever; if it finds none it asks for an event again.
   */
  readonly kickEvery: number;
  readonly kickWithinNs: number;
  /** max-ring-page-order: log2 of the pages of a ring. */
  readonly maxRingPageOrder: number;
  /** multi-queue-max-queues. Linux's default is the number of dom0's CPUs; ours has one. */
  readonly maxQueues: number;
  /** feature-max-indirect-segments; 0: no indirect descriptors. */
  readonly maxIndirectSegments: number;
  /** How many grants of one queue stay mapped (Linux's max_persistent_grants). */
  readonly maxPersistentGrants: number;
  /** A grant that was not used for so long is unmapped (Linux's persistent_grant_unused_seconds). */
  readonly persistentUnusedNs: number;
  readonly flush: boolean;
  readonly barrier: boolean;
  /** Offer discard, where storage and the toolstack's discard-enable allow it. */
  readonly discard: boolean;
  /**
   * Requests beyond this many bytes wait in the ring. Linux needs no such limit, since it does not buffer; 32 MiB are as much as all
   * requests of a single-page ring can ask for.
   */
  readonly maxBytesInFlight: number;
}

export const DEFAULT_BLKBACK_OPTIONS: BlkbackOptions = {
  data: 'persistent',
  notify: 'asked',
  kickEvery: 1,
  kickWithinNs: 100_000,
  maxRingPageOrder: 4,
  maxQueues: 4,
  maxIndirectSegments: 256,
  maxPersistentGrants: 1056,
  persistentUnusedNs: 60e9,
  flush: true,
  barrier: true,
  discard: true,
  maxBytesInFlight: 32 << 20,
};

/** See parseOptionList. */
export const parseBlkbackOptions = (text: string): Partial<BlkbackOptions> =>
  parseOptionList(text, DEFAULT_BLKBACK_OPTIONS, { data: ['map', 'copy', 'persistent'], notify: ['asked', 'each'] });
