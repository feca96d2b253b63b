// Commands about devices of domains that run: block-list, block-detach, network-list, network-detach (tools/xl/xl_block.c, xl_nic.c).
import { vdevToDevid } from '../../toolstack/device-disk.ts';
import type { HostClient } from '../host-client.ts';
import { XlError } from '../user-error.ts';
import { command } from './options.ts';

const left = (value: string | number, width: number): string => String(value).padEnd(width);
const right = (value: string | number, width: number): string => String(value).padStart(width);

export const blockList = command(
  { name: 'block-list', synopsis: '<Domain(s)>', about: 'List virtual block devices for a domain.', needs: 1 },
  async (host, { rest }, env) => {
    env.out(
      `${left('Vdev', 5)} ${left('BE', 3)} ${left('handle', 6)} ${left('state', 5)} ${left('evt-ch', 6)} ${left('ring-ref', 8)} ${left('BE-path', 30)}\n`,
    );
    let code = 0;
    for (const domain of rest) {
      try {
        const { domid } = await host.call('domid', { domain });
        for (const d of await host.call('devices', { domain, type: 'vbd' }))
          env.out(
            `${left(d.devid, 5)} ${left(d.backendId, 3)} ${left(domid, 6)} ${left(d.state, 5)} ${left(d.eventChannel, 6)} ${left(d.ringRefs[0]!, 8)} ${left(d.backend, 30)}\n`,
          );
      } catch (e) {
        if (!(e instanceof XlError)) throw e;
        env.err(`${domain} is an invalid domain identifier\n`);
        code = 1;
      }
    }
    return code;
  },
);

export const networkList = command(
  { name: 'network-list', synopsis: '<Domain(s)>', about: 'List virtual network interfaces for a domain.', needs: 1 },
  async (host, { rest }, env) => {
    env.out(
      `${left('Idx', 3)} ${left('BE', 2)} ${left('Mac Addr.', 17)} ${left('handle', 6)} ${left('state', 5)} ${left('evt-ch', 6)} ${right('tx-', 5)}/${left('rx-ring-ref', 5)} ${left('BE-path', 30)}\n`,
    );
    for (const domain of rest) {
      await host.call('domid', { domain });
      for (const d of await host.call('devices', { domain, type: 'vif' }))
        env.out(
          `${left(d.devid, 3)} ${left(d.backendId, 2)} ${d.mac}${right(d.devid, 6)} ${right(d.state, 5)} ${right(d.eventChannel, 6)} ${right(d.ringRefs[0]!, 5)}/${left(d.ringRefs[1]!, 11)} ${left(d.backend, 30)}\n`,
        );
    }
    return 0;
  },
);

async function detach(host: HostClient, domain: string, type: string, devid: number, force: boolean, failure: string): Promise<number> {
  const { done } = await host.call('detach', { domain, type, devid, force });
  if (!done) throw new XlError(failure);
  return 0;
}

export const blockDetach = command(
  {
    name: 'block-detach',
    synopsis: '[option] <Domain> <DevId>',
    about: "Destroy a domain's virtual block device.",
    options: { f: { text: 'do not wait for the domain to release the device', long: 'force' } },
    needs: 2,
    most: 2,
  },
  async (host, { flags, rest }) => {
    const [domain, text] = rest as [string, string];
    await host.call('domid', { domain });
    const devid = vdevToDevid(text);
    const known = (await host.call('devices', { domain, type: 'vbd' })).some((d) => d.devid === devid);
    if (devid === null || !known) throw new XlError(`Error: Device ${text} not connected.`);
    return detach(host, domain, 'vbd', devid, flags.has('f'), 'libxl_device_disk_safe_remove failed.');
  },
);

export const networkDetach = command(
  { name: 'network-detach', synopsis: '<Domain> <DevId|mac>', about: "Destroy a domain's virtual network device.", needs: 2, most: 2 },
  async (host, { rest }) => {
    const [domain, text] = rest as [string, string];
    await host.call('domid', { domain });
    const nics = await host.call('devices', { domain, type: 'vif' });
    const nic = nics.find((n) => (text.includes(':') ? n.mac.toLowerCase() === text.toLowerCase() : String(n.devid) === text));
    if (nic === undefined) throw new XlError(`Unknown device ${text}.`);
    return detach(host, domain, 'vif', nic.devid, false, 'libxl_device_nic_del failed.');
  },
);
