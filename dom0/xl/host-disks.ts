// The disks of the host's domains: each is held open from before its domain is built, or before it is attached, until the domain is gone for
// good or the disk detached. A restart is no end: its disks stay open.
import { StoreError } from '../storage/block-store.ts';
import type { Held, Storage } from '../storage/storage.ts';
import type { Device } from '../toolstack/device.ts';
import type { DeviceConfig } from '../toolstack/device-config.ts';
import { diskParams } from './disks.ts';
import { UserError } from './user-error.ts';

export class DomainDisks {
  private readonly storage: Storage | null;
  private readonly held = new Map<number, Held>();

  /** `storage`: null where the machine has none, and disks fail. */
  constructor(storage: Storage | null) {
    this.storage = storage;
  }

  /** Opens all of a configuration's, or none. Throws UserError. */
  async openAll(devices: DeviceConfig, source: string): Promise<void> {
    try {
      for (const d of devices.disks) await this.open(d);
    } catch (e) {
      this.close();
      if (e instanceof UserError) throw new UserError(`${source}: ${e.message}`);
      throw e;
    }
  }

  async open(device: Pick<Device, 'devid' | 'back'>): Promise<void> {
    if (this.storage === null) throw new UserError('this machine has no storage');
    try {
      const held = await this.storage.prepare(diskParams(device.back));
      this.held.get(device.devid)?.release();
      this.held.set(device.devid, held);
    } catch (e) {
      if (e instanceof StoreError) throw new UserError(e.message);
      throw e;
    }
  }

  release(devid: number): void {
    this.held.get(devid)?.release();
    this.held.delete(devid);
  }

  close(): void {
    for (const devid of [...this.held.keys()]) this.release(devid);
  }
}
