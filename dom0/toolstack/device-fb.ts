// Frame buffer and keyboard of a PV domain as `vfb = [...]` and `vkb = [...]` describe them (xl_parse.c, parse_config_data and parse_vkb_config) and
// libxl puts them into XenStore (libxl_console.c, libxl__set_xenstore_vfb; libxl_vkb.c). As in xl, a frame buffer brings a keyboard with it.
import { DeviceSpecError, type ParsedDevices, pairNodes, pairNumber, parsePairs } from './device-spec.ts';

const VNC = ['vnclisten', 'vncpasswd', 'vncdisplay', 'vncunused', 'vncviewer'];
const OTHERS = ['vnc', 'sdl', 'opengl', 'display', 'xauthority', 'keymap', 'type', 'backend'];
/** xl has no word for these; a frontend reads them from its backend's directory (Linux's xen-fbfront.c: videoram in MiB). */
const GEOMETRY = ['width', 'height', 'videoram'];

const VKB_NODES = [
  'unique-id',
  'feature-disable-keyboard',
  'feature-disable-pointer',
  'feature-abs-pointer',
  'feature-raw-pointer',
  'feature-multi-touch',
  'width',
  'height',
  'multi-touch-width',
  'multi-touch-height',
  'multi-touch-num-contacts',
];

export function fbDevices(text: string, index: number): ParsedDevices {
  const pairs = parsePairs(text, [...VNC, ...OTHERS, ...GEOMETRY]);
  for (const key of GEOMETRY) pairNumber(pairs, key, 1, 16384);
  const shown = ['vnc', 'sdl'].filter((k) => pairs.get(k) === '1' || pairs.get('type') === k);
  const flag = (key: string, fallback: string) => (pairs.get(key) ?? fallback) as string;
  const back = {
    vnc: flag('vnc', '0'),
    ...pairNodes(pairs, ['vnclisten', 'vncdisplay', 'vncunused', 'display', 'xauthority']),
    sdl: flag('sdl', '0'),
    opengl: flag('opengl', '0'),
    ...pairNodes(pairs, GEOMETRY),
  };
  return {
    devices: [
      { type: 'vfb', devid: index, back, front: {} },
      { type: 'vkbd', devid: index, back: pairNodes(pairs, ['width', 'height']), front: {} },
    ],
    warnings: shown.map((k) => `${k} is not served: the picture is had as a screenshot`),
  };
}

export function vkbDevice(text: string, index: number): ParsedDevices {
  const pairs = parsePairs(text, [...VKB_NODES, 'backend', 'backend-type']);
  const kind = pairs.get('backend-type') ?? 'qemu';
  if (kind !== 'qemu' && kind !== 'linux') throw new DeviceSpecError(`backend-type=${kind}: there are qemu and linux`);
  for (const key of VKB_NODES) if (key !== 'unique-id') pairNumber(pairs, key, 0, 0x7fffffff);
  return {
    devices: [{ type: 'vkbd', devid: index, back: { 'backend-type': kind, ...pairNodes(pairs, VKB_NODES) }, front: {} }],
    warnings: [],
  };
}
