// A shared folder as `p9 = [...]` describes it (xl.cfg(5); xl_parse.c, parse_p9_config) and libxl puts it into XenStore (libxl_9pfs.c). xl has no
// word for a share that is only read: `readonly=1` is ours, named as QEMU's -fsdev names it.
import { DeviceSpecError, type ParsedDevices, pairFlag, pairNodes, pairNumber, parsePairs } from './device-spec.ts';

/** Of xl 4.19's daemon, and not of this one. */
const IGNORED = ['type', 'max-space', 'max-files', 'auto-delete'];
const KEYS = ['tag', 'path', 'security_model', 'backend', 'readonly', 'max-open-files', ...IGNORED];

export function p9Device(text: string, index: number): ParsedDevices {
  const pairs = parsePairs(text, KEYS);
  const [tag, path] = [pairs.get('tag') ?? '', pairs.get('path') ?? ''];
  if (tag === '') throw new DeviceSpecError('tag= is missing: the name under which the guest mounts it');
  if (path === '') throw new DeviceSpecError('path= is missing: the folder to be shared');
  const model = pairs.get('security_model') ?? 'none';
  if (model !== 'none') throw new DeviceSpecError(`security_model=${model}: only none is supported, as by libxl`);
  pairNumber(pairs, 'max-open-files', 1, 65536);
  const back = {
    path,
    security_model: model,
    ...pairNodes(pairs, ['max-open-files']),
    ...(pairFlag(pairs, 'readonly', false) ? { readonly: '1' } : {}),
  };
  return {
    devices: [{ type: '9pfs', devid: index, back, front: { tag } }],
    warnings: IGNORED.filter((k) => pairs.has(k)).map((k) => `${k} is not supported: ignored`),
  };
}
