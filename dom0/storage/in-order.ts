// Keeps operations that touch the same place in the order in which they were started; all others overlap freely. The host's threads
// finish in any order, and a guest that reads what it is writing must see the same in every run.

interface Range {
  readonly from: number;
  readonly to: number;
  readonly isWrite: boolean;
  done: Promise<void>;
}

export class InOrder {
  private readonly running = new Set<Range>();

  /** Starts an operation on [from, to) when nothing before it is in its way. What `start` returns or throws comes back. */
  run(from: number, to: number, isWrite: boolean, start: () => Promise<void> | void): Promise<void> | void {
    const before = this.running.size === 0 ? [] : this.inTheWay(from, to, isWrite);
    const work = before.length === 0 ? start() : Promise.allSettled(before.map((r) => r.done)).then(start);
    // Done at once: there is nothing to wait for.
    if (work === undefined) return;
    const range: Range = { from, to, isWrite, done: work };
    this.running.add(range);
    range.done = work.finally(() => this.running.delete(range));
    return range.done;
  }

  /** For what touches no place, such as a flush: idle() waits for it too. */
  track(start: () => Promise<void> | void): Promise<void> | void {
    return this.run(0, 0, false, start);
  }

  /** Resolves when all that was started until now is over, well or not. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.running].map((r) => r.done));
  }

  private inTheWay(from: number, to: number, isWrite: boolean): Range[] {
    return [...this.running].filter((r) => r.from < to && from < r.to && (isWrite || r.isWrite));
  }
}
