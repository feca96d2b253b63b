// What requests do to nodes, in the name of a domain: permissions, quotas, making of parents, watch events
// (xenstored_core.c: get_node(), create_node(), do_write(), do_rm(), do_set_perms()).
import { type Access, type Book, deleteNode, readNode, writeNode } from './access.ts';
import { XsError } from './errors.ts';
import { baseName, childPath, parentOf } from './paths.ts';
import { accessOf, type Identity, inherited, isPrivileged, OWNER, ownerOf, type Perms, READ, WRITE } from './perms.ts';
import { type NewNode, withChild, withoutChild, withoutFirst, type XsNode } from './store.ts';
import type { Change } from './watches.ts';

/** In whose name, on what, and who is told. */
export interface Actor extends Access {
  readonly book: Book;
  /** At once; within a transaction nobody is told before its end. */
  changed(change: Change): void;
}

/** The node, if the domain has all of `access` to it. */
export function getNode(a: Actor, path: string, access: number): XsNode {
  const node = readNode(a.book, a, path);
  if (node !== null) {
    if ((accessOf(node.perms, a) & access) === access) return node;
    // No matter what they say; but a transaction has asked.
    if (a.transaction !== null) askParents(a, path);
    throw new XsError('EACCES');
  }
  // Who may not look at the nearest node above is not told that there is nothing.
  throw new XsError((accessOf(askParents(a, path).perms, a) & access) === 0 ? 'EACCES' : 'ENOENT');
}

/** The nearest node above. A transaction remembers that it was asked for. */
function askParents(a: Actor, path: string): XsNode {
  for (let at = parentOf(path); ; at = parentOf(at)) {
    const node = readNode(a.book, a, at);
    if (node !== null) return node;
    if (at === '/') throw new XsError('EIO');
  }
}

/** As getNode with WRITE, but null where there is no node and one could be made. */
function writableNode(a: Actor, path: string): XsNode | null {
  try {
    return getNode(a, path, WRITE);
  } catch (e) {
    if (e instanceof XsError && e.code === 'ENOENT') return null;
    throw e;
  }
}

export function writeValue(a: Actor, path: string, value: string): void {
  const node = writableNode(a, path);
  if (node === null) create(a, path, value);
  else writeNode(a.book, a, path, { ...node, value }, true);
  changed(a, path);
}

export function makeNode(a: Actor, path: string): void {
  if (writableNode(a, path) !== null) return;
  create(a, path, '');
  changed(a, path);
}

/** From the new node upwards, and the nearest node that exists last; all or nothing. */
function create(a: Actor, path: string, value: string): void {
  const { book } = a;
  const missing: string[] = [];
  let at = path;
  let above = readNode(book, a, at);
  for (; above === null; above = readNode(book, a, at)) {
    missing.push(at);
    at = parentOf(at);
  }
  let perms = above.perms;
  const made: NewNode[] = missing.map(() => {
    perms = inherited(perms, a);
    return { value: '', perms, children: [], childBytes: 0 };
  });
  if (a.transaction !== null) a.transaction.hasCreated = true;
  const written: string[] = [];
  try {
    for (const [i, name] of missing.entries()) {
      if (!isPrivileged(a) && book.domains.of(a.domid).nodes >= book.quotas.nodes) throw new XsError('ENOSPC');
      // SAFE: as many as missing. Permissions were inherited from above, these go from below.
      const node = made[missing.length - 1 - i]!;
      const child = missing[i - 1];
      writeNode(book, a, name, child === undefined ? { ...node, value } : withChild(node, baseName(child)), true);
      written.push(name);
    }
    // SAFE: there is at least one, or there would have been nothing to create.
    writeNode(book, a, at, withChild(above, baseName(missing.at(-1)!)), true);
  } catch (e) {
    for (const name of written) deleteNode(book, a, name);
    // What was written there cannot be unwritten.
    if (a.transaction !== null && written.length > 0) a.transaction.hasFailed = true;
    throw e;
  }
}

export function removeNode(a: Actor, path: string): void {
  const node = writableNode(a, path);
  const above = parentOf(path);
  if (node === null) {
    if (readNode(a.book, a, above) === null) throw new XsError('ENOENT');
    return;
  }
  if (path === '/') throw new XsError('EINVAL');
  removeTree(a, path);
}

/**
 * The node and all below it, whoever owns them; what is deepest goes first. In a transaction others may have removed a node meanwhile that
 * it still sees listed, or it may look at too many: then it ends half done, with EIO, and cannot succeed any more.
 */
export function removeTree(a: Actor, path: string): void {
  const { book } = a;
  const above = parentOf(path);
  const parent = readNode(book, a, above);
  if (parent === null) throw new XsError('EINVAL');
  const node = readNode(book, a, path);
  if (node !== null) removeBelow(a, path, path, node);
  writeNode(book, a, above, withoutChild(parent, baseName(path)), false);
}

function removeBelow(a: Actor, root: string, path: string, node: XsNode): void {
  const { book } = a;
  let left: NewNode = node;
  for (const name of node.children) {
    const below = childPath(path, name);
    const child = readListed(a, below);
    removeBelow(a, root, below, child);
    if (a.transaction === null) continue;
    left = withoutFirst(left);
    writeNode(book, a, path, left, false);
  }
  deleteNode(book, a, path);
  tell(a, path, node, path !== root, null);
}

function readListed(a: Actor, path: string): XsNode {
  let node: XsNode | null = null;
  try {
    node = readNode(a.book, a, path);
  } catch (e) {
    if (!(e instanceof XsError)) throw e;
  }
  if (node === null) throw new XsError('EIO');
  return node;
}

export function setPerms(a: Actor, path: string, perms: Perms): void {
  const node = getNode(a, path, WRITE | OWNER);
  if (!isPrivileged(a) && ownerOf(perms) !== ownerOf(node.perms)) throw new XsError('EPERM');
  writeNode(a.book, a, path, { ...node, perms }, true);
  tell(a, path, { ...node, perms }, false, node.perms);
}

/** Everything below and including `path`, parents first. */
export function* listTree(book: Book, path: string): Generator<{ readonly path: string; readonly node: XsNode }> {
  const waiting = [path];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    const node = book.store.nodes.get(at);
    if (node === undefined) continue;
    yield { path: at, node };
    for (let i = node.children.length - 1; i >= 0; i--) waiting.push(childPath(at, node.children[i] ?? ''));
  }
}

function changed(a: Actor, path: string): void {
  const node = readNode(a.book, a, path);
  if (node !== null) tell(a, path, node, false, null);
}

/** A non-exact event replaces an exact one in a transaction, but not the other way round (queue_watches()). */
function tell(a: Actor, path: string, node: XsNode, exact: boolean, before: Perms | null): void {
  const entry = a.transaction?.accessed.get(path);
  if (entry !== undefined) {
    if (entry.event !== 'all') entry.event = exact ? 'exact' : 'all';
    return;
  }
  a.changed({ path, exact, mayHear: (who) => mayHear(a.book, who, path, node, before) });
}

/** Who may read the node, or could before its permissions changed, or may read its parent (watch_permitted()). */
export function mayHear(book: Book, who: Identity, path: string, node: XsNode | null, before: Perms | null): boolean {
  if (before !== null && (accessOf(before, who) & READ) !== 0) return true;
  if (node === null) return false;
  if ((accessOf(node.perms, who) & READ) !== 0) return true;
  const parent = readNode(book, { ...who, transaction: null }, parentOf(path));
  return parent !== null && (accessOf(parent.perms, who) & READ) !== 0;
}
