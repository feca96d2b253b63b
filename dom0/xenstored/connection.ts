// What xenstored knows about one of its clients. Plain data: messages come and go elsewhere (ring-link.ts, client.ts).
import { XS_WATCH_EVENT, xsd_sockmsg } from '@ringworld/abi';
import type { Transaction } from './transaction.ts';
import type { Watch } from './watches.ts';

export interface Message {
  readonly type: number;
  readonly reqId: number;
  readonly txId: number;
  /** A byte string: one character per byte. */
  readonly payload: string;
}

export interface Connection {
  readonly domid: number;
  readonly watches: Watch[];
  readonly transactions: Map<number, Transaction>;
  nextTransaction: number;
  /** Replies and events that the client has not taken yet, oldest first. */
  readonly out: Message[];
}

export const newConnection = (domid: number): Connection => ({ domid, watches: [], transactions: new Map(), nextTransaction: 1, out: [] });

export function pushEvent(c: Connection, path: string, token: string): void {
  c.out.push({ type: XS_WATCH_EVENT, reqId: 0, txId: 0, payload: `${path}\0${token}\0` });
}

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
