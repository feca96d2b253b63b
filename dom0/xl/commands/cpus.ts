// Commands about vCPUs: vcpu-list, vcpu-set, vcpu-pin, sched-credit (tools/xl/xl_vcpu.c, xl_sched.c).
import { XlError } from '../user-error.ts';
import { command, json, whole } from './options.ts';

/** xl's print_bitmap. */
export function bitmapText(bits: readonly number[], count: number): string {
  if (bits.length === 0) return 'none';
  if (bits.length === count) return 'all';
  const ranges: string[] = [];
  for (let i = 0; i < bits.length; i++) {
    const first = bits[i]!;
    while (bits[i + 1] === bits[i]! + 1) i++;
    ranges.push(bits[i] === first ? String(first) : `${first}-${bits[i]}`);
  }
  return ranges.join(',');
}

/** xl's parse_cpurange: all, none, numbers and ranges, `^` taking some out again. Null: not of this form, or no such CPU. */
export function parseCpus(text: string, count: number): number[] | null {
  const set = new Set<number>();
  for (const part of text.split(',')) {
    const isAll = part === 'all';
    const m = /^(\^?)(\d+)(?:-(\^?)(\d+))?$/.exec(part);
    if (!isAll && m === null) return null;
    const from = isAll ? 0 : Number(m![2]);
    const to = isAll ? count - 1 : m![4] === undefined ? from : Number(m![4]);
    if (m?.[3] || from > to || to >= count) return null;
    for (let cpu = from; cpu <= to; cpu++) {
      if (m?.[1]) set.delete(cpu);
      else set.add(cpu);
    }
  }
  return set.size === 0 ? null : [...set].sort((a, b) => a - b);
}

export const vcpuList = command(
  {
    name: 'vcpu-list',
    synopsis: '[Domain, ...]',
    about: 'List the VCPUs for all/some domains.',
    options: { json: { text: 'One JSON array with what the columns show, exactly' } },
  },
  async (host, { rest, flags }, env) => {
    const wanted = rest.length > 0 ? rest : (await host.call('list', {})).map((d) => String(d.domid));
    const all = [];
    for (const domain of wanted) all.push(await host.call('vcpus', { domain }));
    if (flags.has('json')) {
      json(env, all);
      return 0;
    }
    const name = (text: string) => text.padEnd(32);
    const right = (value: string | number, width: number) => String(value).padStart(width);
    env.out(
      `${name('Name')} ${right('ID', 5)} ${right('VCPU', 5)} ${right('CPU', 5)} ${right('State', 5)} ${right('Time(s)', 9)} Affinity (Hard / Soft)\n`,
    );
    for (const d of all) {
      for (const v of d.vcpus) {
        const cpu = v.online
          ? `${right(v.cpu, 5)} ${right(v.running ? 'r' : '-', 3)}${v.blocked ? 'b' : '-'}- `
          : `${right('-', 5)} ${right('-', 3)}-p `;
        const time = right((v.timeNs / 1e9).toFixed(1), 9);
        env.out(`${name(d.name)} ${right(d.domid, 5)} ${right(v.id, 5)}${' '}${cpu}${time}  ${bitmapText(v.hard, d.cpus)} / all\n`);
      }
    }
    return 0;
  },
);

export const vcpuSet = command(
  {
    name: 'vcpu-set',
    synopsis: '[option] <Domain> <vCPUs>',
    about: 'Set the number of active VCPUs allowed for the domain.',
    options: { i: { text: "Don't limit the vCPU based on the host CPU count", long: 'ignore-host' } },
    needs: 2,
    most: 2,
  },
  async (host, { flags, rest }) => {
    const [domain, text] = rest as [string, string];
    await host.call('domid', { domain });
    await host.call('setVcpus', { domain, count: whole(text, 'Error: Invalid argument.'), checkHost: !flags.has('i') });
    return 0;
  },
);

export const vcpuPin = command(
  {
    name: 'vcpu-pin',
    synopsis: '[option] <Domain> <VCPU|all> <Hard affinity|-|all> <Soft affinity|-|all>',
    about: 'Set which CPUs a VCPU can use. The scheduler has hard affinity only; soft affinity may be given as - or all.',
    needs: 3,
    most: 4,
  },
  async (host, { rest }) => {
    const [domain, vcpuText, hard, soft] = rest as [string, string, string, string | undefined];
    await host.call('domid', { domain });
    if (!/^\d+$/.test(vcpuText) && vcpuText !== 'all') throw new XlError(`Error: Invalid argument ${vcpuText} as VCPU.`);
    if (soft !== undefined && soft !== '-' && soft !== 'all') throw new XlError('vcpu-pin: the scheduler has no soft affinity');
    if (hard === '-') return 0;
    const { cpus } = await host.call('info', {});
    const chosen = parseCpus(hard, cpus);
    if (chosen === null) throw new XlError(`Error: Invalid argument ${hard} as a list of CPUs: the machine has CPUs 0 to ${cpus - 1}.`);
    await host.call('pin', { domain, vcpu: vcpuText === 'all' ? null : Number(vcpuText), cpus: chosen });
    return 0;
  },
);

export const schedCredit = command(
  {
    name: 'sched-credit',
    synopsis: '[-d <Domain> [-w[=WEIGHT]|-c[=CAP]]]',
    about: 'Get/set credit scheduler parameters. Weights are kept; caps are not there: only 0, for none, is taken.',
    options: {
      d: { text: 'Domain to modify', value: true, long: 'domain' },
      w: { text: 'Weight (int)', value: true, long: 'weight' },
      c: { text: 'Cap (int)', value: true, long: 'cap' },
    },
    most: 0,
  },
  async (host, { values }, env) => {
    const domain = values.get('d');
    const number = (key: string): number | null => {
      const text = values.get(key)?.replace(/^=/, '');
      return text === undefined ? null : whole(text, `sched-credit: ${text} is not a number`);
    };
    const [weight, cap] = [number('w'), number('c')];
    if (domain === undefined && (weight !== null || cap !== null)) throw new XlError('Must specify a domain.');
    if (domain !== undefined && (weight !== null || cap !== null)) {
      await host.call('setCredit', { domain, weight, cap });
      return 0;
    }
    const line = (name: string, id: string | number, w: string | number, c: string | number) =>
      env.out(`${name.padEnd(33)} ${String(id).padStart(4)} ${String(w).padStart(6)} ${String(c).padStart(4)}\n`);
    const all = await host.call('list', {});
    const chosen = domain === undefined ? all : [await host.call('domid', { domain })];
    // xl's words where it cannot learn a pool's parameters: the time slice here follows from credit, and is no constant.
    if (domain === undefined) env.out('Cpupool Pool-0: [sched params unavailable]\n');
    line('Name', 'ID', 'Weight', 'Cap');
    for (const d of chosen) {
      const credit = await host.call('credit', { domain: String(d.domid) });
      line(d.name, d.domid, credit.weight, credit.cap);
    }
    return 0;
  },
);
