// The disks of a configuration, opened before its domain is built.
import { backendParams } from '../storage/backend-params.ts';
import type { BackendParams } from '../storage/block-store.ts';
import type { Held, Storage } from '../storage/storage.ts';
import type { Device } from '../toolstack/device.ts';

/** Of a device that is, or will be, in XenStore as `back` says. */
export const diskParams = (back: Readonly<Record<string, string>>): BackendParams => backendParams((key) => back[key] ?? null);

/** Opens all disks of a domain to be. Rejects with StoreError. */
export const prepareDisks = (storage: Storage, config: { readonly devices: { readonly disks: readonly Device[] } }): Promise<Held> =>
  storage.prepareAll(config.devices.disks.map((d) => diskParams(d.back)));
