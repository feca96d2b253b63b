// A disk as libxl puts it into XenStore (tools/libs/light/libxl_disk.c, device_disk_add and libxl__device_disk_setdefault).
import type { Device } from './device.ts';
import { type DiskBackend, type DiskSpec, DiskSpecError, parseDiskSpec } from './disk-spec.ts';
import { vdevToDevid } from './vdev.ts';

export { DiskSpecError } from './disk-spec.ts';
export { devidToVdev, vdevToDevid } from './vdev.ts';

/** libxl__device_disk_string_of_format: what stands before the colon in a qdisk's params. */
const PARAMS_FORMAT = { raw: 'aio', qcow: 'qcow', qcow2: 'qcow2', vhd: 'vhd', qed: 'qed', empty: '' } as const;

/** disk_try_backend, in libxl's order of preference. One program here serves them all: `type` says only how `params` is to be read. */
function backendOf(disk: DiskSpec): DiskBackend {
  const { backendtype, format, vdev } = disk;
  const isRaw = format === 'raw' || format === 'empty';
  if (backendtype === 'tap') throw new DiskSpecError(`disk ${vdev}: backendtype=tap: blktap is not supported (nor is it by libxl)`);
  if (backendtype === 'standalone') throw new DiskSpecError(`disk ${vdev}: backendtype=standalone is for virtio disks only`);
  if (backendtype === 'phy' && !isRaw) throw new DiskSpecError(`disk ${vdev}: backend phy unsuitable due to format ${format}`);
  return backendtype ?? (isRaw ? 'phy' : 'qdisk');
}

export interface ParsedDisk {
  readonly device: Device;
  /** One line each. */
  readonly warnings: readonly string[];
}

/** The device that a disk setting describes. Throws DiskSpecError. */
export function diskDevice(text: string): ParsedDisk {
  const disk = parseDiskSpec(text);
  const devid = vdevToDevid(disk.vdev);
  if (devid === null) throw new DiskSpecError(`Invalid or unsupported virtual disk identifier ${disk.vdev} in \`${text}'`);
  const type = backendOf(disk);
  const flag = (on: boolean) => (on ? '1' : '0');
  const optional = (key: string, value: string | null): Record<string, string> => (value === null ? {} : { [key]: value });
  const deviceType = disk.isCdrom ? 'cdrom' : 'disk';
  const back = {
    params: type === 'phy' ? disk.target : disk.format === 'empty' ? '' : `${PARAMS_FORMAT[disk.format]}:${disk.target}`,
    ...optional('script', disk.script),
    removable: flag(disk.isCdrom),
    bootable: '1',
    dev: disk.vdev,
    type,
    mode: disk.readwrite ? 'w' : 'r',
    'device-type': deviceType,
    ...(disk.directIoSafe ? { 'direct-io-safe': '1' } : {}),
    'discard-enable': flag(disk.discard ?? disk.readwrite),
    ...optional('overlay', disk.overlay),
    ...optional('latency-model', disk.model),
  };
  const front = { 'virtual-device': String(devid), 'device-type': deviceType, trusted: flag(disk.trusted) };
  return { device: { type: 'vbd', devid, back, front }, warnings: disk.warnings };
}
