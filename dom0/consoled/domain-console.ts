// One console of a domain: its ring on one side; on the other a sink that may hold the guest up, viewers that may not, and a log. It outlives
// its ring, since a frontend may leave and come back.
import type { Domid, PageView } from '@ringworld/abi';
import { putInput, takeOutput } from './console-ring.ts';
import { type ConsoleSink, Viewers } from './viewers.ts';

/** xenconsoled's bound, where the toolstack names none (LIBXL_XENCONSOLE_LIMIT). */
export const DEFAULT_LIMIT = 1024 * 1024;

/** One console as its domain shares it: mapped and bound by Consoled, plain memory in specs. */
export interface ConsoleChannel {
  readonly page: PageView;
  notify(): void;
  /** Told how much was copied out of the ring or into it. */
  copied?(bytes: number): void;
  close(): void;
}

/** Plain data: input that the ring had no room for yet. */
export interface ConsoleState {
  waiting: Uint8Array;
}

export interface ConsoleOptions {
  readonly domid?: Domid;
  readonly devid?: number;
  /** The domain's name and, for a channel, the console's. */
  readonly domainName?: string;
  readonly name?: string;
  /** Where a channel with connection=socket is to be listened for. */
  readonly socketPath?: string | null;
  /** The bound of everything that is kept: scrollback, each viewer's queue, typed input. */
  readonly limit?: number;
}

const NOTHING = new Uint8Array(0);

export class DomainConsole {
  readonly state: ConsoleState = { waiting: NOTHING };
  readonly domid: number;
  readonly devid: number;
  readonly domainName: string;
  readonly name: string;
  readonly socketPath: string | null;
  readonly limit: number;
  private readonly viewers: Viewers;
  /** While it has no room the output stays in the ring, and so, in the end, the guest waits. */
  private readonly sink: ConsoleSink | null;
  private channel: ConsoleChannel | null;
  private log: ConsoleSink | null = null;
  private closing: () => void = () => {};

  constructor(channel: ConsoleChannel | null, sink: ConsoleSink | null = null, options: ConsoleOptions = {}) {
    this.channel = channel;
    this.sink = sink;
    this.domid = options.domid ?? 0;
    this.devid = options.devid ?? 0;
    this.domainName = options.domainName ?? '';
    this.name = options.name ?? '';
    this.socketPath = options.socketPath ?? null;
    this.limit = options.limit ?? DEFAULT_LIMIT;
    this.viewers = new Viewers(this.limit);
  }

  /** The domain sent an event, or somebody who sees its output has room again. */
  serve(): void {
    this.viewers.flush();
    const { channel } = this;
    if (channel === null) return;
    let touched = false;
    for (let room = this.room(); room > 0; room = this.room()) {
      const bytes = takeOutput(channel.page, room);
      if (bytes.length === 0) break;
      channel.copied?.(bytes.length);
      this.sink?.write(bytes);
      this.log?.write(bytes);
      this.viewers.write(bytes);
      touched = true;
    }
    if (this.fill() || touched) channel.notify();
  }

  /** Shows the output from now on, after what is remembered of it unless `replay` is false. Returns what ends it. */
  subscribe(viewer: ConsoleSink, options: { readonly replay?: boolean } = {}): () => void {
    this.viewers.add(viewer, options.replay ?? true);
    return () => this.viewers.remove(viewer);
  }

  /** The last output: a copy. */
  scrollback(): Uint8Array {
    return this.viewers.scrollback.bytes().slice();
  }

  /** Called when the console goes for good. */
  onClose(told: () => void): void {
    this.closing = told;
  }

  /** Gets all output, and never holds it up. */
  logTo(log: ConsoleSink | null): void {
    this.log = log;
  }

  /** Types bytes. What does not fit the ring waits for the guest to read; returns how many could wait or went. */
  type(bytes: Uint8Array): number {
    const { state } = this;
    const accepted = bytes.subarray(0, Math.max(0, this.limit - state.waiting.length));
    const waiting = new Uint8Array(state.waiting.length + accepted.length);
    waiting.set(state.waiting);
    waiting.set(accepted, state.waiting.length);
    state.waiting = waiting;
    if (this.fill()) this.channel?.notify();
    return accepted.length;
  }

  /** Bytes that were typed and that the guest has not taken into its ring: a source should pause while there are many. */
  get backlog(): number {
    return this.state.waiting.length;
  }

  get isConnected(): boolean {
    return this.channel !== null;
  }

  /** The frontend has come, or come back. */
  connect(channel: ConsoleChannel): void {
    this.disconnect();
    this.channel = channel;
  }

  /** The frontend has gone: the ring is emptied and let go of. */
  disconnect(): void {
    this.serve();
    this.channel?.close();
    this.channel = null;
  }

  /** The console goes for good. */
  close(): void {
    this.disconnect();
    this.viewers.end();
    this.log?.end?.();
    this.log = null;
    this.closing();
    this.closing = () => {};
  }

  private room(): number {
    return this.sink?.room() ?? Number.POSITIVE_INFINITY;
  }

  private fill(): boolean {
    const { state } = this;
    if (this.channel === null || state.waiting.length === 0) return false;
    const count = putInput(this.channel.page, state.waiting);
    this.channel.copied?.(count);
    state.waiting = state.waiting.slice(count);
    return count > 0;
  }
}
