// Is the store in order? Everything that is kept twice is counted again: what domains are charged for against what there is, watches
// against their index, the tree against itself. `xenstore-control check`, and the fuzzers after each step (xenstored's check_store() does the
// tree alone).
import { XS_WATCH_EVENT } from '@ringworld/abi';
import type { Book } from './access.ts';
import type { Connection } from './connection.ts';
import { listTree } from './nodes.ts';
import { messageBytes, type Outbox } from './outbox.ts';
import { baseName, parentOf } from './paths.ts';
import { ownerOf } from './perms.ts';
import { listBytes, nodeSize } from './store.ts';
import { privateNameBytes } from './transaction.ts';
import { type WatchIndex, watchBytes } from './watches.ts';

interface Audited {
  readonly book: Book;
  readonly connections: ReadonlyMap<number, Connection>;
  readonly outbox: Outbox;
  readonly watches: WatchIndex;
}

interface Sums {
  nodes: number;
  memory: number;
  watches: number;
  outstanding: number;
}

/** One line for each thing that is wrong. */
export function auditStore(daemon: Audited): string[] {
  const wrong: string[] = [];
  const sums = new Map<number, Sums>();
  const of = (domid: number): Sums => {
    let s = sums.get(domid);
    if (s === undefined) {
      s = { nodes: 0, memory: 0, watches: 0, outstanding: 0 };
      sums.set(domid, s);
    }
    return s;
  };
  const { book, connections, outbox } = daemon;
  auditTree(book, wrong);
  for (const [path, node] of book.store.nodes) {
    const s = of(ownerOf(node.perms));
    s.nodes++;
    s.memory += nodeSize(node) + path.length;
  }
  let watches = 0;
  for (const c of connections.values()) {
    const s = of(c.domid);
    for (const w of c.watches.values()) {
      watches++;
      s.watches++;
      s.memory += watchBytes(w);
      if (!daemon.watches.has(w)) wrong.push(`watch ${w.path} of domain ${c.domid} is not in the index`);
    }
    for (const t of c.transactions.values())
      for (const [path, { node }] of t.accessed) if (node !== null) s.memory += nodeSize(node) + privateNameBytes(t, path);
    for (const m of c.out) {
      s.memory += messageBytes(m);
      if (m.request !== 0 && m.type !== XS_WATCH_EVENT) s.outstanding++;
    }
    if (!book.domains.records.has(c.domid)) wrong.push(`a connection of domain ${c.domid}, which is gone`);
    if (c.out.length < c.events.size) wrong.push(`domain ${c.domid}: more events than messages`);
  }
  for (const r of outbox.requests.values()) {
    if (r.isAnswerTaken) of(r.domid).outstanding++;
    if (r.isAnswerTaken && r.events === 0) wrong.push(`a request of domain ${r.domid} waits for nothing`);
    if (!connections.has(r.connection)) wrong.push(`a request of connection ${r.connection}, which is gone`);
  }
  if (daemon.watches.count() !== watches) wrong.push(`${daemon.watches.count()} watches in the index, clients have ${watches}`);
  for (const [domid, record] of book.domains.records) {
    const s = of(domid);
    for (const key of ['nodes', 'memory', 'watches', 'outstanding'] as const)
      if (record[key] !== s[key]) wrong.push(`domain ${domid} is charged for ${record[key]} ${key} and has ${s[key]}`);
  }
  for (const domid of sums.keys()) if (!book.domains.records.has(domid)) wrong.push(`domain ${domid} is not known but owns something`);
  return wrong;
}

function auditTree(book: Book, wrong: string[]): void {
  const { nodes } = book.store;
  const reached = new Set<string>();
  for (const { path } of listTree(book, '/')) {
    if (reached.has(path)) wrong.push(`${path} is listed twice`);
    reached.add(path);
  }
  for (const [path, node] of nodes) {
    if (!reached.has(path)) wrong.push(`${path} is orphaned: ${parentOf(path)} does not list ${baseName(path)}`);
    if (node.childBytes !== listBytes(node.children))
      wrong.push(`${path}: ${node.childBytes} bytes of names are ${listBytes(node.children)}`);
    for (const name of node.children)
      if (!nodes.has(path === '/' ? `/${name}` : `${path}/${name}`)) wrong.push(`${path}/${name} is missing`);
  }
}
