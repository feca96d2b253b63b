// `ringworld list`, `vm-list`, `domid`, `domname`, `uptime`: which domains there are (tools/xl/xl_info.c).
import { formatUuid } from '../../toolstack/xlcfg.ts';
import type { DomainStatus } from '../host-calls.ts';
import type { HostClient } from '../host-client.ts';
import { XlError } from '../user-error.ts';
import { command, json } from './options.ts';

/** By SHUTDOWN_*: poweroff, reboot, suspend, crash, watchdog, soft reset. */
const REASON_LETTERS = '-rscwS';

/** xl's six letters: running, blocked, paused, shut down, why, dying. */
export function stateLetters(d: DomainStatus): string {
  const reason = d.shutdown ?? 0;
  return [
    d.running ? 'r' : '-',
    d.blocked ? 'b' : '-',
    d.paused ? 'p' : '-',
    d.shutdown !== null ? 's' : '-',
    REASON_LETTERS[reason] ?? '?',
    d.dying ? 'd' : '-',
  ].join('');
}

const seconds = (ns: number): string => (ns / 1e9).toFixed(1);

export function listLines(domains: readonly DomainStatus[], verbose = false): string {
  const head = `Name                                        ID   Mem VCPUs\tState\tTime(s)${verbose ? '   UUID                            Reason-Code\tSecurity Label' : ''}\n`;
  const rows = domains.map((d) => {
    const row = `${d.name.padEnd(40)} ${String(d.domid).padStart(5)} ${String(Math.floor(d.memKb / 1024)).padStart(5)} ${String(d.vcpusOnline).padStart(5)}     ${stateLetters(d)}  ${seconds(d.cpuTimeNs).padStart(8)}`;
    if (!verbose) return `${row}\n`;
    const reason = d.shutdown === null ? '-' : d.shutdown.toString(16);
    return `${row} ${formatUuid(d.uuid)} ${reason.padStart(8)} ${'-'.padStart(16)}\n`;
  });
  return head + rows.join('');
}

/** What `xl list -l` shows of a configuration (libxl_domain_config's JSON), as far as there is something behind it. */
async function details(host: HostClient, domains: readonly DomainStatus[]) {
  const all = [];
  for (const d of domains) {
    const c = await host.call('config', { domid: d.domid });
    if (c === null) continue;
    all.push({
      domid: d.domid,
      config: {
        c_info: { type: c.type, name: d.name, uuid: formatUuid(c.uuid) },
        b_info: {
          max_vcpus: c.maxVcpus,
          avail_vcpus: Array.from({ length: c.vcpus }, (_, i) => i),
          max_memkb: c.maxMemoryMiB * 1024,
          target_memkb: c.memoryMiB * 1024,
          kernel: c.kernel,
          ...(c.ramdisk === null ? {} : { ramdisk: c.ramdisk }),
          cmdline: c.cmdline,
        },
        ...Object.fromEntries(Object.entries(c.devices).filter(([, list]) => list.length > 0)),
        on_poweroff: c.onPoweroff,
        on_reboot: c.onReboot,
        on_watchdog: c.onWatchdog,
        on_crash: c.onCrash,
        on_soft_reset: c.onSoftReset,
      },
    });
  }
  return all;
}

export const list = command(
  {
    name: 'list',
    synopsis: '[options] [Domain]',
    about: 'List information about all/some domains.',
    options: {
      l: { text: 'Output all VM details', long: 'long' },
      v: { text: 'Prints out UUIDs and security context', long: 'verbose' },
      json: { text: 'One JSON array with what the columns show, exactly' },
    },
    most: 1,
  },
  async (host, { flags, rest }, env) => {
    const [only] = rest;
    const domains = await host.call('list', {}).then((all) => {
      if (only === undefined) return all;
      const isNumber = /^\d+$/.test(only);
      const found = all.filter((d) => (isNumber ? d.domid === Number(only) : d.name === only));
      if (found.length > 0) return found;
      throw new XlError(isNumber ? `Error: Domain '${only}' does not exist.` : `${only} is an invalid domain identifier (rc=-6)`);
    });
    if (flags.has('l')) json(env, await details(host, domains));
    else if (flags.has('json'))
      json(
        env,
        domains.map((d) => ({ ...d, uuid: formatUuid(d.uuid), state: stateLetters(d) })),
      );
    else env.out(listLines(domains, flags.has('v')));
    return 0;
  },
);

export const vmList = command(
  { name: 'vm-list', synopsis: '', about: 'List guest domains, excluding dom0, stubdoms, etc.', most: 0 },
  async (host, _, env) => {
    env.out('UUID                                  ID    name\n');
    for (const d of await host.call('list', {})) if (d.domid !== 0) env.out(`${formatUuid(d.uuid)}  ${d.domid}    ${d.name.padEnd(30)}\n`);
    return 0;
  },
);

export const domid = command(
  { name: 'domid', synopsis: '<DomainName>', about: 'Convert a domain name to domain id.', needs: 1, most: 1 },
  async (host, { rest }, env) => {
    const [name] = rest;
    const found = (await host.call('list', {})).find((d) => d.name === name);
    if (found === undefined) throw new XlError(`Can't get domid of domain name '${name}', maybe this domain does not exist.`);
    env.out(`${found.domid}\n`);
    return 0;
  },
);

export const domname = command(
  { name: 'domname', synopsis: '<DomainId>', about: 'Convert a domain id to domain name.', needs: 1, most: 1 },
  async (host, { rest }, env) => {
    const text = rest[0]!;
    if (!/^\d+$/.test(text)) throw new XlError('Invalid domain id.\n');
    const found = (await host.call('list', {})).find((d) => d.domid === Number(text));
    if (found === undefined) throw new XlError(`Can't get domain name of domain id '${text}', maybe this domain does not exist.`);
    env.out(`${found.name}\n`);
    return 0;
  },
);

/** xl's uptime_to_string. */
export function uptimeText(total: number, isShort: boolean): string {
  const day = Math.floor(total / 86400);
  const hour = String(Math.floor((total % 86400) / 3600)).padStart(2);
  const two = (n: number) => String(Math.floor(n)).padStart(2, '0');
  const time = isShort ? `${hour}:${two((total % 3600) / 60)}` : `${hour}:${two((total % 3600) / 60)}:${two(total % 60)}`;
  if (day > 1) return `${day} days, ${time}`;
  return day === 1 ? `1 day, ${time}` : time;
}

export const uptime = command(
  {
    name: 'uptime',
    synopsis: '[-s] [Domain...]',
    about: 'Print uptime for all/some domains: time as the machine counts it, since each was built.',
    options: { s: { text: 'Print the short form, with the time of day' } },
  },
  async (host, { flags, rest }, env) => {
    const isShort = flags.has('s');
    const wanted = [];
    for (const name of rest) wanted.push((await host.call('domid', { domain: name })).domid);
    const all = await host.call('list', {});
    if (!isShort) env.out(`${'Name'.padEnd(33)} ${'ID'.padStart(4)} Uptime\n`);
    const { wallclock } = await host.call('info', {});
    const clock = new Date(wallclock * 1000).toISOString().slice(11, 19);
    const chosen = wanted.length === 0 ? all : wanted.flatMap((id) => all.filter((d) => d.domid === id));
    for (const d of chosen) {
      const text = uptimeText(d.uptime, isShort);
      env.out(isShort ? ` ${clock} up ${text}, ${d.name} (${d.domid})\n` : `${d.name.padEnd(33)} ${String(d.domid).padStart(4)} ${text}\n`);
    }
    return 0;
  },
);
