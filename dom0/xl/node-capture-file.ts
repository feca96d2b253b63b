// A capture's file under Node. Written in large pieces, and after a moment of silence, so that `tail -f FILE | wireshark -k -i -` shows what
// happens; a named pipe will do for FILE.
import { closeSync, openSync, writeSync } from 'node:fs';
import { UserError } from './user-error.ts';

const PIECE = 256 * 1024;
const SILENCE_MS = 200;

export class CaptureFile {
  private readonly path: string;
  private readonly failed: (line: string) => void;
  private fd: number | null;
  private parts: Uint8Array[] = [];
  private held = 0;
  private timer: ReturnType<typeof setTimeout> | null = null;

  /** Throws UserError. `failed` is told once when it cannot be written any more; what comes then is lost. */
  constructor(path: string, failed: (line: string) => void) {
    this.path = path;
    this.failed = failed;
    try {
      this.fd = openSync(path, 'w');
    } catch (e) {
      throw new UserError(`capture: ${path}: ${e instanceof Error ? e.message : String(e)}`);
    }
  }

  readonly write = (bytes: Uint8Array): void => {
    if (this.fd === null) return;
    this.parts.push(bytes);
    this.held += bytes.length;
    if (this.held >= PIECE) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), SILENCE_MS);
  };

  close(): void {
    this.flush();
    this.shut();
  }

  private flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.fd === null || this.held === 0) return;
    const all = Buffer.concat(this.parts);
    this.parts = [];
    this.held = 0;
    try {
      for (let at = 0; at < all.length; ) at += writeSync(this.fd, all, at);
    } catch (e) {
      this.shut();
      this.failed(`capture: ${this.path}: ${e instanceof Error ? e.message : String(e)}`);
    }
  }

  private shut(): void {
    if (this.fd !== null) closeSync(this.fd);
    this.fd = null;
  }
}
