// Virtual time of the board: events in a heap, ordered by the cycle at which they are due and then by age.
//
// One instruction is one cycle; a cycle is 1/hz of a second. Cycles are whole numbers below 2^53: exact for 49 days at 2.1 GHz.

import type { Timeline, Timer } from '../devices/bus.ts';

interface Event extends Timer {
  readonly cycle: number;
  readonly order: number;
  run: (() => void) | undefined;
}

const NANOSECONDS = 1e9;

const before = (a: Event, b: Event): boolean => a.cycle < b.cycle || (a.cycle === b.cycle && a.order < b.order);

export class BoardTimeline implements Timeline {
  readonly hz: number;
  /** Asked for the cycle that it is now, wherever the board stands in a window. */
  private readonly cycle: () => number;
  /** Told when an event is due sooner than all others. */
  private readonly onSooner: (cycle: number) => void;
  private readonly heap: Event[] = [];
  private order = 0;

  constructor(hz: number, cycle: () => number, onSooner: (cycle: number) => void) {
    this.hz = hz;
    this.cycle = cycle;
    this.onSooner = onSooner;
  }

  get now(): number {
    return this.toNs(this.cycle());
  }
  toNs(cycle: number): number {
    return (cycle * NANOSECONDS) / this.hz;
  }
  /** The first cycle at which `now` is `ns` or more. */
  toCycle(ns: number): number {
    let c = Math.ceil((ns * this.hz) / NANOSECONDS);
    while (this.toNs(c) < ns) c++;
    return c;
  }

  schedule(at: number, run: () => void): Timer {
    return this.scheduleCycle(this.toCycle(at), run);
  }
  scheduleCycle(cycle: number, run: () => void): Timer {
    const e: Event = { cycle, order: this.order++, run, cancel: () => this.drop(e) };
    const sooner = cycle < this.next;
    this.push(e);
    if (sooner) this.onSooner(cycle);
    return e;
  }

  /** Cycle of the next event; Infinity when there is none. */
  get next(): number {
    return this.heap[0]?.cycle ?? Number.POSITIVE_INFINITY;
  }
  /** Runs the oldest event that is due at `cycle`; false when there is none. */
  expireOne(cycle: number): boolean {
    const e = this.heap[0];
    if (e === undefined || e.cycle > cycle) return false;
    this.pop();
    const { run } = e;
    e.run = undefined;
    run?.();
    return true;
  }

  /** Cancelled events leave when they come to the top. */
  private drop(e: Event): void {
    e.run = undefined;
    while (this.heap.length > 0 && this.heap[0]!.run === undefined) this.pop();
  }
  private push(e: Event): void {
    const { heap } = this;
    let i = heap.push(e) - 1;
    while (i > 0) {
      const parent = (i - 1) >>> 1;
      if (!before(e, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = e;
  }
  private pop(): void {
    const { heap } = this;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
  }
}
