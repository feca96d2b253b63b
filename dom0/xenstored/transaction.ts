// Transactions, as xenstored_transaction.c has them: every node that is looked at is remembered as it was then; changes stay private; at
// the end they are taken over if none of those nodes has changed meanwhile, and refused with EAGAIN otherwise.
import type { XsNode } from './store.ts';

/** A node that a transaction has looked at. */
export interface AccessedNode {
  /** When it was first looked at; null where there was none. */
  readonly before: XsNode | null;
  /** As the transaction sees it now; null: there is none. */
  node: XsNode | null;
  isModified: boolean;
  /** The watch event at the end: for watches of this very path alone ('exact'), or of nodes above too ('all'). */
  event: 'none' | 'exact' | 'all';
}

/** Plain data. */
export interface Transaction {
  readonly id: number;
  /** The store's when it began: names its nodes in the database, so counts towards their size. */
  readonly generation: number;
  /** By path, in the order in which they were first looked at. */
  readonly accessed: Map<string, AccessedNode>;
  /** By how many its changes change the number of each domain's nodes; a domain that it touched is there even when that is 0. */
  readonly owned: Map<number, number>;
  hasCreated: boolean;
  /** A change could not be made whole: it will not be committed. */
  hasFailed: boolean;
}

export const newTransaction = (id: number, generation: number): Transaction => ({
  id,
  generation,
  accessed: new Map(),
  owned: new Map(),
  hasCreated: false,
  hasFailed: false,
});

/** Bytes of a node's name in the transaction's own part of the database: 'generation/path'. */
export const privateNameBytes = (t: Transaction, path: string): number => String(t.generation).length + 1 + path.length;
