// What xenstored knows about one of its clients, and the messages that wait for it. Plain data: messages come and go elsewhere
// (ring-link.ts, client.ts). A waiting message counts: its bytes as memory, a reply as an outstanding request, an event as one of the
// request that caused it (outbox.ts).
import { xsd_sockmsg } from '@ringworld/abi';
import type { Identity } from './perms.ts';
import type { Transaction } from './transaction.ts';
import type { Watch } from './watches.ts';

export interface Message {
  readonly type: number;
  readonly reqId: number;
  readonly txId: number;
  /** A byte string: one character per byte. */
  readonly payload: string;
}

export interface WaitingMessage extends Message {
  /** The request that it answers, or that caused it; 0: nobody counts. */
  readonly request: number;
  /** System time in ns after which an event is dropped. */
  readonly expires: number;
}

export interface Connection extends Identity {
  /** In the order in which clients came. */
  readonly id: number;
  target: number | null;
  /** By path, NUL, token; in the order in which they were set. */
  readonly watches: Map<string, Watch>;
  readonly transactions: Map<number, Transaction>;
  nextTransaction: number;
  /** Replies and events that the client has not taken yet, oldest first. */
  out: WaitingMessage[];
  /** Payloads of the events among them: one that waits already is not sent twice. */
  readonly events: Set<string>;
  /** The first of them is on its way already. */
  isSending: boolean;
  /** The client broke the protocol: it is not served (xenstored's is_ignored). */
  isIgnored: boolean;
}

export const newConnection = (id: number, domid: number): Connection => ({
  id,
  domid,
  target: null,
  watches: new Map(),
  transactions: new Map(),
  nextTransaction: 0,
  out: [],
  events: new Set(),
  isSending: false,
  isIgnored: false,
});

export const HEADER_SIZE = xsd_sockmsg.size('x86_64');

export function encodeMessage(m: Message): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + m.payload.length);
  bytes.set(xsd_sockmsg.encode('x86_64', { type: m.type, req_id: m.reqId, tx_id: m.txId, len: m.payload.length }));
  for (let i = 0; i < m.payload.length; i++) bytes[HEADER_SIZE + i] = m.payload.charCodeAt(i);
  return bytes;
}

/** Bytes to a byte string. */
export function byteString(bytes: Uint8Array): string {
  let s = '';
  for (const b of bytes) s += String.fromCharCode(b);
  return s;
}
