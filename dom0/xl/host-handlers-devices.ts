// Devices of domains that run: attached, listed, detached.
import {
  addDevice,
  backendPath,
  beginDetach,
  type Device,
  type DeviceType,
  frontendPath,
  isDetached,
  listDevices,
  removeDevice,
} from '../toolstack/device.ts';
import type { DeviceConfig } from '../toolstack/device-config.ts';
import type { DeviceListing } from './host-calls.ts';
import { domainOf, guestOf, type Handlers, residentOf } from './host-handlers.ts';
import type { HostMachine } from './host-machine.ts';
import { UserError } from './user-error.ts';

const TYPES: readonly DeviceType[] = ['vbd', 'vif', 'vfb', 'vkbd', '9pfs', 'console'];

/** libxl waits this long for a frontend to let go (LIBXL_DESTROY_TIMEOUT). */
const DETACH_TIMEOUT_MS = 10_000;
const LOOK_AGAIN_MS = 20;

/** libxl_device_disk_getinfo, libxl_device_nic_getinfo. What is not there yet is -1, as there. */
function listing(m: HostMachine, dom: number, type: DeviceType): DeviceListing[] {
  const { xs } = m.host.toolstack;
  const number = (path: string): number => {
    const text = xs.read(path);
    return text === null || !/^\d+$/.test(text) ? -1 : Number(text);
  };
  const refs = type === 'vif' ? ['tx-ring-ref', 'rx-ring-ref'] : ['ring-ref'];
  return listDevices(xs, dom, type).map(({ devid, frontend, backend }) => ({
    devid,
    backendId: number(`${frontend}/backend-id`),
    state: number(`${frontend}/state`),
    eventChannel: number(`${frontend}/event-channel`),
    ringRefs: refs.map((r) => number(`${frontend}/${r}`)),
    backend,
    mac: xs.read(`${backend}/mac`) ?? '',
  }));
}

/** Waits until the backend has closed; true when it did. The machine runs meanwhile. */
async function waitForDetach(m: HostMachine, dom: number, type: string, devid: number): Promise<boolean> {
  const { xs } = m.host.toolstack;
  const deadline = performance.now() + DETACH_TIMEOUT_MS;
  while (!isDetached(xs, dom, type, devid)) {
    if (performance.now() > deadline) return false;
    await new Promise((done) => setTimeout(done, LOOK_AGAIN_MS));
  }
  return true;
}

const sum = <T>(list: readonly T[], of: (item: T) => number): number => list.reduce((n, item) => n + of(item), 0);

const withDevice = (d: DeviceConfig, device: Device): DeviceConfig =>
  device.type === 'vbd' ? { ...d, disks: [...d.disks, device] } : device.type === 'vif' ? { ...d, nics: [...d.nics, device] } : d;
const withoutDevice = (d: DeviceConfig, type: DeviceType, devid: number): DeviceConfig => {
  const others = (list: readonly Device[]) => list.filter((x) => x.type !== type || x.devid !== devid);
  return { ...d, disks: others(d.disks), nics: others(d.nics) };
};

export const deviceHandlers: Handlers<'devices' | 'attach' | 'detach' | 'deviceCounts'> = {
  devices: (m, { args }) => listing(m, domainOf(m, args).domid, args.oneOf('type', TYPES)),
  attach: async (m, { args }) => {
    const { xs } = m.host.toolstack;
    const resident = residentOf(m, args);
    const dom = resident.live.domid;
    const given = args.object('device');
    const type = given.oneOf('type', TYPES);
    const devid = given.integer('devid');
    const device: Device = { type, devid, back: given.texts('back'), front: given.texts('front') };
    if (xs.read(`${frontendPath(dom, type, devid)}/backend`) !== null)
      throw new UserError(`the domain has a device ${type} ${devid} already`);
    if (type === 'vbd') await resident.disks.open(device);
    if (m.residents.get(dom) !== resident) throw new UserError('the domain has been destroyed');
    addDevice(xs, dom, device);
    m.changeDevices(resident, (d) => withDevice(d, device));
    m.poke();
    return null;
  },
  detach: async (m, { args }) => {
    const { xs } = m.host.toolstack;
    const dom = guestOf(m, args).domid;
    const type = args.oneOf('type', TYPES);
    const devid = args.integer('devid');
    if (xs.read(`${backendPath(dom, type, devid)}/state`) === null) throw new UserError(`the domain has no device ${type} ${devid}`);
    if (!args.flag('force')) {
      beginDetach(xs, dom, type, devid);
      m.poke();
      if (!(await waitForDetach(m, dom, type, devid))) return { done: false };
    }
    removeDevice(xs, dom, type, devid);
    const resident = m.residents.get(dom);
    if (resident !== undefined) {
      if (type === 'vbd') resident.disks.release(devid);
      m.changeDevices(resident, (d) => withoutDevice(d, type, devid));
    }
    m.poke();
    return { done: true };
  },
  deviceCounts: (m) =>
    [...m.residents.keys()].map((dom) => {
      const { vifs, vbds } = m.host;
      const nets = [...vifs.values()].filter((v) => v.node.frontend === dom).map((v) => v.stats);
      const disks = [...vbds.values()].filter((v) => v.node.frontend === dom).map((v) => v.statistics);
      return {
        domid: dom,
        nets: nets.length,
        vbds: disks.length,
        netTx: sum(nets, (s) => s.txBytes),
        netRx: sum(nets, (s) => s.rxBytes),
        vbdReads: sum(disks, (s) => s.rd_req),
        vbdWrites: sum(disks, (s) => s.wr_req),
        vbdReadSectors: sum(disks, (s) => s.rd_sect),
        vbdWriteSectors: sum(disks, (s) => s.wr_sect),
      };
    }),
};
