// Consoles beyond the first, as `channel = [...]` describes them (xl.cfg(5); xl_parse.c, parse_channel_config) and libxl puts them into XenStore
// (libxl_console.c, libxl__init_console_from_channel and libxl__device_console_add). Linux calls the n-th of them /dev/hvc<n>.
import { DeviceSpecError, type ParsedDevices, parsePairs } from './device-spec.ts';

const CONSOLE_LIMIT = 1024 * 1024;

/** `index` from 0; the devices are numbered from 1, since 0 is the domain's own console. */
export function channelDevice(text: string, index: number): ParsedDevices {
  const pairs = parsePairs(text, ['backend', 'name', 'connection', 'path']);
  const devid = index + 1;
  const [name, path] = [pairs.get('name') ?? '', pairs.get('path') ?? ''];
  const connection = pairs.get('connection') ?? '';
  if (name === '') throw new DeviceSpecError('name= is missing: what the guest finds the channel by');
  if (connection !== 'pty' && connection !== 'socket')
    throw new DeviceSpecError(`connection=${connection}: there are pty (\`ringworld console\`) and socket (with path=)`);
  if (connection === 'socket' && path === '') throw new DeviceSpecError('path= is missing: the Unix socket to listen at');
  // hvc_xen takes the last digit of the directory's name for the number.
  if (devid > 9) throw new DeviceSpecError('a domain has at most 9 channels');
  const back = { protocol: 'vt100', name, connection, ...(connection === 'socket' ? { path } : {}) };
  const front = {
    limit: String(CONSOLE_LIMIT),
    type: 'ioemu',
    output: connection === 'pty' ? 'pty' : `chardev:libxl-channel${devid}`,
    tty: '',
    name,
    protocol: 'vt100',
  };
  return { devices: [{ type: 'console', devid, back, front }], warnings: [] };
}
