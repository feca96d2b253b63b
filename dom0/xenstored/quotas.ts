// What a guest may take of the store. The defaults are those of Xen 4.17's xenstored (tools/xenstore/xenstored_core.c). dom0 has none.
import { XENSTORE_REL_PATH_MAX } from '@ringworld/abi';

export interface Quotas {
  readonly nodesPerDomain: number;
  readonly watchesPerDomain: number;
  readonly nodeBytes: number;
  readonly transactionsPerDomain: number;
  readonly permsPerNode: number;
  readonly pathLength: number;
}

export const DEFAULT_QUOTAS: Quotas = {
  nodesPerDomain: 1000,
  watchesPerDomain: 128,
  nodeBytes: 2048,
  transactionsPerDomain: 10,
  permsPerNode: 5,
  pathLength: XENSTORE_REL_PATH_MAX,
};
