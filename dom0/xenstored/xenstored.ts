// The store's daemon without its transports: connections, requests, watches, domains that come and go (xenstored_core.c,
// process_message(); xenstored_domain.c). Everything it knows is plain data, so that it can be written away and read back.
import { DOMID_SELF, XENSTORE_PAYLOAD_MAX, XS_ERROR, XS_WATCH_EVENT } from '@ringworld/abi';
import { type Access, type Book, forgetTransaction, writeNode } from './access.ts';
import { auditStore } from './audit.ts';
import { commitTransaction } from './commit.ts';
import { type Connection, type Message, newConnection } from './connection.ts';
import { control } from './control.ts';
import { type DomainRecord, Domains } from './domains.ts';
import { XsError } from './errors.ts';
import { initialStore } from './initial-store.ts';
import { type Actor, listTree, removeTree } from './nodes.ts';
import { type Cause, type Clock, Outbox } from './outbox.ts';
import { canonical, domainPath, INTRODUCE_DOMAIN, isSpecial, RELEASE_DOMAIN, watchPath } from './paths.ts';
import { accessOf, isPrivileged, OWNER, ownerOf, type Perms, READ, WRITE } from './perms.ts';
import { DEFAULT_QUOTAS, type Quotas } from './quotas.ts';
import { REQUESTS, type Request, type RequestTarget, requestName } from './requests.ts';
import { newTransaction, type Transaction } from './transaction.ts';
import { type Change, fireWatches, type Watch, WatchIndex, watchBytes, watchedAs, watchKey } from './watches.ts';

/** How the daemon reaches the rings of domains, and asks Xen about domains; domain-rings.ts is the real one. */
export interface DomainLinks {
  /** Connects the ring of a domain that was just introduced. Throws XsError when that cannot be. */
  open(connection: Connection, port: number): void;
  close(connection: Connection): void;
  /** The domain was introduced once more: its ring starts anew, with this event channel. */
  reopen?(connection: Connection, port: number): void;
  /** Null: there is no such domain. Without it every domain is taken to exist and to run. */
  domainInfo?(domid: number): { readonly isShutdown: boolean; readonly isDying: boolean } | null;
}

/** Called with every request and its reply: `ringworld trace`, tests. */
export type XsTrace = (domid: number, name: string, request: Message, reply: Message) => void;

export interface XenstoredOptions {
  readonly quotas?: Readonly<Quotas>;
  readonly clock?: Clock;
  /** Called for each request with its reply, and for each event. */
  readonly count?: () => void;
}

/** A class, since one is made for each request. */
class ClientActor implements Actor {
  readonly domid: number;
  readonly target: number | null;
  readonly book: Book;
  readonly transaction: Transaction | null;
  private readonly daemon: Xenstored;
  private readonly cause: Cause | null;

  constructor(daemon: Xenstored, who: Connection, transaction: Transaction | null, cause: Cause | null) {
    this.domid = who.domid;
    this.target = who.target;
    this.book = daemon.book;
    this.transaction = transaction;
    this.daemon = daemon;
    this.cause = cause;
  }

  changed(change: Change): void {
    this.daemon.fire(change, this.cause);
  }
}

export class Xenstored implements RequestTarget {
  readonly book: Book;
  readonly connections = new Map<number, Connection>();
  readonly outbox: Outbox;
  readonly watches = new WatchIndex();
  trace: XsTrace | null = null;
  /** Called with every event that is sent to a watcher. */
  traceEvent: ((domid: number, event: Message) => void) | null = null;
  /** The daemon's own messages. */
  log: (line: string) => void = () => {};
  private readonly links: DomainLinks;
  private readonly count: () => void;
  /** Called when a connection has something to take, or may ask again. */
  private readonly listeners = new Map<Connection, () => void>();
  private readonly rings = new Map<number, Connection>();
  private readonly dirty = new Set<Connection>();
  private nextConnection = 1;
  private isLogging = false;

  constructor(links: DomainLinks, options: XenstoredOptions = {}) {
    this.links = links;
    this.count = options.count ?? (() => {});
    const quotas = { ...DEFAULT_QUOTAS, ...options.quotas };
    const domains = new Domains(quotas, (domid) => links.domainInfo === undefined || links.domainInfo(domid) !== null);
    domains.warn = (line) => this.log(line);
    domains.relieved = (domid) => {
      const ring = this.rings.get(domid);
      if (ring !== undefined) this.dirty.add(ring);
    };
    this.book = { store: initialStore(domains), domains, quotas };
    this.outbox = new Outbox(domains, this.connections, options.clock ?? null, {
      queued: (c) => this.dirty.add(c),
      expired: () => this.wake(null),
    });
  }

  /** A client of domain `domid`; `listener` is called when something waits for it. */
  connect(domid: number, listener: () => void): Connection {
    const { domains, store } = this.book;
    if (!domains.records.has(domid)) domains.add(domid, ++store.generation);
    const connection = newConnection(this.nextConnection++, domid);
    this.connections.set(connection.id, connection);
    this.listeners.set(connection, listener);
    return connection;
  }

  setListener(connection: Connection, listener: () => void): void {
    this.listeners.set(connection, listener);
  }

  disconnect(connection: Connection): void {
    this.outbox.forget(connection);
    this.resetWatches(connection);
    this.connections.delete(connection.id);
    this.listeners.delete(connection);
    this.dirty.delete(connection);
    this.wake(null);
  }

  /** Whether the client's next request may be handled now; its listener is called when that changes. */
  mayAsk(connection: Connection): boolean {
    return !connection.isIgnored && this.book.domains.mayAsk(connection.domid);
  }

  /** The oldest message that waits for the client. */
  first(connection: Connection): Message | undefined {
    return connection.out[0];
  }

  /** The client has the message that waited at place `at`. */
  take(connection: Connection, at = 0): Message {
    const message = this.outbox.take(connection, at);
    this.wake(connection);
    return message;
  }

  /** As if the client had just come (domain_conn_reset()). */
  reset(connection: Connection): void {
    this.resetWatches(connection);
    this.outbox.clear(connection);
    connection.isIgnored = false;
    this.wake(connection);
  }

  /** The client broke the protocol: it stays, so that its end is noticed, but nothing is done for it (ignore_connection()). */
  ignore(connection: Connection): void {
    this.reset(connection);
    connection.isIgnored = true;
  }

  /** Answers one message: the reply, and events for the same client, are queued for it in their order. */
  handle(connection: Connection, message: Message): void {
    const kind = REQUESTS[message.type];
    const cause = this.outbox.begin(connection);
    const afterwards: (() => void)[] = [];
    let { type } = message;
    let payload: string;
    try {
      if (kind === undefined) throw new XsError('ENOSYS');
      if (kind.privileged && !isPrivileged(connection)) throw new XsError('EACCES');
      const txId = kind.noTransaction ? 0 : message.txId;
      payload = kind.handle({
        connection,
        actor: this.actor(connection, txId, cause),
        payload: message.payload,
        txId,
        daemon: this,
        afterwards,
      });
      if (payload.length > XENSTORE_PAYLOAD_MAX) throw new XsError('E2BIG');
    } catch (e) {
      if (!(e instanceof XsError)) throw e;
      type = XS_ERROR;
      payload = `${e.code}\0`;
    }
    let reply: Message = { type, reqId: message.reqId, txId: message.txId, payload };
    if (!this.outbox.reply(connection, cause, reply)) {
      reply = { ...reply, type: XS_ERROR, payload: 'ENOMEM\0' };
      this.outbox.reply(connection, cause, reply);
    }
    for (const action of afterwards) action();
    this.count();
    this.trace?.(connection.domid, requestName(message.type), message, reply);
    if (this.isLogging) this.logMessages(connection, message, reply);
    this.wake(connection);
  }

  // Domains.

  introduce(domid: number, port: number): void {
    const ring = this.rings.get(domid);
    if (ring !== undefined) {
      if (this.links.reopen === undefined) throw new XsError('EINVAL');
      this.reset(ring);
      this.links.reopen(ring, port);
      return;
    }
    if (domid === 0) throw new XsError('EINVAL');
    const connection = this.connect(domid, () => {});
    try {
      this.links.open(connection, port);
    } catch (e) {
      this.disconnect(connection);
      throw e;
    }
    this.rings.set(domid, connection);
    this.book.domains.of(domid).introduced = true;
    this.fireSpecial(INTRODUCE_DOMAIN);
  }

  /** The domain has gone: its ring, its watches, transactions and nodes go too. Nothing is done if that has been noticed already. */
  release(domid: number): void {
    if (domid !== 0 && this.isIntroduced(domid)) this.removeDomain(domid);
  }

  resume(domid: number): void {
    this.introducedRecord(domid).shutdown = false;
  }

  setTarget(domid: number, target: number): void {
    this.introducedRecord(domid);
    this.introducedRecord(target);
    const ring = this.rings.get(domid);
    // dom0, which may do everything anyway.
    if (ring !== undefined) ring.target = target;
  }

  isIntroduced(domid: number): boolean {
    return domid === DOMID_SELF || this.book.domains.records.get(domid)?.introduced === true;
  }

  /** Some domain has shut down, is dying, or has gone (VIRQ_DOM_EXC, check_domains()). */
  domainStopped(): void {
    const info = this.links.domainInfo?.bind(this.links);
    if (info === undefined) {
      this.fireSpecial(RELEASE_DOMAIN);
      return;
    }
    let isNews = false;
    for (const record of [...this.book.domains.records.values()]) {
      if (record.domid === 0) continue;
      const now = info(record.domid);
      if (now === null || (now.isDying && record.introduced)) this.removeDomain(record.domid);
      else if (record.introduced && now.isShutdown && !record.shutdown) {
        record.shutdown = true;
        isNews = true;
      }
    }
    if (isNews) this.fireSpecial(RELEASE_DOMAIN);
  }

  checkPerms(perms: Perms): Perms {
    const { domains, store } = this.book;
    const checked = perms.map((p) => (domains.know(p.domid, store) === null ? { ...p, ignored: true as const } : p));
    if (checked[0]?.ignored) throw new XsError('ENOENT');
    return checked;
  }

  setSpecialPerms(actor: Actor, name: string, perms: Perms): void {
    const { special } = this.book.store;
    const before = special.get(name);
    if (before === undefined) throw new XsError('EINVAL');
    const needed = WRITE | OWNER;
    if ((accessOf(before, actor) & needed) !== needed) throw new XsError('EACCES');
    special.set(name, perms);
  }

  // Watches and transactions of a client.

  addWatch(r: Request, given: string, token: string, depth: number): void {
    const c = r.connection;
    const { quotas, domains } = this.book;
    const path = watchPath(c.domid, given, quotas.pathMax);
    const key = watchKey(path, token);
    if (c.watches.has(key)) throw new XsError('EEXIST');
    const record = domains.of(c.domid);
    // One more than the quota, as in xenstored.
    if (!isPrivileged(c) && record.watches > quotas.watches) throw new XsError('E2BIG');
    const isRelative = !given.startsWith('/') && !isSpecial(given);
    const relativeTo = isRelative ? domainPath(c.domid) : null;
    const watch: Watch = { path, token, relativeTo, depth, connection: c.id, order: this.watches.nextOrder() };
    if (!domains.addMemory(c.domid, watchBytes(watch), true)) throw new XsError('ENOMEM');
    record.watches++;
    c.watches.set(key, watch);
    this.watches.add(watch);
    r.afterwards.push(() => this.sendEvent(c, null, watch, path));
  }

  removeWatch(c: Connection, given: string, token: string): void {
    const watch = c.watches.get(watchKey(canonical(c.domid, given), token));
    if (watch === undefined) throw new XsError('ENOENT');
    this.dropWatch(c, watch);
  }

  resetWatches(c: Connection): void {
    for (const w of [...c.watches.values()]) this.dropWatch(c, w);
    for (const t of c.transactions.values()) forgetTransaction(this.book, c.domid, t);
    c.transactions.clear();
  }

  startTransaction(c: Connection): number {
    const { store, quotas } = this.book;
    if (!isPrivileged(c) && c.transactions.size > quotas.transactions) throw new XsError('ENOSPC');
    let id = c.nextTransaction;
    while (id === 0 || c.transactions.has(id)) id = (id + 1) >>> 0;
    c.nextTransaction = (id + 1) >>> 0;
    c.transactions.set(id, newTransaction(id, ++store.generation));
    return id;
  }

  endTransaction(r: Request, isWanted: boolean): void {
    const { connection: c, actor } = r;
    const t = actor.transaction;
    if (t === null) throw new XsError('ENOENT');
    c.transactions.delete(t.id);
    forgetTransaction(this.book, c.domid, t);
    if (isWanted) commitTransaction(this.book, c, t, (change) => actor.changed(change));
  }

  control(command: string, args: readonly string[]): string {
    const text = control(
      {
        quotas: this.book.quotas,
        domains: this.book.domains,
        transactionsOf: (domid) => this.rings.get(domid)?.transactions.size ?? 0,
        log: (line) => this.log(line),
        setLogging: (on) => {
          this.isLogging = on;
        },
        check: () => auditStore(this),
        quotaChanged: () => {
          for (const ring of this.rings.values()) this.dirty.add(ring);
        },
      },
      command,
      args,
    );
    return `${text}\0`;
  }

  private introducedRecord(domid: number): DomainRecord {
    const record = this.book.domains.records.get(domid);
    if (record === undefined || !record.introduced) throw new XsError('ENOENT');
    return record;
  }

  /** destroy_domain(). */
  private removeDomain(domid: number): void {
    const { book, links } = this;
    const { store, domains } = book;
    const record = domains.of(domid);
    const ring = this.rings.get(domid);
    for (const c of [...this.connections.values()]) {
      if (c.domid === domid) this.disconnect(c);
      else if (c.target === domid) c.target = null;
    }
    const nobody: Access = { domid: 0, target: null, transaction: null };
    const actor: Actor = { ...nobody, book, changed: (change) => this.fire(change, null) };
    // As long as it owns any; what lies below its nodes goes with them.
    for (const { path, node } of listTree(book, '/')) {
      if (record.nodes === 0) break;
      if (ownerOf(node.perms) !== domid) continue;
      if (path !== '/') removeTree(actor, path);
      // Who gave the root away gets it back.
      else writeNode(book, nobody, path, { ...node, perms: [{ domid: 0, access: 'n' }, ...node.perms.slice(1)] }, false);
    }
    for (const [name, perms] of store.special)
      store.special.set(
        name,
        perms.map((p, i) => (i === 0 && p.domid === domid ? { ...p, domid: 0 } : p)).filter((p, i) => i === 0 || p.domid !== domid),
      );
    domains.records.delete(domid);
    this.rings.delete(domid);
    if (record.introduced) {
      if (ring !== undefined) links.close(ring);
      this.fireSpecial(RELEASE_DOMAIN);
    }
    this.wake(null);
  }

  private dropWatch(c: Connection, w: Watch): void {
    const { domains } = this.book;
    domains.of(c.domid).watches--;
    domains.addMemory(c.domid, -watchBytes(w), false);
    c.watches.delete(watchKey(w.path, w.token));
    this.watches.remove(w);
  }

  private actor(connection: Connection, txId: number, cause: Cause | null): Actor {
    const transaction = txId === 0 ? null : connection.transactions.get(txId);
    if (transaction === undefined) throw new XsError('ENOENT');
    return new ClientActor(this, connection, transaction, cause);
  }

  /** Tells those who watch. */
  fire(change: Change, cause: Cause | null): void {
    fireWatches(this.watches, this.connections, change, (c, w) => this.sendEvent(c, cause, w, change.path));
  }

  private sendEvent(c: Connection, cause: Cause | null, w: Watch, path: string): void {
    const event = this.outbox.event(c, cause, watchedAs(w, path), w.token);
    if (event === null) return;
    this.count();
    this.traceEvent?.(c.domid, event);
  }

  private fireSpecial(path: string): void {
    const perms = this.book.store.special.get(path) ?? [];
    this.fire({ path, exact: true, mayHear: (who) => (accessOf(perms, who) & READ) !== 0 }, null);
    this.wake(null);
  }

  /** Tells every client but the one that is being served that something waits for it. */
  private wake(served: Connection | null): void {
    for (const c of [...this.dirty]) {
      if (!this.dirty.delete(c) || c === served) continue;
      this.listeners.get(c)?.();
    }
  }

  private logMessages(c: Connection, request: Message, reply: Message): void {
    const line = (way: string, m: Message, name: string) => this.log(`${way} ${c.domid} ${name} (${m.payload.replaceAll('\0', ' ')})`);
    line('IN', request, requestName(request.type));
    line('OUT', reply, reply.type === XS_ERROR ? 'ERROR' : reply.type === XS_WATCH_EVENT ? 'WATCH_EVENT' : requestName(reply.type));
  }
}
