// One domain's store ring (xs_wire.h, struct xenstore_domain_interface): two byte rings in a page that the domain shares, and an event
// channel. A message may come and go in pieces of any size. The indices are the domain's to write: they are read once, and checked.
import {
  type PageView,
  xenstore_domain_interface as page_layout,
  ringDistance,
  XENSTORE_CONNECTED,
  XENSTORE_ERROR_PROTO,
  XENSTORE_ERROR_RINGIDX,
  XENSTORE_PAYLOAD_MAX,
  XENSTORE_RING_SIZE,
  XENSTORE_SERVER_FEATURE_ERROR,
  xsd_sockmsg,
} from '@ringworld/abi';
import { byteString, type Connection, encodeMessage, HEADER_SIZE, type Message } from './connection.ts';

const at = (field: Parameters<typeof page_layout.offset>[0]): number => page_layout.offset(field, 'x86_64');
const REQ = at('req');
const RSP = at('rsp');
const REQ_CONS = at('req_cons');
const REQ_PROD = at('req_prod');
const RSP_CONS = at('rsp_cons');
const RSP_PROD = at('rsp_prod');
const MASK = XENSTORE_RING_SIZE - 1;

/** A client that does not take its replies is not served further: this many messages may wait. */
const MAX_WAITING = 64;

/** Plain data: what is under way on one ring. */
export interface RingState {
  /** Bytes of a message that has not come in whole. */
  received: Uint8Array;
  /** The encoded message that is going out, and how much of it has gone. */
  sending: Uint8Array | null;
  sent: number;
  /** The client broke the protocol: nothing is read any more (xenstored's ignore_connection). */
  ignored: boolean;
}

export class RingLink {
  readonly state: RingState = { received: new Uint8Array(0), sending: null, sent: 0, ignored: false };
  private readonly page: PageView;
  private readonly connection: Connection;
  private readonly handle: (message: Message) => void;
  private readonly notify: () => void;
  private isServing = false;

  constructor(page: PageView, connection: Connection, handle: (message: Message) => void, notify: () => void) {
    this.page = page;
    this.connection = connection;
    this.handle = handle;
    this.notify = notify;
    page.setU32(at('server_features'), XENSTORE_SERVER_FEATURE_ERROR);
    page.setU32(at('connection'), XENSTORE_CONNECTED);
  }

  /** The domain sent an event, or there is output for it. */
  serve(): void {
    // What is handled may produce events for this very domain.
    if (this.isServing) return;
    this.isServing = true;
    let touched = false;
    for (;;) {
      const moved = this.receive();
      const answered = this.answer();
      const gone = this.send();
      if (!moved && !answered && !gone) break;
      touched ||= moved || gone;
    }
    this.isServing = false;
    if (touched) this.notify();
  }

  private get isFull(): boolean {
    return this.connection.out.length >= MAX_WAITING;
  }

  /** Takes what lies in the request ring; true when there was anything. */
  private receive(): boolean {
    const { page, state } = this;
    if (state.ignored || this.isFull || state.received.length >= HEADER_SIZE + XENSTORE_PAYLOAD_MAX) return false;
    const cons = page.u32(REQ_CONS);
    const available = ringDistance(page.u32(REQ_PROD), cons);
    if (available === 0) return false;
    if (available > XENSTORE_RING_SIZE) {
      this.ignore(XENSTORE_ERROR_RINGIDX);
      return false;
    }
    const start = cons & MASK;
    const first = Math.min(available, XENSTORE_RING_SIZE - start);
    const received = new Uint8Array(state.received.length + available);
    received.set(state.received);
    received.set(page.bytes(REQ + start, first), state.received.length);
    if (first < available) received.set(page.bytes(REQ, available - first), state.received.length + first);
    state.received = received;
    page.setU32(REQ_CONS, (cons + available) >>> 0);
    return true;
  }

  /** Handles the whole messages that have come in. */
  private answer(): boolean {
    const { state } = this;
    let any = false;
    while (!state.ignored && !this.isFull && state.received.length >= HEADER_SIZE) {
      const header = xsd_sockmsg.decode('x86_64', state.received);
      if (header.len > XENSTORE_PAYLOAD_MAX) {
        this.ignore(XENSTORE_ERROR_PROTO);
        return any;
      }
      const end = HEADER_SIZE + header.len;
      if (state.received.length < end) break;
      const payload = byteString(state.received.subarray(HEADER_SIZE, end));
      state.received = state.received.slice(end);
      this.handle({ type: header.type, reqId: header.req_id, txId: header.tx_id, payload });
      any = true;
    }
    return any;
  }

  /** Puts into the response ring what fits. */
  private send(): boolean {
    const { page, state, connection } = this;
    let any = false;
    for (;;) {
      if (state.sending === null) {
        const next = connection.out.shift();
        if (next === undefined) return any;
        state.sending = encodeMessage(next);
        state.sent = 0;
      }
      const prod = page.u32(RSP_PROD);
      const used = ringDistance(prod, page.u32(RSP_CONS));
      if (used > XENSTORE_RING_SIZE) {
        if (!state.ignored) this.ignore(XENSTORE_ERROR_RINGIDX);
        return any;
      }
      const count = Math.min(XENSTORE_RING_SIZE - used, state.sending.length - state.sent);
      if (count === 0) return any;
      const start = prod & MASK;
      const first = Math.min(count, XENSTORE_RING_SIZE - start);
      page.writeBytes(RSP + start, state.sending.subarray(state.sent, state.sent + first));
      if (first < count) page.writeBytes(RSP, state.sending.subarray(state.sent + first, state.sent + count));
      page.setU32(RSP_PROD, (prod + count) >>> 0);
      state.sent += count;
      any = true;
      if (state.sent === state.sending.length) state.sending = null;
    }
  }

  private ignore(error: number): void {
    this.state.ignored = true;
    this.page.setU32(at('error'), error);
  }
}
