// Sets of integers as sorted, disjoint, closed ranges (xen/common/rangeset.c): ports, addresses and PCI functions of a device model.

/** Ranges that one set may hold (MAX_NR_IO_RANGES). */
const MAX_RANGES = 256;

export class RangeSet {
  private readonly starts: number[] = [];
  private readonly ends: number[] = [];

  /** Whether all of start..end is in. */
  contains(start: number, end: number): boolean {
    const i = this.indexOf(start);
    return i >= 0 && end <= this.ends[i]!;
  }
  overlaps(start: number, end: number): boolean {
    const i = this.indexOf(end);
    return i >= 0 && this.ends[i]! >= start;
  }
  /** Adds a range that overlaps nothing; false when the set is full. Neighbours grow together. */
  add(start: number, end: number): boolean {
    const at = this.indexOf(start) + 1;
    const joinsLeft = at > 0 && this.ends[at - 1] === start - 1;
    const joinsRight = this.starts[at] === end + 1;
    if (joinsLeft && joinsRight) {
      this.ends[at - 1] = this.ends[at]!;
      this.remove1(at);
    } else if (joinsLeft) this.ends[at - 1] = end;
    else if (joinsRight) this.starts[at] = start;
    else return this.insert(at, start, end);
    return true;
  }
  /** Takes out a range that is in; false when the set would have to be split and is full. */
  remove(start: number, end: number): boolean {
    const i = this.indexOf(start);
    const first = this.starts[i]!;
    const last = this.ends[i]!;
    if (first === start && last === end) this.remove1(i);
    else if (first === start) this.starts[i] = end + 1;
    else if (last === end) this.ends[i] = start - 1;
    else {
      if (!this.insert(i + 1, end + 1, last)) return false;
      this.ends[i] = start - 1;
    }
    return true;
  }
  ranges(): [start: number, end: number][] {
    return this.starts.map((s, i) => [s, this.ends[i]!]);
  }

  /** The last range that begins at or before `n`, or -1. */
  private indexOf(n: number): number {
    let lo = 0;
    let hi = this.starts.length;
    while (lo < hi) {
      const mid = (lo + hi) >>> 1;
      if (this.starts[mid]! <= n) lo = mid + 1;
      else hi = mid;
    }
    return lo - 1;
  }
  private insert(at: number, start: number, end: number): boolean {
    if (this.starts.length >= MAX_RANGES) return false;
    this.starts.splice(at, 0, start);
    this.ends.splice(at, 0, end);
    return true;
  }
  private remove1(at: number): void {
    this.starts.splice(at, 1);
    this.ends.splice(at, 1);
  }
}
