// The tree that xenstored starts with (setup_structure()).
import { replace } from './access.ts';
import type { Domains } from './domains.ts';
import { INTRODUCE_DOMAIN, RELEASE_DOMAIN } from './paths.ts';
import type { Perms } from './perms.ts';
import { DEFAULT_QUOTAS } from './quotas.ts';
import { listBytes, type StoreData } from './store.ts';

const ROOT_PERMS: Perms = [{ domid: 0, access: 'n' }];

const NODES: Readonly<Record<string, readonly string[]>> = { '/': ['tool'], '/tool': ['xenstored'], '/tool/xenstored': [] };

/** Its nodes are dom0's. */
export function initialStore(domains: Domains): StoreData {
  const store: StoreData = {
    nodes: new Map(),
    generation: 0,
    special: new Map([
      [INTRODUCE_DOMAIN, ROOT_PERMS],
      [RELEASE_DOMAIN, ROOT_PERMS],
    ]),
  };
  for (const [path, children] of Object.entries(NODES)) {
    const node = { value: '', perms: ROOT_PERMS, children, childBytes: listBytes(children), generation: ++store.generation };
    replace({ store, domains, quotas: DEFAULT_QUOTAS }, path, node, false);
  }
  return store;
}
