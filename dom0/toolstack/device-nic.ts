// A network interface as `vif = [...]` describes it (xl-network-configuration(5); xl_parse.c, parse_nic_config; libxlu_vif.c for the rate),
// and as libxl puts it into XenStore (libxl_nic.c, libxl__set_xenstore_nic and libxl__device_nic_setdefault).
import type { Device } from './device.ts';

/** In xl's words where xl has some. */
export class NicSpecError extends Error {
  override readonly name = 'NicSpecError';
}

export interface ParsedNic {
  readonly device: Device;
  /** One line each. */
  readonly warnings: readonly string[];
}

const DEFAULT_MTU = 1500;
/** 68 is what IPv4 demands (RFC 791), the largest frame is 65535 bytes. */
const MTU_MIN = 68;
const MTU_MAX = 65535 - 18;
/** IFNAMSIZ without its end: what Linux names an interface. */
const NAME_MAX = 15;

/** Keys that are taken as they are. `model` is of emulated interfaces and ignored, as xl ignores it for PV guests. */
const TEXTS = [
  'bridge',
  'gatewaydev',
  'netdev',
  'ip',
  'script',
  'backend',
  'vifname',
  'model',
  'type',
  'mac',
  'rate',
  'mtu',
  'devid',
  'vlan',
];

/** The interface that a setting describes: `index` is its place in the list, and its devid unless it names one. Throws NicSpecError. */
export function nicDevice(text: string, index: number, uuid: Uint8Array): ParsedNic {
  const warnings: string[] = [];
  const values = new Map<string, string>();
  let trusted = true;
  for (const token of text.split(',').map((t) => t.trim())) {
    if (token === '') continue;
    const [, key, value] = /^([a-z_]+)=(.*)$/.exec(token) ?? [];
    if (token === 'trusted' || token === 'untrusted') trusted = token === 'trusted';
    else if (key === 'accel') warnings.push('the accel parameter for vifs is currently not supported');
    else if (key !== undefined && (key === 'forwarddev' || key.startsWith('colo_'))) warnings.push(`${key} is not supported yet: ignored`);
    else if (key === undefined || value === undefined || !TEXTS.includes(key)) throw new NicSpecError(`unrecognized argument \`${token}'`);
    else {
      if (key === 'netdev') warnings.push('the netdev parameter is deprecated, please use gatewaydev instead');
      if (key === 'vlan') warnings.push('vlan is not supported yet: bridges here know no VLANs: ignored');
      values.set(key === 'netdev' ? 'gatewaydev' : key, value);
    }
  }
  const get = (key: string) => values.get(key) || null;
  const type = values.get('type') ?? 'vif';
  if (type === 'ioemu') throw new NicSpecError('trying to create PV or PVH guest with an emulated interface');
  if (type !== 'vif') throw new NicSpecError("Invalid parameter `type'.");
  const backend = get('backend') ?? '0';
  if (backend !== '0' && backend !== 'Domain-0') throw new NicSpecError(`backend=${backend}: driver domains are not supported yet`);
  const devid = decimal('devid', values.get('devid'), 0, 0xffff) ?? index;
  const mtu = decimal('mtu', values.get('mtu'), MTU_MIN, MTU_MAX) ?? DEFAULT_MTU;
  const vifname = get('vifname');
  if (vifname !== null && (vifname.length > NAME_MAX || /[\s/:]/.test(vifname)))
    throw new NicSpecError(`vifname=${vifname}: an interface's name has at most ${NAME_MAX} characters, and no blanks, \`/' or \`:'`);
  const macText = values.get('mac');
  const mac = macText === undefined ? generatedMac(uuid, devid) : parseMac(macText);
  const rateText = values.get('rate');
  const rate = rateText === undefined ? null : parseVifRate(rateText);
  const script = get('script') ?? 'vif-bridge';
  const optional = (key: string, value: string | null): Record<string, string> => (value === null ? {} : { [key]: value });
  const back = {
    script: script.startsWith('/') ? script : `/etc/xen/scripts/${script}`,
    ...optional('vifname', vifname),
    mac,
    ...optional('ip', get('ip')),
    ...optional('gatewaydev', get('gatewaydev')),
    ...optional('rate', rate === null ? null : `${rate.bytes},${rate.usec}`),
    ...optional('mtu', mtu === DEFAULT_MTU ? null : String(mtu)),
    bridge: get('bridge') ?? 'xenbr0',
    handle: String(devid),
    type: 'vif',
    'hotplug-status': '',
  };
  const front = { handle: String(devid), mac, mtu: String(mtu), trusted: trusted ? '1' : '0' };
  return { device: { type: 'vif', devid, back, front }, warnings };
}

/** Six groups of hexadecimal digits. One that is the address of a group cannot be an interface's own. */
function parseMac(text: string): string {
  const groups = text.split(':');
  if (groups.length !== 6 || groups.some((g) => !/^[0-9a-f]{1,2}$/i.test(g))) throw new NicSpecError("Invalid parameter `mac'.");
  const bytes = groups.map((g) => Number.parseInt(g, 16));
  if ((bytes[0]! & 1) !== 0) throw new NicSpecError(`Invalid parameter \`mac'. ${text} is a multicast address`);
  if (bytes.every((b) => b === 0)) throw new NicSpecError(`Invalid parameter \`mac'. ${text} is no address`);
  return bytes.map((b) => b.toString(16).padStart(2, '0')).join(':');
}

/** xl makes a random one under Xen's OUI. Here it follows from the domain's uuid and the devid, so that a run repeats (FNV-1a). */
function generatedMac(uuid: Uint8Array, devid: number): string {
  let h = 0x811c9dc5;
  for (const byte of [...uuid, devid & 0xff, devid >> 8]) h = Math.imul(h ^ byte, 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = (h ^ (h >>> 13)) >>> 0;
  const tail = [(h >>> 16) & 0x7f, (h >>> 8) & 0xff, h & 0xff];
  return ['00', '16', '3e', ...tail.map((b) => b.toString(16).padStart(2, '0'))].join(':');
}

const UINT32_MAX = 0xffff_ffff;

/** xlu_vif_parse_rate: "10MB/s@50ms" as bytes in each interval. Bits with a small b; decimal prefixes. */
export function parseVifRate(text: string): { readonly bytes: number; readonly usec: number } {
  const fail = (message: string): never => {
    throw new NicSpecError(`config parsing error in vif: ${message} in \`${text}'`);
  };
  const [rateText = '', intervalText] = text.split('@', 2);
  if (rateText === '') fail('no rate specified');
  const [, amount = '', prefix = '', unit = ''] = /^([0-9]+)([GMK]?)([Bb])\/s$/.exec(rateText) ?? fail('invalid rate');
  const count = Number(amount);
  if (count === 0 || count > UINT32_MAX) fail('rate overflow');
  const scale = { G: 1e9, M: 1e6, K: 1e3, '': 1 }[prefix] ?? 1;
  const perSecond = Math.floor((count * scale) / (unit === 'b' ? 8 : 1));
  let usec = 50_000;
  if (intervalText !== undefined) {
    const [, time = '', of = ''] = /^([0-9]+)([mu]?s?)$/.exec(intervalText) ?? fail('invalid replenishment interval');
    usec = Number(time) * (of.startsWith('m') ? 1000 : of.startsWith('u') ? 1 : 1e6);
    if (usec === 0 || usec > UINT32_MAX) fail('replenishment interval overflow');
  }
  return { bytes: Math.floor((perSecond * usec) / 1e6), usec };
}

function decimal(key: string, text: string | undefined, min: number, max: number): number | null {
  if (text === undefined) return null;
  if (!/^[0-9]+$/.test(text)) throw new NicSpecError(`failed to convert "${text}" to number`);
  const value = Number(text);
  if (value < min || value > max) throw new NicSpecError(`${key}=${text} is not from ${min} to ${max}`);
  return value;
}
