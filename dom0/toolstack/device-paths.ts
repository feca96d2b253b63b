// The host's files that devices name, made independent of the folder in which the command was given: the host's process has its own.
import type { Device } from './device.ts';
import type { DeviceConfig } from './device-config.ts';

const isRelative = (path: string): boolean => path !== '' && !path.startsWith('/');
/** nbd://server/export, nbd+unix:..., and what a script makes of its target, are no files. */
const isAddress = (target: string): boolean => /^[a-z][a-z0-9+]*:/i.test(target);

/** `aio:disk.img` has a format in front. */
const FORMAT = /^(aio|qcow|qcow2|vhd|qed):/;

export function withAbsolutePaths(device: Device, folder: string): Device {
  const back: Record<string, string> = { ...device.back };
  const absolute = (path: string) => (isRelative(path) && !isAddress(path) ? `${folder}/${path}` : path);
  if (device.type === 'vbd') {
    const { params = '', overlay } = back;
    const [format = ''] = FORMAT.exec(params) ?? [];
    if (back.script === undefined) back.params = format + absolute(params.slice(format.length));
    if (overlay !== undefined && overlay !== 'memory') back.overlay = absolute(overlay);
  }
  // A shared folder, and the socket of a channel.
  if ((device.type === '9pfs' || device.type === 'console') && back.path !== undefined && isRelative(back.path))
    back.path = `${folder}/${back.path}`;
  return { ...device, back };
}

export const devicesWithAbsolutePaths = (devices: DeviceConfig, folder: string): DeviceConfig => {
  const all = (list: readonly Device[]) => list.map((d) => withAbsolutePaths(d, folder));
  return {
    disks: all(devices.disks),
    nics: all(devices.nics),
    p9s: all(devices.p9s),
    fbs: all(devices.fbs),
    consoles: all(devices.consoles),
  };
};
