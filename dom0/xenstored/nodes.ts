// What requests do to nodes, on a view of the tree and in the name of a domain: permissions, quotas, making of parents
// (xenstored_core.c: get_node, create_node, do_write, do_rm, do_set_perms).
import { XsError } from './errors.ts';
import { baseName, childPath, isSpecial, parentOf } from './paths.ts';
import { accessOf, inherited, isOwner, ownerOf, type Perms, WRITE } from './perms.ts';
import type { Quotas } from './quotas.ts';
import type { StoreView, XsNode } from './store.ts';
import type { Change } from './watches.ts';

/** In whose name, on what, and who is told. */
export interface Actor {
  readonly view: StoreView;
  readonly domid: number;
  readonly quotas: Quotas;
  changed(change: Change): void;
}

/** The node, if the domain has all of `access` to it. */
export function getNode(a: Actor, path: string, access: number): XsNode {
  const node = a.view.get(path);
  if (node === undefined) {
    // Who may not look at the nearest node above is not told that there is nothing.
    if ((accessOf(nearest(a, path).perms, a.domid) & access) !== access) throw new XsError('EACCES');
    throw new XsError('ENOENT');
  }
  if ((accessOf(node.perms, a.domid) & access) !== access) throw new XsError('EACCES');
  return node;
}

/** As getNode, but undefined where there is no node and one could be made. */
function writableNode(a: Actor, path: string): XsNode | undefined {
  if (a.view.get(path) === undefined && (accessOf(nearest(a, path).perms, a.domid) & WRITE) !== 0) return undefined;
  return getNode(a, path, WRITE);
}

function nearest(a: Actor, path: string): XsNode {
  for (let at = path; ; at = parentOf(at)) {
    const node = a.view.get(at);
    if (node !== undefined) return node;
    if (at === '/') throw new XsError('EIO');
  }
}

export function writeNode(a: Actor, path: string, value: string): void {
  if (a.domid !== 0 && value.length + baseName(path).length > a.quotas.nodeBytes) throw new XsError('ENOSPC');
  const node = writableNode(a, path);
  if (node === undefined) create(a, path, value);
  else a.view.set(path, { ...node, value });
  changed(a, path);
}

export function makeNode(a: Actor, path: string): void {
  if (writableNode(a, path) !== undefined) return;
  create(a, path, '');
  changed(a, path);
}

function create(a: Actor, path: string, value: string): void {
  if (a.domid !== 0 && path.length > a.quotas.pathLength) throw new XsError('ENOSPC');
  const missing: string[] = [];
  let at = path;
  for (; a.view.get(at) === undefined; at = parentOf(at)) missing.unshift(at);
  if (a.domid !== 0 && a.view.owned(a.domid) + missing.length > a.quotas.nodesPerDomain) throw new XsError('ENOSPC');
  for (const made of missing) {
    const parent = a.view.get(at)!;
    a.view.set(at, { ...parent, children: [...parent.children, baseName(made)] });
    a.view.set(made, { value: made === path ? value : '', perms: inherited(parent.perms, a.domid), children: [] });
    at = made;
  }
}

export function removeNode(a: Actor, path: string): void {
  const node = writableNode(a, path);
  const above = parentOf(path);
  if (node === undefined) {
    if (a.view.get(above) === undefined) throw new XsError('ENOENT');
    return;
  }
  if (path === '/') throw new XsError('EINVAL');
  const parent = a.view.get(above);
  if (parent !== undefined) a.view.set(above, { ...parent, children: parent.children.filter((c) => c !== baseName(path)) });
  removeTree(a, path, node, path);
}

function removeTree(a: Actor, path: string, node: XsNode, root: string): void {
  a.changed({ path, exact: path !== root, perms: node.perms });
  for (const name of node.children) {
    const below = childPath(path, name);
    const child = a.view.get(below);
    if (child !== undefined) removeTree(a, below, child, root);
  }
  a.view.set(path, null);
}

export function setPerms(a: Actor, path: string, perms: Perms): void {
  if (a.domid !== 0 && perms.length > a.quotas.permsPerNode) throw new XsError('ENOSPC');
  const node = getNode(a, path, WRITE);
  if (!isOwner(node.perms, a.domid)) throw new XsError('EACCES');
  if (a.domid !== 0 && ownerOf(perms) !== ownerOf(node.perms)) throw new XsError('EPERM');
  a.view.set(path, { ...node, perms });
  if (!isSpecial(path)) a.changed({ path, exact: false, perms: node.perms });
}

/** Everything below and including `path`, parents first. For display and tests. */
export function listTree(view: StoreView, path: string): { path: string; node: XsNode }[] {
  const node = view.get(path);
  if (node === undefined) return [];
  return [{ path, node }, ...node.children.flatMap((c) => listTree(view, childPath(path, c)))];
}

function changed(a: Actor, path: string): void {
  a.changed({ path, exact: false, perms: a.view.get(path)!.perms });
}
