// `ringworld top`: xentop's columns (tools/xentop/xentop.c), as a screen that is drawn again or, with -b, as a list of pictures. Devices' figures
// are totals, as there; NETTX is what the domain sent, where xenstat takes the figures of dom0's end of the interface.
import type { DeviceCounts, DomainStatus, HostCalls } from '../host-calls.ts';
import type { HostClient } from '../host-client.ts';
import { XlError } from '../user-error.ts';
import { stateLetters } from './list.ts';
import { command } from './options.ts';

interface Sample {
  readonly domains: readonly DomainStatus[];
  readonly info: HostCalls['info']['reply'];
  readonly counts: readonly DeviceCounts[];
}

const COLUMNS: readonly [string, number][] = [
  ['NAME', 10],
  ['STATE', 6],
  ['CPU(sec)', 10],
  ['CPU(%)', 6],
  ['MEM(k)', 10],
  ['MEM(%)', 6],
  ['MAXMEM(k)', 10],
  ['MAXMEM(%)', 9],
  ['VCPUS', 5],
  ['NETS', 4],
  ['NETTX(k)', 8],
  ['NETRX(k)', 8],
  ['VBDS', 4],
  ['VBD_RD', 8],
  ['VBD_WR', 8],
  ['VBD_RSECT', 10],
  ['VBD_WSECT', 10],
];

const line = (cells: readonly string[]): string => `${cells.map((c, i) => c.padStart(COLUMNS[i]![1])).join(' ')}\n`;

/** xentop's letters, of which it shows one of a pair: dying, shut down, blocked, crashed, paused, running. */
const topState = (d: DomainStatus): string => {
  const s = stateLetters(d);
  return `${s[5]}${s[3]}${s[1]}${s[4] === 'c' ? 'c' : '-'}${s[2]}${s[0]}`;
};

/** One picture; CPU(%) is what was used since `before` of the machine's time that passed. */
export function picture(now: Sample, before: Sample | null, fullNames: boolean): string {
  const { domains, info } = now;
  const totalKb = (info.totalPages * info.pageSize) / 1024;
  const freeKb = (info.freePages * info.pageSize) / 1024;
  const count = (of: (d: DomainStatus) => boolean) => domains.filter(of).length;
  const clock = new Date(info.wallclock * 1000).toISOString().slice(11, 19);
  const head =
    `xentop - ${clock}   Xen ${info.xenMajor}.${info.xenMinor}${info.xenExtra}\n` +
    `${domains.length} domains: ${count((d) => d.running)} running, ${count((d) => d.blocked)} blocked, ${count((d) => d.paused)} paused, ` +
    `${count((d) => d.shutdown === 3)} crashed, ${count((d) => d.dying)} dying, ${count((d) => d.shutdown !== null)} shutdown\n` +
    `Mem: ${totalKb}k total, ${totalKb - freeKb}k used, ${freeKb}k free    CPUs: ${info.cpus} @ ${Math.floor(info.cpuKhz / 1000)}MHz\n`;
  const passed = before === null ? 0 : (info.uptime - before.info.uptime) * 1e9;
  const rows = domains.map((d) => {
    const was = before?.domains.find((b) => b.domid === d.domid);
    const used = was === undefined || passed <= 0 ? 0 : ((d.cpuTimeNs - was.cpuTimeNs) / passed) * 100;
    const isUnlimited = d.maxMemKb >= 2 ** 32;
    const c = now.counts.find((n) => n.domid === d.domid);
    return line([
      fullNames ? d.name : d.name.slice(0, 10),
      topState(d),
      String(Math.floor(d.cpuTimeNs / 1e9)),
      used.toFixed(1),
      String(d.memKb),
      ((d.memKb / totalKb) * 100).toFixed(1),
      isUnlimited ? 'no limit' : String(d.maxMemKb),
      isUnlimited ? 'n/a' : ((d.maxMemKb / totalKb) * 100).toFixed(1),
      String(d.vcpusOnline),
      String(c?.nets ?? 0),
      String(Math.floor((c?.netTx ?? 0) / 1024)),
      String(Math.floor((c?.netRx ?? 0) / 1024)),
      String(c?.vbds ?? 0),
      String(c?.vbdReads ?? 0),
      String(c?.vbdWrites ?? 0),
      String(c?.vbdReadSectors ?? 0),
      String(c?.vbdWriteSectors ?? 0),
    ]);
  });
  return head + line(COLUMNS.map(([name]) => name)) + rows.join('');
}

async function sample(host: HostClient): Promise<Sample> {
  return { domains: await host.call('list', {}), info: await host.call('info', {}), counts: await host.call('deviceCounts', {}) };
}

const CLEAR_SCREEN = '\x1b[H\x1b[J';

export const top = command(
  {
    name: 'top',
    synopsis: '[options]',
    about: 'Monitor the machine and the domains in real time. Without a terminal one picture is printed.',
    options: {
      b: { text: 'One picture below the other, no screen', long: 'batch' },
      d: { text: 'Seconds between pictures (3)', value: true, long: 'delay' },
      i: { text: 'How many pictures to show before ending', value: true, long: 'iterations' },
      f: { text: 'Full domain names', long: 'full-name' },
    },
    most: 0,
  },
  async (host, { flags, values }, env) => {
    const positive = (key: string, fallback: number): number => {
      const text = values.get(key);
      const n = text === undefined ? fallback : /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
      if (!(n > 0)) throw new XlError(`top: ${text} is not a usable number`);
      return n;
    };
    const isScreen = !flags.has('b') && process.stdout.isTTY === true;
    const delay = positive('d', 3);
    const count = positive('i', isScreen || flags.has('b') ? Number.POSITIVE_INFINITY : 1);
    let before: Sample | null = null;
    for (let i = 0; i < count; i++) {
      if (i > 0) await new Promise((done) => setTimeout(done, delay * 1000));
      const now = await sample(host);
      env.out((isScreen ? CLEAR_SCREEN : '') + picture(now, before, flags.has('f')));
      before = now;
    }
    return 0;
  },
);
