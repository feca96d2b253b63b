// Devices as libxl puts them into XenStore (libxl_device.c): a directory for each end, each naming the other. What a kind of device writes
// there beside is in device-disk.ts, device-nic.ts and their like.
import { XenbusStateClosed, XenbusStateClosing, XenbusStateInitialising } from '@ringworld/abi';
import type { XsClient } from '../xenstored/index.ts';

export type DeviceType = 'vbd' | 'vif' | 'vfb' | 'vkbd' | '9pfs' | 'console';

/** One device, ready to be written. */
export interface Device {
  readonly type: DeviceType;
  readonly devid: number;
  /** Beside what all devices have. */
  readonly back: Readonly<Record<string, string>>;
  readonly front: Readonly<Record<string, string>>;
}

export const frontendPath = (domid: number, type: string, devid: number): string => `/local/domain/${domid}/device/${type}/${devid}`;
export const backendPath = (domid: number, type: string, devid: number, backend = 0): string =>
  `/local/domain/${backend}/backend/${type}/${domid}/${devid}`;
const libxlPath = (domid: number, type: string, devid: number): string => `/libxl/${domid}/device/${type}/${devid}`;

// TOUR block 10: A disk begins as two directories in XenStore, one for each end, each naming the other. The toolstack writes both and goes
// away; the rest is between the ends.
/** libxl__device_generic_add: both directories in one transaction. */
export function addDevice(xs: XsClient, domid: number, device: Device, backend = 0): void {
  const { type, devid } = device;
  const front = frontendPath(domid, type, devid);
  const back = backendPath(domid, type, devid, backend);
  const state = String(XenbusStateInitialising);
  xs.transaction((t) => {
    const put = (path: string, perms: readonly string[], values: Readonly<Record<string, string>>) => {
      t.rm(path);
      t.mkdir(path);
      t.setPerms(path, perms);
      for (const [key, value] of Object.entries(values)) t.write(`${path}/${key}`, value);
    };
    put(libxlPath(domid, type, devid), ['n0'], { frontend: front, backend: back });
    put(front, [`n${domid}`, `r${backend}`], { backend: back, 'backend-id': String(backend), state, ...device.front });
    // The guest may not name another backend.
    for (const key of ['backend', 'backend-id']) t.setPerms(`${front}/${key}`, ['n0', `r${domid}`]);
    put(back, [`n${backend}`, `r${domid}`], { frontend: front, 'frontend-id': String(domid), online: '1', state, ...device.back });
  });
}

/** Asks both ends to part (libxl__initiate_device_generic_remove). The device is gone when its backend's state is Closed. */
export function beginDetach(xs: XsClient, domid: number, type: string, devid: number): void {
  const back = backendPath(domid, type, devid);
  xs.transaction((t) => {
    if (t.read(`${back}/state`) === null) return;
    t.write(`${back}/online`, '0');
    t.write(`${back}/state`, String(XenbusStateClosing));
  });
}

export const isDetached = (xs: XsClient, domid: number, type: string, devid: number): boolean => {
  const state = xs.read(`${backendPath(domid, type, devid)}/state`);
  return state === null || state === String(XenbusStateClosed);
};

/** Takes the nodes away, whatever state the device is in. */
export function removeDevice(xs: XsClient, domid: number, type: string, devid: number): void {
  const paths = [frontendPath(domid, type, devid), backendPath(domid, type, devid), libxlPath(domid, type, devid)];
  xs.transaction((t) => {
    for (const p of paths) t.rm(p);
    // The last device of a domain leaves no empty directory behind.
    const parent = backendPath(domid, type, devid).replace(/\/[^/]*$/, '');
    if (t.directory(parent).length === 0) t.rm(parent);
  });
}

export interface ListedDevice {
  readonly type: string;
  readonly devid: number;
  readonly frontend: string;
  readonly backend: string;
}

/** As /libxl/<domid>/device has them. */
export function listDevices(xs: XsClient, domid: number, type?: DeviceType): ListedDevice[] {
  const root = `/libxl/${domid}/device`;
  const types = type === undefined ? xs.directory(root) : [type];
  return types.flatMap((t) =>
    xs
      .directory(`${root}/${t}`)
      .map(Number)
      .sort((a, b) => a - b)
      .map((devid) => ({ type: t, devid, frontend: frontendPath(domid, t, devid), backend: backendPath(domid, t, devid) })),
  );
}
