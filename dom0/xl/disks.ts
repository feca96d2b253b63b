// The disks of domains: opened before a domain is built or a disk attached, let go of when it is gone for good.
import { backendParams } from '../storage/backend-params.ts';
import type { BackendParams } from '../storage/block-store.ts';
import type { Held, Storage } from '../storage/storage.ts';
import type { Device } from '../toolstack/device.ts';

/** Of a device that is, or will be, in XenStore as `back` says. */
export const diskParams = (back: Readonly<Record<string, string>>): BackendParams => backendParams((key) => back[key] ?? null);

/** Opens all disks of a domain to be. Rejects with StoreError. */
export const prepareDisks = (storage: Storage, config: { readonly devices: { readonly disks: readonly Device[] } }): Promise<Held> =>
  storage.prepareAll(config.devices.disks.map((d) => diskParams(d.back)));

/** Disks that were attached to running domains, until they are detached or the domain is gone. */
export class AttachedDisks {
  private readonly storage: Storage;
  private readonly held = new Map<string, Held>();

  constructor(storage: Storage) {
    this.storage = storage;
  }

  /** Before the device is written into XenStore. Rejects with StoreError. */
  async prepare(domid: number, device: Pick<Device, 'devid' | 'back'>): Promise<void> {
    const key = `${domid}/${device.devid}`;
    const held = await this.storage.prepare(diskParams(device.back));
    this.held.get(key)?.release();
    this.held.set(key, held);
  }

  /** After its nodes were removed. */
  removed(domid: number, devid: number): void {
    const key = `${domid}/${devid}`;
    this.held.get(key)?.release();
    this.held.delete(key);
  }

  domainGone(domid: number): void {
    for (const key of [...this.held.keys()]) if (key.startsWith(`${domid}/`)) this.removed(domid, Number(key.split('/')[1]));
  }
}
