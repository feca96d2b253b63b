// One NBD session after its negotiation: requests go out as they come, many at a time, and answers come in any order, found by their cookies.
// A server that breaks the protocol loses the connection.
import { type ByteChannel, Inbox } from './byte-channel.ts';
import { handshake, NbdError } from './nbd-handshake.ts';
import {
  commandHeader,
  errorName,
  NBD_CMD_DISC,
  NBD_CMD_READ,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_ERROR_BIT,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
  type NbdExport,
} from './nbd-protocol.ts';

/** The connection is gone; the request may or may not have been carried out. */
export class NbdLost extends Error {
  override readonly name = 'NbdLost';
}

export interface NbdRequest {
  /** NBD_CMD_*. */
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
  /** Of a read: `length` bytes. */
  readonly into: Uint8Array | null;
  /** Of a write. */
  readonly from: Uint8Array | null;
}

interface Pending extends NbdRequest {
  readonly resolve: () => void;
  readonly reject: (e: Error) => void;
  /** Bytes of a read that have come. */
  received: number;
  error: number;
}

/** Longest message in an error chunk. */
const MAX_MESSAGE = 4096;

export class NbdConnection {
  readonly info: NbdExport;
  private readonly channel: ByteChannel;
  private readonly inbox: Inbox;
  private readonly pending = new Map<number, Pending>();
  private readonly head = new Uint8Array(16);
  private readonly headView = new DataView(this.head.buffer);
  private cookie = 0;
  private lost: NbdLost | null = null;

  private constructor(channel: ByteChannel, inbox: Inbox, info: NbdExport) {
    this.channel = channel;
    this.inbox = inbox;
    this.info = info;
    channel.onEnd = (reason) => this.lose(reason);
    this.next();
  }

  /** Negotiates. Rejects with NbdError when the server refuses, with NbdLost when the connection breaks. */
  static open(channel: ByteChannel, exportName: string): Promise<NbdConnection> {
    const inbox = new Inbox();
    return new Promise((resolve, reject) => {
      channel.onData = (bytes) => inbox.push(bytes);
      channel.onEnd = (reason) => reject(new NbdLost(reason));
      handshake(channel, inbox, exportName).then(
        (info) => resolve(new NbdConnection(channel, inbox, info)),
        (e: unknown) => {
          channel.close();
          reject(e instanceof Error ? e : new NbdError(String(e)));
        },
      );
    });
  }

  get isLost(): boolean {
    return this.lost !== null;
  }

  /** Rejects with NbdLost, or with the server's error. */
  request(request: NbdRequest): Promise<void> {
    if (this.lost !== null) return Promise.reject(this.lost);
    return new Promise((resolve, reject) => {
      do this.cookie = (this.cookie + 1) >>> 0;
      while (this.pending.has(this.cookie));
      this.pending.set(this.cookie, { ...request, resolve, reject, received: 0, error: 0 });
      this.channel.write(commandHeader(request.type, request.flags, this.cookie, request.offset, request.length));
      if (request.from !== null) this.channel.write(request.from);
    });
  }

  /** Says good-bye. Nothing may be in flight. */
  close(): void {
    if (this.lost !== null) return;
    this.channel.onEnd = null;
    this.channel.write(commandHeader(NBD_CMD_DISC, 0, 0, 0, 0));
    this.channel.close();
    this.lost = new NbdLost('the connection was closed');
  }

  private next(): void {
    this.inbox.fill(this.head, () => this.reply());
  }

  private reply(): void {
    const view = this.headView;
    const magic = view.getUint32(0);
    if (magic !== NBD_SIMPLE_REPLY_MAGIC && !(magic === NBD_STRUCTURED_REPLY_MAGIC && this.info.isStructured))
      return void this.lose('the server sent something that is no reply');
    // Both kinds have the cookie at 8.
    const pending = view.getUint32(8) === 0 ? this.pending.get(view.getUint32(12)) : undefined;
    if (pending === undefined) return void this.lose('the server answered a request that was not made');
    const cookie = view.getUint32(12);
    if (magic === NBD_STRUCTURED_REPLY_MAGIC) {
      const [flags, type] = [view.getUint16(4), view.getUint16(6)];
      const length = new Uint8Array(4);
      this.inbox.fill(length, () => this.chunk(cookie, pending, flags, type, new DataView(length.buffer).getUint32(0)));
      return;
    }
    pending.error = view.getUint32(4);
    if (pending.error !== 0 || pending.type !== NBD_CMD_READ) return void this.finish(cookie, pending);
    if (this.info.isStructured) return void this.lose('the server answered a read with a simple reply');
    pending.received = pending.length;
    this.inbox.fill(pending.into!, () => this.finish(cookie, pending));
  }

  private chunk(cookie: number, pending: Pending, flags: number, type: number, length: number): void {
    const over = () => {
      if (flags & NBD_REPLY_FLAG_DONE) this.finish(cookie, pending);
      else this.next();
    };
    if (type & NBD_REPLY_TYPE_ERROR_BIT) {
      if (length < 6 || length > MAX_MESSAGE) return void this.lose(`the server sent an error chunk of ${length} bytes`);
      const body = new Uint8Array(length);
      this.inbox.fill(body, () => {
        pending.error ||= new DataView(body.buffer).getUint32(0) || 5;
        over();
      });
      return;
    }
    if (type === NBD_REPLY_TYPE_NONE && length === 0 && flags & NBD_REPLY_FLAG_DONE) return void over();
    const isData = type === NBD_REPLY_TYPE_OFFSET_DATA && length > 8;
    const isHole = type === NBD_REPLY_TYPE_OFFSET_HOLE && length === 12;
    if (pending.into === null || (!isData && !isHole))
      return void this.lose(`the server sent a chunk of type ${type} and ${length} bytes that does not belong there`);
    const place = new Uint8Array(isHole ? 12 : 8);
    this.inbox.fill(place, () => {
      const view = new DataView(place.buffer);
      const at = view.getUint32(0) * 2 ** 32 + view.getUint32(4) - pending.offset;
      const count = isHole ? view.getUint32(8) : length - 8;
      if (at < 0 || at + count > pending.length) return void this.lose('the server sent data that were not asked for');
      pending.received += count;
      const target = pending.into!.subarray(at, at + count);
      if (isHole) {
        target.fill(0);
        over();
      } else this.inbox.fill(target, over);
    });
  }

  private finish(cookie: number, pending: Pending): void {
    this.pending.delete(cookie);
    if (pending.error !== 0) pending.reject(new NbdError(errorName(pending.error)));
    // Chunks may not overlap, so as many bytes as asked for are all of them.
    else if (pending.into !== null && pending.received !== pending.length)
      pending.reject(new NbdError(`the server sent ${pending.received} of ${pending.length} bytes`));
    else pending.resolve();
    this.next();
  }

  private lose(reason: string): void {
    if (this.lost !== null) return;
    this.lost = new NbdLost(reason);
    this.channel.onData = null;
    this.channel.onEnd = null;
    this.channel.close();
    const waiting = [...this.pending.values()];
    this.pending.clear();
    for (const p of waiting) p.reject(this.lost);
  }
}
