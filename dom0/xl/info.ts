// `ringworld info`: the machine and hypervisor that `create` would switch on, in the words of `xl info`.
import { release, type } from 'node:os';
import { switchOn } from './host.ts';
import { EXIT } from './user-error.ts';
import { version } from './version.ts';

export async function info(_args: string[]): Promise<number> {
  const { hv, toolstack } = switchOn({ guestMiB: 128, cpus: 1 });
  const facts: [string, string][] = [
    ['host', `${type()} ${release()}, Node ${process.versions.node}`],
    ['ringworld', version()],
    ['machine', 'emulated x86 PC'],
    ['cpu_mhz', (hv.clock.tscHz / 1e6).toFixed(3)],
    ['xen_major', '4'],
    ['xen_minor', '17'],
    ['xen_caps', toolstack.privcmd.capabilities().join(' ')],
    ['xen_scheduler', 'credit'],
    ['xen_pagesize', '4096'],
  ];
  for (const [name, value] of facts) process.stdout.write(`${name.padEnd(23)}: ${value}\n`);
  return EXIT.ok;
}
