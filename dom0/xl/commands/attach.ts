// `ringworld block-attach` and `network-attach` (tools/xl/xl_block.c, xl_nic.c).
import { DiskSpecError, diskDevice } from '../../toolstack/device-disk.ts';
import { NicSpecError, nicDevice } from '../../toolstack/device-nic.ts';
import { withAbsolutePaths } from '../../toolstack/device-paths.ts';
import { UserError } from '../user-error.ts';
import { command, type Environment } from './options.ts';

function read<T extends { readonly warnings: readonly string[] }>(env: Environment, parse: () => T): T {
  try {
    const parsed = parse();
    for (const w of parsed.warnings) env.err(`ringworld: warning: ${w}\n`);
    return parsed;
  } catch (e) {
    if (e instanceof DiskSpecError || e instanceof NicSpecError) throw new UserError(e.message);
    throw e;
  }
}

export const blockAttach = command(
  {
    name: 'block-attach',
    synopsis: '<Domain> <disk-spec-component(s)>...',
    about: 'Create a new virtual block device. Components are joined with commas: file=/disk.img,vdev=xvdb,access=rw.',
    needs: 2,
  },
  async (host, { rest }, env) => {
    const [domain, ...components] = rest as [string, ...string[]];
    await host.call('domid', { domain });
    const { device } = read(env, () => diskDevice(components.join(',')));
    await host.call('attach', { domain, device: withAbsolutePaths(device, process.cwd()) });
    return 0;
  },
);

export const networkAttach = command(
  {
    name: 'network-attach',
    synopsis:
      '<Domain> [type=<type>] [mac=<mac>] [bridge=<bridge>] [ip=<ip>] [script=<script>] [backend=<BackDomain>] [vifname=<name>] [rate=<rate>] [model=<model>]',
    about: 'Create a new virtual network device.',
    needs: 1,
  },
  async (host, { rest }, env) => {
    const [domain, ...settings] = rest as [string, ...string[]];
    const { domid } = await host.call('domid', { domain });
    const taken = (await host.call('devices', { domain, type: 'vif' })).map((d) => d.devid);
    // libxl__device_nextid: one beyond the last.
    const next = Math.max(-1, ...taken) + 1;
    const uuid = (await host.call('list', {})).find((d) => d.domid === domid)?.uuid ?? new Uint8Array(16);
    const { device } = read(env, () => nicDevice(settings.join(','), next, uuid));
    await host.call('attach', { domain, device });
    return 0;
  },
);
