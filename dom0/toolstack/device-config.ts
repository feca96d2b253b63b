// The devices that a configuration asks for, by kind.
import type { Device } from './device.ts';

export interface DeviceConfig {
  readonly disks: readonly Device[];
  readonly nics: readonly Device[];
  readonly p9s: readonly Device[];
  readonly fbs: readonly Device[];
}

export const NO_DEVICES: DeviceConfig = { disks: [], nics: [], p9s: [], fbs: [] };

/** In the order in which libxl adds them. */
export const devicesOf = (config: { readonly devices: DeviceConfig }): Device[] => {
  const { disks, nics, p9s, fbs } = config.devices;
  return [...disks, ...nics, ...p9s, ...fbs];
};
