// A domain's console while the host keeps it: output goes to every terminal that is attached, and waits (up to a limit, as xenconsoled's)
// for the first one when none is. A terminal that is too slow loses output; it never stops the guest, nor another terminal.
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
  private unread: Uint8Array[] = [];
  private unreadLength = 0;

  room(): number {
    return UNREAD_LIMIT;
  }

  write(bytes: Uint8Array): void {
    if (this.terminals.size === 0) {
      this.keep(bytes);
      return;
    }
    for (const t of this.terminals) if (t.room() >= bytes.length) t.write(bytes);
  }

  /** Shows what nobody has read yet, and from now on all that comes. Returns what detaches it. */
  attach(terminal: Terminal): () => void {
    if (this.terminals.size === 0) {
      for (const bytes of this.unread) terminal.write(bytes);
      this.unread = [];
      this.unreadLength = 0;
    }
    this.terminals.add(terminal);
    return () => void this.terminals.delete(terminal);
  }

  get attached(): number {
    return this.terminals.size;
  }

  private keep(bytes: Uint8Array): void {
    this.unread.push(bytes.slice());
    this.unreadLength += bytes.length;
    while (this.unreadLength > UNREAD_LIMIT && this.unread.length > 1) this.unreadLength -= this.unread.shift()!.length;
  }
}
