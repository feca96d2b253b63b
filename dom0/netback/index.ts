// netback: network interfaces for other domains, by the protocol of netif.h. `vif` devices are served from the moment this is called.
import type { Dom0 } from '../kernel/dom0.ts';
import type { AttachPort } from '../switch/port.ts';
import { NETBACK_DEFAULTS, type NetbackOptions } from './options.ts';
import { Shared } from './shared.ts';
import { Vif } from './vif.ts';

export { NETBACK_DEFAULTS, type NetbackOptions, parseNetbackOptions } from './options.ts';

export interface Netback {
  /** Interfaces by name ('vif/1/0'). */
  readonly vifs: ReadonlyMap<string, Vif>;
}

/** Registers the driver; interfaces are ports that `attach` puts on bridges. */
export function startNetback(dom0: Dom0, attach: AttachPort, options: Partial<NetbackOptions> = {}): Netback {
  const vifs = new Map<string, Vif>();
  const removed = (vif: Vif) => {
    if (vifs.get(vif.node.name) === vif) vifs.delete(vif.node.name);
  };
  const shared = new Shared(dom0, { ...NETBACK_DEFAULTS, ...options });
  dom0.backends.register('vif', (node) => {
    const vif = new Vif(shared, node, attach, removed);
    vifs.set(node.name, vif);
    return vif;
  });
  return { vifs };
}
