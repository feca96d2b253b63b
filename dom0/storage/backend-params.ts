// What the backend's directory says about a disk, as libxl writes it (libxl_disk.c, device_disk_add): `type`, `params`, `mode`, `device-type`,
// `direct-io-safe`, `script`. Two nodes are ours: `overlay` and `latency-model`, from the keys overlay= and model= of a disk setting.
import type { BackendParams } from './block-store.ts';

/** libxl__device_disk_string_of_format: the part of a qdisk's `params` before the colon. */
const FORMATS: Readonly<Record<string, string>> = { aio: 'raw', raw: 'raw', qcow: 'qcow', qcow2: 'qcow2', vhd: 'vhd', qed: 'qed' };

/** `read` gives a node of the backend's directory. */
export function backendParams(read: (key: string) => string | null): BackendParams {
  const backendtype = read('type') ?? 'phy';
  const params = read('params') ?? '';
  const colon = params.indexOf(':');
  // `phy` has the path alone, the others the format before it.
  const prefix = backendtype === 'phy' || colon < 0 ? null : params.slice(0, colon);
  const format = params === '' ? 'empty' : prefix === null ? 'raw' : (FORMATS[prefix] ?? prefix);
  return {
    format,
    target: prefix === null ? params : params.slice(colon + 1),
    mode: read('mode') === 'r' ? 'r' : 'w',
    backendtype,
    isCdrom: read('device-type') === 'cdrom',
    isDirectIoSafe: read('direct-io-safe') === '1',
    script: read('script'),
    overlay: read('overlay'),
    model: read('latency-model'),
  };
}
