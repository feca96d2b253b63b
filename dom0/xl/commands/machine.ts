// Commands about the machine: info, dmesg (tools/xl/xl_info.c).
import { hostname, machine, release, version } from 'node:os';
import type { HostCalls } from '../host-calls.ts';
import { command, json } from './options.ts';

type Info = HostCalls['info']['reply'];

/** The fields of `xl info` in its order; only what exists. */
export function infoFields(i: Info): [string, string][] {
  const perMiB = (1 << 20) / i.pageSize;
  const mib = (pages: number) => String(Math.floor(pages / perMiB));
  return [
    ['host', hostname()],
    ['release', release()],
    ['version', version()],
    ['machine', machine()],
    ['nr_cpus', String(i.cpus)],
    ['max_cpu_id', String(i.maxCpuId)],
    ['nr_nodes', String(i.nodes)],
    ['cores_per_socket', String(i.coresPerSocket)],
    ['threads_per_core', String(i.threadsPerCore)],
    ['cpu_mhz', `${Math.floor(i.cpuKhz / 1000)}.${String(i.cpuKhz % 1000).padStart(3, '0')}`],
    ['hw_caps', i.hwCap.map((w) => w.toString(16).padStart(8, '0')).join(':')],
    ['virt_caps', 'pv'],
    ['total_memory', mib(i.totalPages)],
    ['free_memory', mib(i.freePages - i.outstandingPages)],
    ['sharing_freed_memory', '0'],
    ['sharing_used_memory', '0'],
    ['outstanding_claims', mib(i.outstandingPages)],
    ['free_cpus', '0'],
    ['xen_major', String(i.xenMajor)],
    ['xen_minor', String(i.xenMinor)],
    ['xen_extra', i.xenExtra],
    ['xen_version', `${i.xenMajor}.${i.xenMinor}${i.xenExtra}`],
    ['xen_caps', i.capabilities.join(' ')],
    ['xen_scheduler', 'credit'],
    ['xen_pagesize', String(i.pageSize)],
    ['platform_params', `virt_start=0x${i.virtStart.toString(16)}`],
    ['xen_changeset', i.changeset],
    ['xen_commandline', i.commandLine],
    ['cc_compiler', i.compiler],
    ['cc_compile_by', i.compileBy],
    ['cc_compile_domain', i.compileDomain],
    ['cc_compile_date', i.compileDate],
    ['xend_config_format', '4'],
  ];
}

export const info = command(
  {
    name: 'info',
    synopsis: '[options] [Field]',
    about: "Get information about the machine. Without a host: about the one that 'create' would switch on.",
    options: { json: { text: 'One JSON object' } },
    most: 1,
  },
  async (host, { flags, rest }, env) => {
    const fields = infoFields(await host.call('info', {}));
    const [only] = rest;
    if (flags.has('json')) json(env, Object.fromEntries(fields));
    else if (only !== undefined)
      env.out(
        fields
          .filter(([name]) => name.startsWith(only))
          .map(([, value]) => `${value}\n`)
          .join(''),
      );
    else env.out(fields.map(([name, value]) => `${name.padEnd(23)}: ${value}\n`).join(''));
    return 0;
  },
);

export const dmesg = command(
  {
    name: 'dmesg',
    synopsis: '[-c]',
    about: "Read and/or clear the hypervisor's message buffer.",
    options: { c: { text: 'Clear dmesg buffer as well as printing it', long: 'clear' } },
    most: 0,
  },
  async (host, { flags }, env) => {
    env.out(await host.call('dmesg', { clear: flags.has('c') }));
    return 0;
  },
);
