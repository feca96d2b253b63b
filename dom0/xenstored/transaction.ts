// Transactions, as xenstored_transaction.c has them: every node that is looked at is remembered with its generation; changes stay
// private; at the end the whole is taken over if none of those nodes has changed meanwhile, and refused with EAGAIN otherwise.
import { ownerOf } from './perms.ts';
import { type NewNode, replaceNode, type StoreData, type StoreView, type XsNode } from './store.ts';
import type { Change } from './watches.ts';

/** Plain data. */
export interface Transaction {
  readonly id: number;
  /** Generation of each node when it was first looked at; 0 where there was none. */
  readonly seen: Map<string, number>;
  /** Null: removed. */
  readonly changed: Map<string, NewNode | null>;
  /** For the watches, once the transaction has succeeded. */
  readonly events: Change[];
}

export const newTransaction = (id: number): Transaction => ({ id, seen: new Map(), changed: new Map(), events: [] });

export function transactionView(store: StoreData, t: Transaction): StoreView {
  const look = (path: string): XsNode | undefined => {
    const node = store.nodes.get(path);
    if (!t.seen.has(path)) t.seen.set(path, node?.generation ?? 0);
    return node;
  };
  return {
    get: (path) => {
      const changed = t.changed.get(path);
      if (changed === undefined) return look(path);
      // A private node has no generation of its own yet: that of the store, so that DIRECTORY_PART starts over.
      return changed === null ? undefined : { ...changed, generation: store.generation };
    },
    set: (path, node) => {
      look(path);
      t.changed.set(path, node);
    },
    owned: (domid) => {
      let n = store.owned.get(domid) ?? 0;
      for (const [path, node] of t.changed) {
        const before = store.nodes.get(path);
        if (before !== undefined && ownerOf(before.perms) === domid) n--;
        if (node !== null && ownerOf(node.perms) === domid) n++;
      }
      return n;
    },
  };
}

/** Takes the changes over; false on a conflict, when nothing is changed. */
export function commit(store: StoreData, t: Transaction): boolean {
  for (const [path, generation] of t.seen) if ((store.nodes.get(path)?.generation ?? 0) !== generation) return false;
  for (const [path, node] of t.changed) replaceNode(store, path, node);
  return true;
}
