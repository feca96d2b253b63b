// A connection as a protocol sees it: bytes go out, bytes come in. Sockets of the host are in xl/node-storage-socket.ts.

export interface ByteChannel {
  /** `bytes` are the channel's until they are sent: they must not change. */
  write(bytes: Uint8Array): void;
  /** Bytes that have come; they are the receiver's only during the call. */
  onData: ((bytes: Uint8Array) => void) | null;
  /** The other end closed, or the connection broke. Called once; not after close(). */
  onEnd: ((reason: string) => void) | null;
  /** What was written is still sent. */
  close(): void;
}

/** Sorts what comes, in pieces of any size, into the buffers that are wanted next. */
export class Inbox {
  private target: Uint8Array | null = null;
  private filled = 0;
  private done: () => void = () => {};
  private early: Uint8Array[] = [];

  /** Calls `done` when `target` is full. One at a time; `done` may ask for the next. */
  fill(target: Uint8Array, done: () => void): void {
    this.target = target;
    this.filled = 0;
    this.done = done;
    if (target.length === 0) this.full();
    else if (this.early.length > 0) {
      const waiting = this.early;
      this.early = [];
      for (const bytes of waiting) this.push(bytes);
    }
  }

  take(length: number): Promise<Uint8Array> {
    return new Promise((resolve) => {
      const target = new Uint8Array(length);
      this.fill(target, () => resolve(target));
    });
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.target === null) {
        // A copy: the channel may use its buffer again.
        this.early.push(bytes.slice(at));
        return;
      }
      const count = Math.min(this.target.length - this.filled, bytes.length - at);
      this.target.set(bytes.subarray(at, at + count), this.filled);
      this.filled += count;
      at += count;
      if (this.filled === this.target.length) this.full();
    }
  }

  private full(): void {
    this.target = null;
    this.done();
  }
}
