// Where consoles go: straight out, or line by line with the domain's name in front; and a memory of the last lines, in which the
// reason of a crash is looked for.
import type { ConsoleSink } from '../consoled/index.ts';

/** A stream of bytes with back-pressure. */
export interface ByteStream {
  room(): number;
  write(bytes: Uint8Array): void;
}

/** Enough for the end of a panic. */
const REMEMBERED = 64 * 1024;

// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal escapes are what is removed
const ESCAPE_SEQUENCE = /\x1b\[[0-9;?]*[A-Za-z]/g;
const TIMESTAMP = /^\[ *[0-9.]+\] /;

export class ConsoleOutput implements ConsoleSink {
  private readonly stream: ByteStream;
  private readonly prefix: string;
  private readonly decoder = new TextDecoder();
  private readonly encoder = new TextEncoder();
  private line = '';
  private tail = '';

  /** Without a prefix bytes are passed on as they come. */
  constructor(stream: ByteStream, prefix = '') {
    this.stream = stream;
    this.prefix = prefix;
  }

  room(): number {
    return this.stream.room();
  }

  write(bytes: Uint8Array): void {
    const text = this.decoder.decode(bytes, { stream: true });
    this.tail = (this.tail + text).slice(-REMEMBERED);
    if (this.prefix === '') {
      this.stream.write(bytes);
      return;
    }
    const lines = (this.line + text).split('\n');
    this.line = lines.pop() ?? '';
    if (lines.length > 0) this.stream.write(this.encoder.encode(lines.map((l) => `${this.prefix}${l}\n`).join('')));
  }

  /** What has come of a line that was never ended. */
  finish(): void {
    if (this.line !== '') this.stream.write(this.encoder.encode(`${this.prefix}${this.line}\n`));
    this.line = '';
  }

  /** Forgets what a domain said that is built anew. */
  restart(): void {
    this.finish();
    this.tail = '';
  }

  /** Does the screen stand within a line? */
  get isMidLine(): boolean {
    return this.prefix === '' && this.tail !== '' && !this.tail.endsWith('\n');
  }

  /** The last panic, BUG or, failing these, last line that the console showed. */
  lastWords(): string | null {
    const lines = this.tail
      .split('\n')
      .map((l) => l.replace(ESCAPE_SEQUENCE, '').replace(TIMESTAMP, '').trim())
      .filter((l) => l !== '' && !l.startsWith('---[ end'));
    const last = (pattern: RegExp) => lines.findLast((l) => pattern.test(l));
    // Not the function panic() in the stack trace that follows.
    return last(/kernel panic/i) ?? last(/\bpanic\b(?!\+0x)/i) ?? lines.at(-1) ?? null;
  }
}
