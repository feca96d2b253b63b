// How nodes are reached: straight, or within a transaction. Here nodes are read and changed, their generations given out, and their memory
// and number put to their owners' account (xenstored_core.c, read_node(), write_node_raw(), do_tdb_write(); xenstored_transaction.c,
// access_node()).
import type { Domains } from './domains.ts';
import { XsError } from './errors.ts';
import { type Identity, isPrivileged, ownerOf, type Perm } from './perms.ts';
import type { Quotas } from './quotas.ts';
import { type NewNode, nodeSize, type StoreData, type XsNode } from './store.ts';
import { privateNameBytes, type Transaction } from './transaction.ts';

/** What the daemon consists of, as far as nodes are concerned. */
export interface Book {
  readonly store: StoreData;
  readonly domains: Domains;
  readonly quotas: Quotas;
}

/** In whose name, and in which transaction. */
export interface Access extends Identity {
  readonly transaction: Transaction | null;
}

/** Permissions of domains that have gone are marked as void. */
function withLivePerms(book: Book, node: XsNode): XsNode {
  const isVoid = (p: Perm, i: number) => i > 0 && p.ignored !== true && !book.domains.isOlder(p.domid, node.generation);
  for (let i = 1; i < node.perms.length; i++) {
    // SAFE: i < length.
    if (isVoid(node.perms[i]!, i))
      return { ...node, perms: node.perms.map((p, j) => (isVoid(p, j) ? { ...p, ignored: true as const } : p)) };
  }
  return node;
}

const find = (book: Book, path: string): XsNode | null => {
  const node = book.store.nodes.get(path);
  return node === undefined ? null : withLivePerms(book, node);
};

/** A node as the transaction, or everybody, sees it; within a transaction having looked counts. */
export function readNode(book: Book, a: Access, path: string): XsNode | null {
  const t = a.transaction;
  if (t === null) return find(book, path);
  const known = t.accessed.get(path);
  if (known !== undefined) return known.node === null ? null : withLivePerms(book, known.node);
  if (t.accessed.size >= book.quotas.transactionNodes && !isPrivileged(a)) {
    t.hasFailed = true;
    throw new XsError('ENOSPC');
  }
  const node = find(book, path);
  t.accessed.set(path, { before: node, node, isModified: false, event: 'none' });
  if (node !== null) book.domains.addMemory(a.domid, nodeSize(node) + privateNameBytes(t, path), false);
  return node;
}

/**
 * Makes or changes a node that has been read before. `check`: a guest's quotas hold; dom0's writes must not fail because a guest, who owns the
 * node, has used up its memory (in 4.17 they do).
 */
export function writeNode(book: Book, a: Access, path: string, value: NewNode, check: boolean): void {
  const t = a.transaction;
  const checked = check && !isPrivileged(a);
  const node: XsNode = { ...value, generation: ++book.store.generation };
  try {
    if (checked && nodeSize(node) >= book.quotas.nodeSize) throw new XsError('ENOSPC');
    if (t === null) replace(book, path, node, checked);
    else {
      const entry = accessed(t, path);
      account(book, a.domid, entry.node, a.domid, node, privateNameBytes(t, path), checked);
      if (entry.node?.perms !== node.perms) {
        if (entry.node !== null) own(t, ownerOf(entry.node.perms), -1);
        own(t, ownerOf(node.perms), 1);
      }
      entry.node = node;
      entry.isModified = true;
    }
  } catch (e) {
    // Half of a change may have been made.
    if (t !== null) t.hasFailed = true;
    throw e;
  }
}

export function deleteNode(book: Book, a: Access, path: string): void {
  const t = a.transaction;
  ++book.store.generation;
  if (t === null) replace(book, path, null, false);
  else {
    const entry = accessed(t, path);
    account(book, a.domid, entry.node, a.domid, null, privateNameBytes(t, path), false);
    if (entry.node !== null) own(t, ownerOf(entry.node.perms), -1);
    entry.node = null;
    entry.isModified = true;
  }
}

/** Lets go of what a transaction holds. */
export function forgetTransaction(book: Book, domid: number, t: Transaction): void {
  for (const [path, entry] of t.accessed) account(book, domid, entry.node, domid, null, privateNameBytes(t, path), false);
}

/** The one place where the tree changes. Null removes. */
export function replace(book: Book, path: string, node: XsNode | null, check: boolean): void {
  const { nodes } = book.store;
  const before = nodes.get(path) ?? null;
  account(book, before === null ? 0 : ownerOf(before.perms), before, node === null ? 0 : ownerOf(node.perms), node, path.length, check);
  if (before !== null) book.domains.of(ownerOf(before.perms)).nodes--;
  if (node === null) nodes.delete(path);
  else {
    nodes.set(path, node);
    book.domains.of(ownerOf(node.perms)).nodes++;
  }
}

const own = (t: Transaction, domid: number, by: number): void => {
  t.owned.set(domid, (t.owned.get(domid) ?? 0) + by);
};

function accessed(t: Transaction, path: string) {
  const entry = t.accessed.get(path);
  if (entry === undefined) throw new Error(`xenstored: ${path} is changed in a transaction that has not read it`);
  return entry;
}

/** Moves the memory of one record; nothing is moved when that fails. */
function account(
  book: Book,
  fromDomid: number,
  from: XsNode | null,
  toDomid: number,
  to: XsNode | null,
  nameBytes: number,
  check: boolean,
): void {
  const { domains } = book;
  const old = from === null ? 0 : nodeSize(from) + nameBytes;
  if (old !== 0) domains.addMemory(fromDomid, -old, false);
  if (to === null || domains.addMemory(toDomid, nodeSize(to) + nameBytes, check)) return;
  if (old !== 0) domains.addMemory(fromDomid, old, false);
  // xenstored says EIO here, too.
  throw new XsError('EIO');
}
