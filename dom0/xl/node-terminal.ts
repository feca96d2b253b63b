// Standard input and output under Node: the user's end of a console.
import { fstatSync, readFileSync } from 'node:fs';
import type { ByteStream } from './output.ts';

const HIGH_WATER = 1024 * 1024;

/** `onRoom` is called when a stream that was full takes bytes again, `onGone` when its reader went away (`| head`): there is nobody left to tell. */
export function nodeStream(stream: NodeJS.WriteStream, onRoom: () => void, onGone: () => void = () => process.exit(0)): ByteStream {
  stream.on('drain', onRoom);
  stream.on('error', onGone);
  return {
    room: () => Math.max(0, HIGH_WATER - stream.writableLength),
    // A copy: the stream may keep the bytes.
    write: (bytes) => void stream.write(Buffer.from(bytes)),
  };
}

export const nowhere: ByteStream = { room: () => HIGH_WATER, write: () => {} };

/** Ctrl-], as with xl console and telnet. */
const ESCAPE = 0x1d;

/** Typed bytes that nobody took; with more than this, reading pauses. */
const TYPE_AHEAD = 64 * 1024;
const LOOK_AGAIN_MS = 20;

export interface KeyboardEvents {
  typed(bytes: Uint8Array): void;
  /** How much of it has not been taken. */
  backlog(): number;
  /** The user wants to leave. */
  left(): void;
  /** Nothing more will be typed. */
  ended?(): void;
}

export class Keyboard {
  readonly isTty: boolean;
  private readonly events: KeyboardEvents;
  private isOpen = true;
  private wake: () => void = () => {};

  constructor(events: KeyboardEvents) {
    this.events = events;
    this.isTty = process.stdin.isTTY === true;
    if (!this.isTty && isFile()) {
      // All of a file is there from the start, so that a run from one repeats exactly.
      this.isOpen = false;
      const bytes = readFileSync(0);
      if (bytes.length > 0) events.typed(bytes);
      return;
    }
    if (this.isTty) process.stdin.setRawMode(true);
    process.stdin.on('data', (bytes: Buffer) => this.data(bytes));
    for (const end of ['end', 'error', 'close'] as const) process.stdin.on(end, () => this.ended());
  }

  canWake(): boolean {
    return this.isOpen;
  }

  /** Resolves on input, at the latest after `ms`. */
  wait(ms: number): Promise<void> {
    return new Promise((done) => {
      const timer = setTimeout(() => this.wake(), ms);
      this.wake = () => {
        clearTimeout(timer);
        this.wake = () => {};
        done();
      };
    });
  }

  close(): void {
    this.isOpen = false;
    if (this.isTty) process.stdin.setRawMode(false);
    process.stdin.pause();
  }

  private data(bytes: Uint8Array): void {
    const leaveAt = this.isTty ? bytes.indexOf(ESCAPE) : -1;
    const typed = leaveAt < 0 ? bytes : bytes.subarray(0, leaveAt);
    if (typed.length > 0) this.events.typed(typed);
    if (leaveAt >= 0) this.events.left();
    if (this.events.backlog() > TYPE_AHEAD) this.hold();
    this.wake();
  }

  private hold(): void {
    process.stdin.pause();
    const look = () => {
      if (!this.isOpen) return;
      if (this.events.backlog() > TYPE_AHEAD) setTimeout(look, LOOK_AGAIN_MS);
      else process.stdin.resume();
    };
    setTimeout(look, LOOK_AGAIN_MS);
  }

  private ended(): void {
    this.isOpen = false;
    this.events.ended?.();
    this.wake();
  }
}

function isFile(): boolean {
  try {
    return fstatSync(0).isFile();
  } catch {
    return false;
  }
}
