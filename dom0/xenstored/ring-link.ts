// One domain's store ring (xs_wire.h, struct xenstore_domain_interface; docs/misc/xenstore-ring.txt): two byte rings in a page that the
// domain shares, and an event channel. A message may come and go in pieces of any size. The indices are the domain's to write: they are
// read once for each piece, and checked.
import {
  type PageView,
  xenstore_domain_interface as page_layout,
  ringDistance,
  XENSTORE_CONNECTED,
  XENSTORE_ERROR_NONE,
  XENSTORE_ERROR_PROTO,
  XENSTORE_ERROR_RINGIDX,
  XENSTORE_PAYLOAD_MAX,
  XENSTORE_RECONNECT,
  XENSTORE_RING_SIZE,
  XENSTORE_SERVER_FEATURE_ERROR,
  XENSTORE_SERVER_FEATURE_RECONNECTION,
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
const CONNECTION = at('connection');
const ERROR = at('error');
/** xs_wire.h of Xen 4.20: WATCH takes a depth. Debian's 4.17 headers have not got it. */
export const XENSTORE_SERVER_FEATURE_WATCHDEPTH = 4;
const MASK = XENSTORE_RING_SIZE - 1;

/** What a link needs of the daemon. */
export interface RingDaemon {
  handle(c: Connection, message: Message): void;
  mayAsk(c: Connection): boolean;
  first(c: Connection): Message | undefined;
  take(c: Connection): Message;
  reset(c: Connection): void;
  ignore(c: Connection): void;
}

/** Plain data: what is under way on one ring. */
export interface RingState {
  /** The message that is coming in: `count` bytes of it are here. */
  readonly received: Uint8Array;
  count: number;
  /** The encoded message that is going out, and how much of it has gone. */
  sending: Uint8Array | null;
  sent: number;
  /** Something was moved that the domain has not been told of. */
  isNotifyDue: boolean;
}

export class RingLink {
  readonly state: RingState = {
    received: new Uint8Array(HEADER_SIZE + XENSTORE_PAYLOAD_MAX),
    count: 0,
    sending: null,
    sent: 0,
    isNotifyDue: false,
  };
  private readonly page: PageView;
  private readonly connection: Connection;
  private readonly daemon: RingDaemon;
  private readonly notify: () => void;

  /** `notify`: sends the domain an event. */
  constructor(page: PageView, connection: Connection, daemon: RingDaemon, notify: () => void) {
    this.page = page;
    this.connection = connection;
    this.daemon = daemon;
    this.notify = notify;
    page.setU32(
      at('server_features'),
      XENSTORE_SERVER_FEATURE_RECONNECTION | XENSTORE_SERVER_FEATURE_ERROR | XENSTORE_SERVER_FEATURE_WATCHDEPTH,
    );
    this.start();
  }

  /** An empty ring: when the domain is introduced, again, or asks for it. What it waited for is dropped. */
  start(): void {
    const { page, state } = this;
    state.count = 0;
    state.sending = null;
    state.sent = 0;
    for (const index of [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD]) page.setU32(index, 0);
    page.setU32(ERROR, XENSTORE_ERROR_NONE);
    if (page.u32(CONNECTION) !== XENSTORE_CONNECTED) {
      page.setU32(CONNECTION, XENSTORE_CONNECTED);
      state.isNotifyDue = true;
    }
  }

  /** Handles at most one request, and sends what fits: so that domains take turns. False when there was nothing to do. */
  step(): boolean {
    if (this.page.u32(CONNECTION) === XENSTORE_RECONNECT) {
      this.daemon.reset(this.connection);
      this.start();
      return true;
    }
    if (this.connection.isIgnored) return false;
    const asked = this.receive();
    // What it sent may have ended the service.
    const answered = !this.connection.isIgnored && this.send();
    return asked || answered;
  }

  /** Tells the domain, once for all that was moved. */
  flush(): void {
    if (!this.state.isNotifyDue) return;
    this.state.isNotifyDue = false;
    this.notify();
  }

  /** Takes what lies in the request ring, up to the end of one message; true when there was anything. */
  private receive(): boolean {
    const { page, state } = this;
    if (!this.daemon.mayAsk(this.connection)) return false;
    const cons = page.u32(REQ_CONS);
    const available = ringDistance(page.u32(REQ_PROD), cons);
    if (available > XENSTORE_RING_SIZE) return this.fail(XENSTORE_ERROR_RINGIDX);
    if (available === 0) return false;
    let used = 0;
    const fill = (end: number) => {
      const count = Math.min(end - state.count, available - used);
      this.copyIn((cons + used) >>> 0, count);
      used += count;
    };
    if (state.count < HEADER_SIZE) fill(HEADER_SIZE);
    const header = state.count < HEADER_SIZE ? null : xsd_sockmsg.decode('x86_64', state.received);
    if (header !== null && header.len > XENSTORE_PAYLOAD_MAX) return this.fail(XENSTORE_ERROR_PROTO);
    const end = header === null ? Number.POSITIVE_INFINITY : HEADER_SIZE + header.len;
    if (header !== null) fill(end);
    page.setU32(REQ_CONS, (cons + used) >>> 0);
    state.isNotifyDue = true;
    if (header !== null && state.count === end) {
      state.count = 0;
      const payload = byteString(state.received.subarray(HEADER_SIZE, end));
      this.daemon.handle(this.connection, { type: header.type, reqId: header.req_id, txId: header.tx_id, payload });
    }
    return true;
  }

  /** A private copy of bytes of the ring. */
  private copyIn(from: number, count: number): void {
    const { page, state } = this;
    const start = from & MASK;
    const first = Math.min(count, XENSTORE_RING_SIZE - start);
    if (first > 0) page.readInto(REQ + start, state.received.subarray(state.count, state.count + first));
    if (first < count) page.readInto(REQ, state.received.subarray(state.count + first, state.count + count));
    state.count += count;
  }

  /** Puts into the response ring what fits. */
  private send(): boolean {
    const { page, state, connection, daemon } = this;
    let any = false;
    for (;;) {
      if (state.sending === null) {
        const next = daemon.first(connection);
        if (next === undefined) return any;
        state.sending = encodeMessage(next);
        state.sent = 0;
      }
      const prod = page.u32(RSP_PROD);
      const used = ringDistance(prod, page.u32(RSP_CONS));
      if (used > XENSTORE_RING_SIZE) return this.fail(XENSTORE_ERROR_RINGIDX);
      const count = Math.min(XENSTORE_RING_SIZE - used, state.sending.length - state.sent);
      if (count === 0) {
        // Not begun: it may still be dropped, or something else come before it.
        if (state.sent === 0) state.sending = null;
        return any;
      }
      const start = prod & MASK;
      const first = Math.min(count, XENSTORE_RING_SIZE - start);
      page.writeBytes(RSP + start, state.sending.subarray(state.sent, state.sent + first));
      if (first < count) page.writeBytes(RSP, state.sending.subarray(state.sent + first, state.sent + count));
      page.setU32(RSP_PROD, (prod + count) >>> 0);
      state.sent += count;
      state.isNotifyDue = true;
      any = true;
      if (state.sent === state.sending.length) {
        state.sending = null;
        daemon.take(connection);
      } else connection.isSending = true;
    }
  }

  /** The domain broke the protocol: nothing is read or sent any more until it starts anew. */
  private fail(error: number): true {
    const { state, page, daemon, connection } = this;
    page.setU32(ERROR, error);
    state.count = 0;
    state.sending = null;
    state.isNotifyDue = true;
    daemon.ignore(connection);
    return true;
  }
}

/** Serves rings in turn, one request of each: however much one domain asks, the others are answered in between. */
export class RingTurns {
  private readonly ready = new Set<RingLink>();
  private isServing = false;

  /** Something has happened on the ring. What is handled may produce events for any other, which then joins in. */
  serve(link: RingLink): void {
    this.ready.add(link);
    if (this.isServing) return;
    this.isServing = true;
    try {
      while (this.ready.size > 0)
        for (const next of [...this.ready]) {
          if (!this.ready.has(next) || next.step()) continue;
          this.ready.delete(next);
          next.flush();
        }
    } finally {
      this.isServing = false;
    }
  }

  /** The ring is closed. */
  remove(link: RingLink): void {
    this.ready.delete(link);
  }
}
