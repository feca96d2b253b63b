// A domain's console while the host keeps it: output goes to every terminal that is attached, and waits (up to a limit, as xenconsoled's)
// for the first one when none is. A terminal that is too slow loses output; it never stops the guest, nor another terminal.
import { BoundedBytes } from '../consoled/viewers.ts';
import type { ByteStream } from './output.ts';

/** xenconsoled's limit of what nobody has read; the oldest goes first. */
const UNREAD_LIMIT = 1024 * 1024;

export interface Terminal {
  /** How many bytes it can take now. */
  room(): number;
  write(bytes: Uint8Array): void;
}

export class ConsoleHub implements ByteStream {
  private readonly terminals = new Set<Terminal>();
  private readonly unread = new BoundedBytes(UNREAD_LIMIT);

  room(): number {
    return UNREAD_LIMIT;
  }

  write(bytes: Uint8Array): void {
    if (this.terminals.size === 0) {
      this.unread.push(bytes.slice());
      return;
    }
    for (const t of this.terminals) if (t.room() >= bytes.length) t.write(bytes);
  }

  /** Shows what nobody has read yet, and from now on all that comes. Returns what detaches it. */
  attach(terminal: Terminal): () => void {
    if (this.unread.length > 0) terminal.write(this.unread.take(UNREAD_LIMIT));
    this.terminals.add(terminal);
    return () => void this.terminals.delete(terminal);
  }
}
