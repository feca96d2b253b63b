// Hands out ranges of guest frames, first fit, and takes them back. dom0 has two: its RAM, and the frames behind it where
// foreign and granted pages are mapped.

interface Range {
  start: number;
  count: number;
}

export class FrameRanges {
  /** Free ranges, ascending, never adjacent. */
  private readonly free: Range[];

  constructor(start: number, count: number) {
    this.free = count > 0 ? [{ start, count }] : [];
  }

  /** The first frame of `count` consecutive ones; null when there is no such run. */
  take(count: number): number | null {
    const at = this.free.findIndex((r) => r.count >= count);
    const range = this.free[at];
    if (range === undefined) return null;
    const start = range.start;
    range.start += count;
    range.count -= count;
    if (range.count === 0) this.free.splice(at, 1);
    return start;
  }

  giveBack(start: number, count: number): void {
    if (count === 0) return;
    const at = this.free.findIndex((r) => r.start > start);
    const index = at < 0 ? this.free.length : at;
    const before = this.free[index - 1];
    const after = this.free[index];
    if ((before !== undefined && before.start + before.count > start) || (after !== undefined && start + count > after.start))
      throw new Error(`frames ${start}..${start + count} are free already`);
    const joinsBefore = before !== undefined && before.start + before.count === start;
    const joinsAfter = after !== undefined && start + count === after.start;
    if (joinsBefore && joinsAfter) {
      before.count += count + after.count;
      this.free.splice(index, 1);
    } else if (joinsBefore) before.count += count;
    else if (joinsAfter) {
      after.start = start;
      after.count += count;
    } else this.free.splice(index, 0, { start, count });
  }
}
