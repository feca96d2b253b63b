// blkback: block devices for other domains by the protocol of blkif.h. `vbd` devices are served from the moment this is called.
import type { Dom0 } from '../kernel/dom0.ts';
import type { BackendDriver } from '../kernel/xenbus.ts';
import type { OpenStore } from '../storage/block-store.ts';
import { CopyStage } from './data-copied.ts';
import { type BlkbackOptions, DEFAULT_BLKBACK_OPTIONS } from './options.ts';
import { Vbd } from './vbd.ts';

export { type BlkbackOptions, type DataPath, DEFAULT_BLKBACK_OPTIONS, parseBlkbackOptions } from './options.ts';
export type { BlkStatistics } from './queue.ts';
export { Vbd } from './vbd.ts';

export interface Blkback {
  /** Devices by name ('vbd/1/51712'). */
  readonly vbds: ReadonlyMap<string, Vbd>;
  /** Serves the devices with other options, as if the driver had been loaded anew: rings go on where they are. */
  restart(options: Partial<BlkbackOptions>): void;
}

export function startBlkback(dom0: Dom0, open: OpenStore, options: Partial<BlkbackOptions> = {}): Blkback {
  const vbds = new Map<string, Vbd>();
  let stage: CopyStage | null = null;
  const driver = (chosen: BlkbackOptions): BackendDriver => {
    const host = {
      ...{ dom0, options: chosen, open },
      stage: () => (stage ??= new CopyStage(dom0)),
      removed: (vbd: Vbd) => {
        if (vbds.get(vbd.name) === vbd) vbds.delete(vbd.name);
      },
    };
    return (node) => {
      const vbd = new Vbd(host, node);
      vbds.set(vbd.name, vbd);
      return vbd;
    };
  };
  dom0.backends.register('vbd', driver({ ...DEFAULT_BLKBACK_OPTIONS, ...options }));
  return { vbds, restart: (others) => dom0.backends.restart('vbd', driver({ ...DEFAULT_BLKBACK_OPTIONS, ...others })) };
}
