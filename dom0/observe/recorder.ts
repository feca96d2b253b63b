// Keeps the last so many records of a trace. Readers come back when they like and are told what they missed; nobody waits for them.
import type { TraceEvent, TraceRecord, TraceTarget } from './trace-event.ts';

/** About 100 bytes each. */
export const DEFAULT_CAPACITY = 1 << 18;

export class TraceRecorder implements TraceTarget {
  readonly capacity: number;
  /** Called whenever `capacity` more records have come: who reads now misses none. */
  onFull: (() => void) | null = null;
  private readonly clock: () => number;
  private readonly records: TraceRecord[] = [];
  private count = 0;

  /** `clock`: system time in ns. */
  constructor(clock: () => number, capacity = DEFAULT_CAPACITY) {
    if (!Number.isInteger(capacity) || capacity < 1) throw new RangeError(`a trace of ${capacity} records`);
    this.clock = clock;
    this.capacity = capacity;
  }

  record(event: TraceEvent): void {
    this.recordAt(this.clock(), event);
  }

  /** For what has a time of its own. */
  recordAt(at: number, event: TraceEvent): void {
    // An array that only grows to its capacity, then a ring.
    this.records[this.count % this.capacity] = { at, event };
    this.count++;
    if (this.count % this.capacity === 0) this.onFull?.();
  }

  /** Records made so far, those that were overwritten included: the position behind the newest. */
  get position(): number {
    return this.count;
  }

  /** How many records are no longer here. */
  get dropped(): number {
    return Math.max(0, this.count - this.capacity);
  }

  /** What came from position `from` on, at most `limit` records. `missed`: how many of them had been overwritten. */
  read(
    from: number,
    limit = Number.POSITIVE_INFINITY,
  ): { readonly records: TraceRecord[]; readonly next: number; readonly missed: number } {
    const start = Math.max(from, this.dropped);
    const end = Math.min(this.count, start + limit);
    const records: TraceRecord[] = [];
    for (let i = start; i < end; i++) records.push(this.records[i % this.capacity]!);
    return { records, next: Math.max(end, from), missed: Math.max(0, start - from) };
  }
}
