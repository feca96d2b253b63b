// Messages on their way to clients, and what they cost (xenstored_core.c, send_reply(), send_event(), free_buffered_data()). A guest that
// does not take its replies is not served further; and a request stays outstanding until the events that it caused have been taken by
// those who watch, so that nobody can flood others with events faster than they take them. An event that a guest leaves lying is dropped
// after a while, or it could hold up whoever caused it for ever.
import { XENSTORE_PAYLOAD_MAX, XS_WATCH_EVENT } from '@ringworld/abi';
import { type Connection, HEADER_SIZE, type Message, type WaitingMessage } from './connection.ts';
import type { Domains } from './domains.ts';
import { isSpecial } from './paths.ts';
import { isPrivileged } from './perms.ts';
import { WATCH_EVENT_TIMEOUT_NS } from './quotas.ts';

/** A request of a guest's that has caused events. Plain data. */
export interface CausingRequest {
  readonly domid: number;
  readonly connection: number;
  /** How many of its events wait. */
  events: number;
  isAnswerTaken: boolean;
}

/** A guest's request that is being handled. */
export interface Cause {
  readonly request: number;
  readonly client: Connection;
}

/** Virtual time. */
export interface Clock {
  now(): number;
  after(ns: number, fn: () => void): () => void;
}

export interface OutboxHooks {
  /** Something waits for the client. */
  queued(c: Connection): void;
  /** Events were dropped; somebody may go on. */
  expired(): void;
}

/** Replies up to this size are sent whatever the quota says, so that an error can always be told (DEFAULT_BUFFER_SIZE). */
const SMALL_REPLY = 16;

export const messageBytes = (m: Message): number => HEADER_SIZE + m.payload.length;

export class Outbox {
  readonly requests = new Map<number, CausingRequest>();
  private nextRequest = 1;
  private readonly domains: Domains;
  private readonly clock: Clock | null;
  private readonly connections: ReadonlyMap<number, Connection>;
  private readonly hooks: OutboxHooks;
  private isTimerSet = false;

  constructor(domains: Domains, connections: ReadonlyMap<number, Connection>, clock: Clock | null, hooks: OutboxHooks) {
    this.domains = domains;
    this.connections = connections;
    this.clock = clock;
    this.hooks = hooks;
  }

  /** Names a request that is going to be handled. dom0's count for nothing. */
  begin(c: Connection): Cause | null {
    return isPrivileged(c) ? null : { request: this.nextRequest++, client: c };
  }

  /** False when the reply is too much for the client's memory quota. */
  reply(c: Connection, cause: Cause | null, m: Message): boolean {
    if (!this.domains.addMemory(c.domid, messageBytes(m), m.payload.length > SMALL_REPLY)) return false;
    c.out.push({ ...m, request: cause?.request ?? 0, expires: Number.POSITIVE_INFINITY });
    if (cause !== null) this.domains.addOutstanding(c.domid, 1);
    this.hooks.queued(c);
    return true;
  }

  /** `cause`: the guest's request that it follows from. Null when it is not sent: too long, waiting already, or too much for the client. */
  event(c: Connection, cause: Cause | null, path: string, token: string): Message | null {
    const payload = `${path}\0${token}\0`;
    if (payload.length > XENSTORE_PAYLOAD_MAX) return null;
    // A domain that comes and goes while another waits is news each time.
    const isSingle = !isSpecial(path);
    if (isSingle && c.events.has(payload)) return null;
    const expires = isPrivileged(c) || this.clock === null ? Number.POSITIVE_INFINITY : this.clock.now() + WATCH_EVENT_TIMEOUT_NS;
    const m: WaitingMessage = { type: XS_WATCH_EVENT, reqId: 0, txId: 0, payload, request: cause?.request ?? 0, expires };
    if (!this.domains.addMemory(c.domid, messageBytes(m), true)) return null;
    if (cause !== null) this.causing(cause).events++;
    if (isSingle) c.events.add(payload);
    c.out.push(m);
    this.setTimer(expires);
    this.hooks.queued(c);
    return m;
  }

  /** The client has message `at` whole. */
  take(c: Connection, at = 0): Message {
    const m = at === 0 ? c.out.shift() : c.out.splice(at, 1)[0];
    if (m === undefined) throw new Error('xenstored: no message waits');
    if (at === 0) c.isSending = false;
    this.done(c, m);
    return m;
  }

  /** Everything that waits is dropped. */
  clear(c: Connection): void {
    const dropped = c.out;
    c.out = [];
    c.isSending = false;
    for (const m of dropped) this.done(c, m);
  }

  /** The client has gone: what its requests caused is nobody's any more. */
  forget(c: Connection): void {
    this.clear(c);
    for (const [id, r] of this.requests) if (r.connection === c.id) this.requests.delete(id);
  }

  private causing(cause: Cause): CausingRequest {
    let r = this.requests.get(cause.request);
    if (r === undefined) {
      r = { domid: cause.client.domid, connection: cause.client.id, events: 0, isAnswerTaken: false };
      this.requests.set(cause.request, r);
    }
    return r;
  }

  private done(c: Connection, m: WaitingMessage): void {
    this.domains.addMemory(c.domid, -messageBytes(m), false);
    const r = this.requests.get(m.request);
    if (m.type !== XS_WATCH_EVENT) {
      if (m.request === 0) return;
      if (r === undefined || r.events === 0) this.close(m.request, c.domid);
      else r.isAnswerTaken = true;
      return;
    }
    c.events.delete(m.payload);
    if (r === undefined) return;
    r.events--;
    if (r.events === 0 && r.isAnswerTaken) this.close(m.request, r.domid);
  }

  private close(request: number, domid: number): void {
    this.requests.delete(request);
    this.domains.addOutstanding(domid, -1);
  }

  private setTimer(due: number): void {
    if (this.isTimerSet || this.clock === null || due === Number.POSITIVE_INFINITY) return;
    this.isTimerSet = true;
    this.clock.after(due - this.clock.now(), () => this.expire());
  }

  private expire(): void {
    this.isTimerSet = false;
    const now = this.clock?.now() ?? 0;
    let next = Number.POSITIVE_INFINITY;
    for (const c of this.connections.values()) {
      const dropped: WaitingMessage[] = [];
      const kept = c.out.filter((m, i) => {
        const isOver = m.expires <= now && !(i === 0 && c.isSending);
        if (isOver) dropped.push(m);
        else next = Math.min(next, Math.max(m.expires, now + 1e6));
        return !isOver;
      });
      if (dropped.length === 0) continue;
      c.out = kept;
      for (const m of dropped) this.done(c, m);
    }
    this.setTimer(next);
    this.hooks.expired();
  }
}
