// Who sees what a console says: a bounded memory of the last output, and viewers that come and go. A viewer who is slow loses the oldest of
// what waits for it; it never holds up the guest, nor another viewer.

/** Where a console's output goes. */
export interface ConsoleSink {
  /** How many bytes may be written now. */
  room(): number;
  write(bytes: Uint8Array): void;
  /** The console is gone for good: nothing more will come. */
  end?(): void;
}

/** A queue of at most `limit` bytes, of which the oldest go when there are more. */
export class BoundedBytes {
  readonly limit: number;
  private chunks: Uint8Array[] = [];
  /** Bytes held, and bytes that had to go. */
  length = 0;
  lost = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.chunks.push(bytes);
    this.length += bytes.length;
    const excess = this.length - this.limit;
    if (excess <= 0) return;
    this.lost += excess;
    this.drop(excess);
  }

  /** Takes at most `count` bytes from the front. */
  take(count: number): Uint8Array {
    const all = this.bytes().subarray(0, count);
    this.drop(all.length);
    return all;
  }

  /** All of it, in one piece; stays. */
  bytes(): Uint8Array {
    const [only] = this.chunks;
    if (only !== undefined && this.chunks.length === 1) return only;
    const all = new Uint8Array(this.length);
    let at = 0;
    for (const c of this.chunks) {
      all.set(c, at);
      at += c.length;
    }
    this.chunks = all.length === 0 ? [] : [all];
    return all;
  }

  private drop(count: number): void {
    let left = count;
    while (left > 0) {
      const first = this.chunks[0]!;
      if (first.length > left) {
        this.chunks[0] = first.subarray(left);
        break;
      }
      left -= first.length;
      this.chunks.shift();
    }
    this.length -= count;
  }
}

export class Viewers {
  /** The last output, for whoever comes later. */
  readonly scrollback: BoundedBytes;
  private readonly queues = new Map<ConsoleSink, BoundedBytes>();

  constructor(limit: number) {
    this.scrollback = new BoundedBytes(limit);
  }

  /** `replay`: what the scrollback holds comes first. */
  add(viewer: ConsoleSink, replay: boolean): void {
    const queue = new BoundedBytes(this.scrollback.limit);
    if (replay) queue.push(this.scrollback.bytes());
    this.queues.set(viewer, queue);
    this.flush();
  }

  remove(viewer: ConsoleSink): void {
    this.queues.delete(viewer);
  }

  write(bytes: Uint8Array): void {
    this.scrollback.push(bytes);
    this.flush();
    // Only what has to wait counts against the bound.
    for (const [viewer, queue] of [...this.queues]) {
      const direct = queue.length > 0 ? 0 : Math.min(bytes.length, viewer.room());
      if (direct > 0) viewer.write(bytes.subarray(0, direct));
      queue.push(bytes.subarray(direct));
    }
  }

  /** Hands out what viewers have room for. */
  flush(): void {
    // A copy: a viewer that fails may leave while it is written to.
    for (const [viewer, queue] of [...this.queues]) {
      const room = Math.min(queue.length, viewer.room());
      if (room > 0) viewer.write(queue.take(room));
    }
  }

  end(): void {
    const all = [...this.queues.keys()];
    this.flush();
    this.queues.clear();
    for (const v of all) v.end?.();
  }
}
