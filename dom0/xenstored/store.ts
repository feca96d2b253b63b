// The tree itself: nodes by absolute path, as plain data. A view reads and changes it: either the tree at once, or, in a transaction, a
// set of private changes over it (transaction.ts). Values are byte strings: one character per byte.
import { ownerOf, type Perms } from './perms.ts';

export interface XsNode {
  readonly value: string;
  readonly perms: Perms;
  /** Names in the order of their making, as xenstored lists them. */
  readonly children: readonly string[];
  /** Changes with every change of the node: by it a transaction notices that somebody was there before it. */
  readonly generation: number;
}

export interface StoreData {
  readonly nodes: Map<string, XsNode>;
  /** How many nodes each domain owns. */
  readonly owned: Map<number, number>;
  generation: number;
}

/** What the requests work on. */
export interface StoreView {
  get(path: string): XsNode | undefined;
  /** Null removes. The caller keeps parents' lists of children right. */
  set(path: string, node: NewNode | null): void;
  /** How many nodes the domain owns, changes of this view included. */
  owned(domid: number): number;
}

export type NewNode = Omit<XsNode, 'generation'>;

const ROOT_PERMS: Perms = [{ domid: 0, access: 'n' }];

/** The tree that xenstored starts with. */
export function initialStore(): StoreData {
  const store: StoreData = { nodes: new Map(), owned: new Map(), generation: 1 };
  const add = (path: string, children: string[]) => {
    replaceNode(store, path, { value: '', perms: ROOT_PERMS, children });
  };
  add('/', ['tool', 'local', 'vm', 'libxl']);
  add('/tool', ['xenstored']);
  add('/tool/xenstored', []);
  add('/local', ['domain']);
  add('/local/domain', []);
  add('/vm', []);
  add('/libxl', []);
  // Not nodes, but they have permissions, which say who gets the events.
  add('@introduceDomain', []);
  add('@releaseDomain', []);
  return store;
}

/** The one place where the tree changes. Null removes. */
export function replaceNode(store: StoreData, path: string, node: NewNode | null): void {
  const before = store.nodes.get(path);
  if (before !== undefined) count(store, ownerOf(before.perms), -1);
  if (node === null) store.nodes.delete(path);
  else {
    store.nodes.set(path, { ...node, generation: store.generation++ });
    count(store, ownerOf(node.perms), 1);
  }
}

function count(store: StoreData, domid: number, by: number): void {
  const n = (store.owned.get(domid) ?? 0) + by;
  if (n === 0) store.owned.delete(domid);
  else store.owned.set(domid, n);
}

/** Changes the tree at once. */
export const directView = (store: StoreData): StoreView => ({
  get: (path) => store.nodes.get(path),
  set: (path, node) => replaceNode(store, path, node),
  owned: (domid) => store.owned.get(domid) ?? 0,
});
