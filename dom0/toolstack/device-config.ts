// The devices that a configuration asks for, by kind.
import type { Device } from './device.ts';

export interface DeviceConfig {
  readonly disks: readonly Device[];
  readonly nics: readonly Device[];
  readonly p9s: readonly Device[];
  /** Frame buffers and keyboards. */
  readonly fbs: readonly Device[];
  /** Consoles beyond the first. */
  readonly consoles: readonly Device[];
}

export const NO_DEVICES: DeviceConfig = { disks: [], nics: [], p9s: [], fbs: [], consoles: [] };

/** In the order in which libxl adds them. */
export const devicesOf = (config: { readonly devices: DeviceConfig }): Device[] => {
  const { disks, nics, p9s, fbs, consoles } = config.devices;
  return [...disks, ...nics, ...consoles, ...p9s, ...fbs];
};
