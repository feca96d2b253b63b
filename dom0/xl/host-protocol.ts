// What goes over the host's socket: frames of four bytes of length (big endian) and a msgpack value, and the messages in them.
//
// The host says hello first, with the version of the protocol. A client then makes calls, each with an id of its own; the host answers
// each with one reply, before which events may come (a console's output), and the client may send input to a call that takes it, or
// take it back. Ids are the client's; several calls may be open at once.
import { Packr } from 'msgpackr';

/** Raised whenever an old client would misunderstand a new host, or the other way round. */
export const PROTOCOL_VERSION = 1;

/** Kernels and ramdisks go in one frame. */
export const MAX_FRAME = 1024 * 1024 * 1024;

export type ClientMessage =
  | { readonly call: string; readonly id: number; readonly args: unknown }
  | { readonly input: Uint8Array; readonly id: number }
  | { readonly cancel: true; readonly id: number };

export type HostMessage =
  | { readonly hello: number; readonly pid: number; readonly version: string }
  | { readonly event: unknown; readonly id: number }
  | { readonly reply: unknown; readonly id: number }
  | { readonly error: CallError; readonly id: number }
  /** The connection is over: what the client sent was no message. */
  | { readonly goodbye: string };

/** `xl`: in xl's words; `user`: the user's mistake or the state of the domain, in ours; `internal`: the host's own fault. */
export interface CallError {
  readonly kind: 'xl' | 'user' | 'internal';
  readonly message: string;
}

/** Plain msgpack: any language's library reads it. */
const packr = new Packr({ useRecords: false, moreTypes: false, int64AsType: 'number' });

export function encodeFrame(message: ClientMessage | HostMessage): Uint8Array {
  const body = packr.pack(message);
  const frame = new Uint8Array(4 + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, 4);
  return frame;
}

/** What came over the socket is no frame, or no message. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

/** Puts frames together from the pieces in which a socket delivers them. */
export class FrameReader {
  private pieces: Uint8Array[] = [];
  private held = 0;
  private wanted: number | null = null;

  /** The values of the frames that are complete now. Throws ProtocolError; nothing more can be read after that. */
  push(bytes: Uint8Array): unknown[] {
    this.pieces.push(bytes);
    this.held += bytes.length;
    const values: unknown[] = [];
    for (;;) {
      if (this.wanted === null) {
        if (this.held < 4) return values;
        const head = this.take(4);
        this.wanted = new DataView(head.buffer, head.byteOffset).getUint32(0);
        if (this.wanted > MAX_FRAME) throw new ProtocolError(`a frame of ${this.wanted} bytes`);
      }
      if (this.held < this.wanted) return values;
      const body = this.take(this.wanted);
      this.wanted = null;
      try {
        values.push(packr.unpack(body));
      } catch (e) {
        throw new ProtocolError(`a frame that is no msgpack value (${e instanceof Error ? e.message : String(e)})`);
      }
    }
  }

  private take(count: number): Uint8Array {
    const [first] = this.pieces;
    this.held -= count;
    if (first !== undefined && first.length >= count) {
      if (first.length === count) this.pieces.shift();
      else this.pieces[0] = first.subarray(count);
      return first.subarray(0, count);
    }
    const bytes = new Uint8Array(count);
    for (let done = 0; done < count; ) {
      const piece = this.pieces[0]!;
      const part = piece.subarray(0, count - done);
      bytes.set(part, done);
      done += part.length;
      if (part.length === piece.length) this.pieces.shift();
      else this.pieces[0] = piece.subarray(part.length);
    }
    return bytes;
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Checks what a client sent. Throws ProtocolError. */
export function clientMessage(value: unknown): ClientMessage {
  if (!isObject(value) || !Number.isSafeInteger(value.id)) throw new ProtocolError('a message without an id');
  const id = value.id as number;
  if (typeof value.call === 'string') return { call: value.call, id, args: value.args };
  // A copy: a console keeps what does not fit, and the frame is Node's.
  if (value.input instanceof Uint8Array) return { input: new Uint8Array(value.input), id };
  if (value.cancel === true) return { cancel: true, id };
  throw new ProtocolError('a message that is neither call, input nor cancel');
}

/** Checks what a host sent. Throws ProtocolError. */
export function hostMessage(value: unknown): HostMessage {
  if (isObject(value)) {
    if (typeof value.hello === 'number') return { hello: value.hello, pid: Number(value.pid), version: String(value.version) };
    if (typeof value.goodbye === 'string') return { goodbye: value.goodbye };
    if (typeof value.id === 'number') {
      if ('event' in value) return { event: value.event, id: value.id };
      if ('reply' in value) return { reply: value.reply, id: value.id };
      if (isObject(value.error)) {
        const { kind, message } = value.error;
        return { error: { kind: kind === 'user' || kind === 'xl' ? kind : 'internal', message: String(message) }, id: value.id };
      }
    }
  }
  throw new ProtocolError('a message that no host sends');
}
