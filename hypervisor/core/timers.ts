// The machine's timers: a binary heap by deadline. Timers of equal deadline fire in the order in which they were set, so that a run
// is the same every time.

export class Timer {
  /** ns of system time; meaningful while active. */
  deadline = 0;
  private readonly fn: () => void;
  /** Order of setting, and place in the heap (-1 when inactive): the queue's own. */
  order = 0;
  index = -1;

  constructor(fn: () => void) {
    this.fn = fn;
  }
  get isActive(): boolean {
    return this.index >= 0;
  }
  fire(): void {
    this.fn();
  }
}

export class Timers {
  private readonly heap: Timer[] = [];
  private nextOrder = 0;

  /** (Re)sets a timer. */
  set(timer: Timer, deadline: number): void {
    this.stop(timer);
    timer.deadline = deadline;
    timer.order = this.nextOrder++;
    timer.index = this.heap.length;
    this.heap.push(timer);
    this.up(timer.index);
  }

  stop(timer: Timer): void {
    const at = timer.index;
    if (at < 0) return;
    timer.index = -1;
    const last = this.heap.pop()!;
    if (last === timer) return;
    this.heap[at] = last;
    last.index = at;
    this.up(at);
    this.down(last.index);
  }

  /** Deadline of the first timer; Infinity when there is none. */
  get next(): number {
    return this.heap[0]?.deadline ?? Number.POSITIVE_INFINITY;
  }

  /** Fires all that are due at `now`, those that they set meanwhile included. */
  expire(now: number): void {
    for (;;) {
      const first = this.heap[0];
      if (first === undefined || first.deadline > now) return;
      this.stop(first);
      first.fire();
    }
  }

  private before(a: Timer, b: Timer): boolean {
    return a.deadline < b.deadline || (a.deadline === b.deadline && a.order < b.order);
  }
  private place(timer: Timer, at: number): void {
    this.heap[at] = timer;
    timer.index = at;
  }
  private up(from: number): void {
    let at = from;
    const timer = this.heap[at]!;
    while (at > 0) {
      const parent = this.heap[(at - 1) >> 1]!;
      if (!this.before(timer, parent)) break;
      this.place(parent, at);
      at = (at - 1) >> 1;
    }
    this.place(timer, at);
  }
  private down(from: number): void {
    let at = from;
    const timer = this.heap[at]!;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.heap.length) break;
      if (child + 1 < this.heap.length && this.before(this.heap[child + 1]!, this.heap[child]!)) child++;
      if (!this.before(this.heap[child]!, timer)) break;
      this.place(this.heap[child]!, at);
      at = child;
    }
    this.place(timer, at);
  }
}
