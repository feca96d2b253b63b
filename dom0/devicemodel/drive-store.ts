// A disk of dom0's storage as an IDE drive's medium: operations are started on the host and are over when the disk's latency model says so, as
// blkback's are (kernel/host-io.ts). The drive stays busy meanwhile.
import type { HostIo, HostResult } from '../kernel/host-io.ts';
import type { Observer } from '../kernel/observe.ts';
import type { Timers } from '../kernel/timers.ts';
import type { BlockStore } from '../storage/block-store.ts';
import type { DriveStore } from './board.ts';

const SECTOR = 512;

/** What it uses of dom0. */
export interface DriveHost {
  readonly io: Pick<HostIo, 'start'>;
  readonly timers: Pick<Timers, 'now'>;
  readonly observer: Observer;
}

/** `isReadonly`: the guest may not write, although the store could be. */
export function driveStore(host: DriveHost, store: BlockStore, isReadonly: boolean): DriveStore {
  const run = (work: () => Promise<void> | void, latencyNs: number, done: (ok: boolean) => void): void => {
    host.observer.count('host_io');
    const over = (result: HostResult<void>) => done('value' in result);
    try {
      host.io.start(work(), latencyNs, over);
    } catch (e) {
      // Before anything was started: told like one that failed later.
      host.io.start(Promise.reject(e), latencyNs, over);
    }
  };
  /** The store may have been made smaller since the drive looked. */
  const holds = (lba: number, count: number): boolean => lba + count <= store.sectors;
  const now = (): number => host.timers.now();
  return {
    isAsync: true,
    get sectors() {
      return store.sectors;
    },
    readOnly: isReadonly || store.isReadonly,
    read(lba, count, done) {
      if (!holds(lba, count)) return done(undefined);
      const into = new Uint8Array(count * SECTOR);
      run(
        () => store.read(lba, into),
        store.latency.read(now(), lba, into.length),
        (ok) => done(ok ? into : undefined),
      );
    },
    write(lba, bytes, done) {
      if (!holds(lba, bytes.length / SECTOR)) return done(false);
      run(() => store.write(lba, bytes), store.latency.write(now(), lba, bytes.length), done);
    },
    flush(done) {
      run(() => store.flush(), store.latency.flush(now()), done);
    },
  };
}
