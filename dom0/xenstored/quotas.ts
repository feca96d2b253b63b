// What a guest may take of the store: the quotas of Xen 4.17's xenstored with their defaults (tools/xenstore/xenstored_core.c), and the
// names by which XS_CONTROL shows and sets them (xenstored_control.c). dom0 has none.
import { XENSTORE_REL_PATH_MAX } from '@ringworld/abi';

/** Plain data; XS_CONTROL changes it. */
export interface Quotas {
  nodes: number;
  watches: number;
  transactions: number;
  outstanding: number;
  transactionNodes: number;
  memory: number;
  nodeSize: number;
  pathMax: number;
  permissions: number;
  memorySoft: number;
}

export const DEFAULT_QUOTAS: Readonly<Quotas> = {
  nodes: 1000,
  watches: 128,
  transactions: 10,
  outstanding: 20,
  transactionNodes: 1024,
  memory: 2.5 * 1024 * 1024,
  nodeSize: 2048,
  pathMax: XENSTORE_REL_PATH_MAX,
  permissions: 5,
  memorySoft: 2 * 1024 * 1024,
};

export interface NamedQuota {
  readonly name: string;
  readonly key: keyof Quotas;
  readonly description: string;
}

export const HARD_QUOTAS: readonly NamedQuota[] = [
  { name: 'nodes', key: 'nodes', description: 'Nodes per domain' },
  { name: 'watches', key: 'watches', description: 'Watches per domain' },
  { name: 'transactions', key: 'transactions', description: 'Transactions per domain' },
  { name: 'outstanding', key: 'outstanding', description: 'Outstanding requests per domain' },
  { name: 'transaction-nodes', key: 'transactionNodes', description: 'Max. number of accessed nodes per transaction' },
  { name: 'memory', key: 'memory', description: 'Total Xenstore memory per domain (error level)' },
  { name: 'node-size', key: 'nodeSize', description: 'Max. size of a node' },
  { name: 'path-max', key: 'pathMax', description: 'Max. length of a node path' },
  { name: 'permissions', key: 'permissions', description: 'Max. number of permissions per node' },
];

export const SOFT_QUOTAS: readonly NamedQuota[] = [
  { name: 'memory', key: 'memorySoft', description: 'Total Xenstore memory per domain (warning level)' },
];

/** How long a guest may leave a watch event lying: whoever caused it counts it as outstanding until then (timeout_watch_event_msec). */
export const WATCH_EVENT_TIMEOUT_NS = 20e9;
