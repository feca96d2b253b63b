// The rows with a stock frontend: Debian's cloud kernel with its own xen-blkfront, and the choices that it sees or that are the backend's
// alone. The guest runs dd on a disk of its own; figures come from a trace, guest cycles from its vCPUs' running time.
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CpuProfile, readTrace, type Trace } from '@ringworld/dom0';
import { debianKernel, haveApt } from '../../support/debian-kernel.ts';
import { busyboxInitramfs } from '../../support/initramfs.ts';
import { ringworld } from '../../support/ringworld.ts';
import { measuredFrom, stretches } from './linux-trace.ts';
import type { Choice, Measured } from './measure.ts';

const DISK_BYTES = 64 << 20;
const DEVICE = 'vbd/1/51712';
const PROCESSES = 16;
const READS = 64;

/** In the order in which the guest does them. */
const PARTS = [
  {
    workload: `4 KiB direct reads by ${PROCESSES} processes`,
    command: (i: number) => `dd if=/dev/xvda of=/dev/null bs=4k count=${READS} iflag=direct skip=${i * 997}`,
  },
  {
    workload: `64 KiB direct writes by 4 processes`,
    command: (i: number) => `dd if=/dev/zero of=/dev/xvda bs=64k count=16 oflag=direct seek=${i * 100}`,
  },
] as const;
const PROCESSES_OF = [PROCESSES, 4] as const;

const GROUPS: readonly { readonly group: string; readonly name: string; readonly blkback: string; readonly vcpus?: number }[] = [
  { group: 'data path', name: 'grant copy', blkback: 'data=copy' },
  { group: 'data path', name: 'map each request', blkback: 'data=map' },
  { group: 'data path', name: 'persistent grants', blkback: 'data=persistent' },
  { group: 'notification', name: 'an event for each', blkback: 'data=copy,notify=each' },
  { group: 'indirect', name: '11 segments at most', blkback: 'data=copy,maxIndirectSegments=0' },
  { group: 'queues', name: '2 queues, 2 vCPUs', blkback: 'data=copy,maxQueues=2', vcpus: 2 },
];

const script = PARTS.flatMap((p, part) => [
  'sleep 1',
  ...Array.from({ length: PROCESSES_OF[part]! }, (_, i) => `(${p.command(i)}) 2>/dev/null &`),
  'wait',
]);

/** One boot of the guest, traced. */
export async function tracedLinux(dir: string, blkback: string, vcpus = 1, commands: readonly string[] = script): Promise<Trace> {
  const kernel = debianKernel('cloud-amd64');
  const file = (name: string) => join(dir, name);
  const modules = { kernel, names: ['xen-blkfront'] };
  writeFileSync(file('initrd'), busyboxInitramfs({ compress: false, shell: false, modules, commands: [...commands, 'sleep 1'] }));
  writeFileSync(file('disk.img'), '');
  truncateSync(file('disk.img'), DISK_BYTES);
  const settings = [`disk=['${file('disk.img')},raw,xvda,w']`, 'name="bench"', `vcpus=${vcpus}`, 'memory=128'];
  const ran = await ringworld([
    ...['create', '-F', '-q', '--kernel', kernel.vmlinuz, '--ramdisk', file('initrd'), '--cmdline', 'console=hvc0 quiet'],
    ...['--disk-model', 'nvme', '--blkback', blkback, '--trace', file('trace.msgpack'), ...settings],
  ]);
  if (ran.code !== 0) throw new Error(`the guest ended with ${ran.code}: ${ran.stderr}\n${ran.stdout.slice(-2000)}`);
  return readTrace(readFileSync(file('trace.msgpack')));
}

/** The guest's parts, found by the silences between them: the last ones, after what the kernel asks by itself when it finds the disk. */
export function partsOf(trace: Trace, count: number): { readonly from: number; readonly to: number }[] {
  const all = stretches(trace, DEVICE);
  if (all.length < count) throw new Error(`${all.length} stretches of I/O, not ${count}`);
  return all.slice(-count);
}

export async function linuxChoices(wanted: (c: Choice) => boolean, profile: CpuProfile, say: (line: string) => void): Promise<Measured[]> {
  if (!haveApt()) {
    say('no rows with a stock kernel: apt-get is needed to fetch linux-image-cloud-amd64 and busybox-static');
    return [];
  }
  const dir = mkdtempSync(join(tmpdir(), 'ringworld-split-'));
  const rows: Measured[] = [];
  try {
    for (const g of GROUPS) {
      const choices = PARTS.map(
        (p): Choice => ({ group: `linux: ${g.group}`, name: g.name, workload: p.workload, frontend: 'blkfront 6.1' }),
      );
      if (!choices.some(wanted)) continue;
      say(`${g.group}: ${g.name}`);
      const wall = performance.now();
      const trace = await tracedLinux(dir, g.blkback, g.vcpus);
      const wallMs = Math.round(performance.now() - wall);
      for (const [i, { from, to }] of partsOf(trace, PARTS.length).entries())
        if (wanted(choices[i]!)) rows.push(measuredFrom(trace, choices[i]!, { device: DEVICE, domid: 1, from, to, profile, wallMs }));
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return rows;
}
