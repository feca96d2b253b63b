// The store's daemon without its transports: connections, requests, watches, domains that come and go. Everything it knows is plain
// data (connections and tree), so that it can be written away and read back.
import { XENSTORE_PAYLOAD_MAX, XS_ERROR } from '@ringworld/abi';
import { type Connection, type Message, newConnection } from './connection.ts';
import { XsError } from './errors.ts';
import type { Actor } from './nodes.ts';
import { INTRODUCE_DOMAIN, RELEASE_DOMAIN } from './paths.ts';
import { DEFAULT_QUOTAS, type Quotas } from './quotas.ts';
import { type DomainRequests, REQUESTS } from './requests.ts';
import { directView, initialStore, type StoreData, type StoreView } from './store.ts';
import { commit, transactionView } from './transaction.ts';
import { type Change, fireWatches } from './watches.ts';

/** How the daemon reaches the rings of domains; ring-link.ts is the real one. */
export interface DomainLinks {
  /** Connects the ring of a domain that was just introduced. */
  open(connection: Connection, port: number): void;
  close(connection: Connection): void;
}

/** Called with every request and its reply: `ringworld trace`, tests. */
export type XsTrace = (domid: number, name: string, request: Message, reply: Message) => void;

export class Xenstored {
  readonly store: StoreData = initialStore();
  readonly view: StoreView = directView(this.store);
  readonly connections: Connection[] = [];
  readonly quotas: Quotas;
  trace: XsTrace | null = null;
  /** Called when a connection has something to take that it did not ask for. */
  private readonly listeners = new Map<Connection, () => void>();
  private readonly introduced = new Map<number, Connection>();
  private readonly links: DomainLinks;
  private readonly domainRequests: DomainRequests;

  constructor(links: DomainLinks, quotas: Quotas = DEFAULT_QUOTAS) {
    this.links = links;
    this.quotas = quotas;
    this.domainRequests = {
      isIntroduced: (domid) => domid === 0 || this.introduced.has(domid),
      introduce: (domid, _gfn, port) => this.introduce(domid, port),
      release: (domid) => this.release(domid),
      resume: () => {},
    };
  }

  /** A client of domain `domid`; `hasOutput` is called when events wait in connection.out. */
  connect(domid: number, hasOutput: () => void): Connection {
    const connection = newConnection(domid);
    this.connections.push(connection);
    this.listeners.set(connection, hasOutput);
    return connection;
  }

  disconnect(connection: Connection): void {
    const at = this.connections.indexOf(connection);
    if (at >= 0) this.connections.splice(at, 1);
    this.listeners.delete(connection);
  }

  /** A domain's ring goes into service. Introducing it again is no error (xenstored then only fires the watch). */
  introduce(domid: number, port: number): void {
    if (!this.introduced.has(domid)) {
      const connection = this.connect(domid, () => {});
      this.introduced.set(domid, connection);
      this.links.open(connection, port);
    }
    this.fireSpecial(INTRODUCE_DOMAIN);
  }

  setListener(connection: Connection, hasOutput: () => void): void {
    this.listeners.set(connection, hasOutput);
  }

  /** The domain has gone: its ring, its watches and transactions go too. */
  release(domid: number): void {
    const connection = this.introduced.get(domid);
    if (connection === undefined) throw new XsError('ENOENT');
    this.introduced.delete(domid);
    this.links.close(connection);
    this.disconnect(connection);
    this.fireSpecial(RELEASE_DOMAIN);
  }

  /** The domain has shut down but is still there: backends are told by the same watch. */
  domainStopped(): void {
    this.fireSpecial(RELEASE_DOMAIN);
  }

  /** Answers one message: the reply, and events for the same client, are queued in connection.out in their order. */
  handle(connection: Connection, message: Message): void {
    const kind = REQUESTS[message.type];
    const afterwards: (() => void)[] = [];
    let reply: { type: number; payload: string };
    try {
      if (kind === undefined) throw new XsError('ENOSYS');
      if (kind.privileged && connection.domid !== 0) throw new XsError('EACCES');
      const txId = kind.noTransaction ? 0 : message.txId;
      const payload = kind.handle({
        connection,
        actor: this.actor(connection, txId),
        payload: message.payload,
        txId,
        afterwards: (action) => afterwards.push(action),
        domains: this.domainRequests,
        endTransaction: (id, ok) => this.endTransaction(connection, id, ok),
      });
      if (payload.length > XENSTORE_PAYLOAD_MAX) throw new XsError('E2BIG');
      reply = { type: message.type, payload };
    } catch (e) {
      if (!(e instanceof XsError)) throw e;
      reply = { type: XS_ERROR, payload: `${e.code}\0` };
    }
    const answer: Message = { ...reply, reqId: message.reqId, txId: message.txId };
    connection.out.push(answer);
    for (const action of afterwards) action();
    this.trace?.(connection.domid, kind?.name ?? `type ${message.type}`, message, answer);
    this.wake(connection);
  }

  private actor(connection: Connection, txId: number): Actor {
    if (txId === 0) return this.actorFor(connection.domid, this.view, (c) => this.fire(c));
    const t = connection.transactions.get(txId);
    if (t === undefined) throw new XsError('ENOENT');
    return this.actorFor(connection.domid, transactionView(this.store, t), (c) => t.events.push(c));
  }

  private actorFor(domid: number, view: StoreView, changed: (c: Change) => void): Actor {
    return { domid, view, quotas: this.quotas, changed };
  }

  private endTransaction(connection: Connection, id: number, ok: boolean): boolean {
    const t = connection.transactions.get(id);
    if (t === undefined) throw new XsError('ENOENT');
    connection.transactions.delete(id);
    if (!ok) return true;
    if (!commit(this.store, t)) return false;
    for (const change of t.events) this.fire(change);
    return true;
  }

  private fire(change: Change): void {
    fireWatches(this.connections, change);
  }

  private fireSpecial(name: string): void {
    this.fire({ path: name, exact: true, perms: this.view.get(name)!.perms });
    this.wake(null);
  }

  /** Tells every connection but the one that is being served that it has output. */
  private wake(served: Connection | null): void {
    for (const c of [...this.connections]) if (c !== served && c.out.length > 0) this.listeners.get(c)?.();
  }
}
