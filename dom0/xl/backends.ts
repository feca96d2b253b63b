// Which backends dom0 runs, and what of the host each gets.
import { type Blkback, type BlkbackOptions, startBlkback } from '../blkback/index.ts';
import { Screens } from '../fbback/index.ts';
import type { Dom0 } from '../kernel/dom0.ts';
import { type Netback, type NetbackOptions, startNetback } from '../netback/index.ts';
import { registerP9Back } from '../p9back/index.ts';
import { type OpenStore, StoreError } from '../storage/block-store.ts';
import type { Network } from '../switch/network.ts';
import { openNodeShare } from './node-share.ts';

/** What the host has for backends. */
export interface BackendServices {
  /** For blkback: opens what was prepared (storage/storage.ts). */
  readonly openStore?: OpenStore;
  /** Features that netback is not to offer, and its switches for study. */
  readonly netback?: Partial<NetbackOptions>;
  /** The same of blkback. */
  readonly blkback?: Partial<BlkbackOptions>;
}

export const noStorage: OpenStore = () => {
  throw new StoreError('this machine has no storage');
};

/** What of the backends others talk to. */
export interface Backends {
  /** Frame buffers and keyboards. */
  readonly screens: Screens;
  /** What its disks and interfaces count. */
  readonly vbds: Blkback['vbds'];
  readonly vifs: Netback['vifs'];
}

/** Called once, when the machine is switched on: every driver registers with dom0.backends. netback's interfaces go on `network.attach`. */
export function startBackends(dom0: Dom0, network: Network, services: BackendServices): Backends {
  const { vifs } = startNetback(dom0, network.attach, services.netback);
  registerP9Back(dom0, openNodeShare);
  const { vbds } = startBlkback(dom0, services.openStore ?? noStorage, services.blkback);
  return { screens: new Screens(dom0), vbds, vifs };
}
