// The tree itself: nodes by absolute path, as plain data. It is changed in one place (access.ts). Values are byte strings: one character
// per byte.
import type { Perms } from './perms.ts';

export interface XsNode {
  readonly value: string;
  readonly perms: Perms;
  /** Names in the order of their making, as xenstored lists them. */
  readonly children: readonly string[];
  /** Bytes of the names, each with its NUL: part of the node's size. */
  readonly childBytes: number;
  /** Changes with every change of the node: by it a transaction notices that somebody was there before it. */
  readonly generation: number;
}

export type NewNode = Omit<XsNode, 'generation'>;

export interface StoreData {
  readonly nodes: Map<string, XsNode>;
  generation: number;
  /** Of @introduceDomain and @releaseDomain, which are no nodes: who may hear of them. */
  readonly special: Map<string, Perms>;
}

/** struct xs_tdb_record_hdr and struct xs_permissions of xenstored's database: a node's size is counted as it would lie there. */
const HEADER_BYTES = 24;
const PERM_BYTES = 8;

export const nodeSize = (node: NewNode): number => HEADER_BYTES + PERM_BYTES * node.perms.length + node.value.length + node.childBytes;

export const listBytes = (names: readonly string[]): number => names.reduce((n, name) => n + name.length + 1, 0);

export const withChild = (node: NewNode, name: string): NewNode => ({
  ...node,
  children: [...node.children, name],
  childBytes: node.childBytes + name.length + 1,
});

export const withoutChild = (node: NewNode, name: string): NewNode => {
  const children = node.children.filter((c) => c !== name);
  return { ...node, children, childBytes: listBytes(children) };
};

export const withoutFirst = (node: NewNode): NewNode => ({
  ...node,
  children: node.children.slice(1),
  childBytes: node.childBytes - (node.children[0]?.length ?? -1) - 1,
});
