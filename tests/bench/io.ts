// (d) A disk and a network card inside Linux: Xen's split drivers here, virtio on QEMU TCG, the same kernel, disk image and peer.
//
// The network's other end is a server of this process on the host's loopback, reached through Debian's passt here and through QEMU's own
// user network there. Disks are measured without an uplink: with one, idle time takes real time.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { debianKernel, debianPackage, haveApt } from '../support/debian-kernel.ts';
import { busyboxInitramfs } from '../support/initramfs.ts';
import { type EmulatorName, type LinuxGuest, QEMU, qemuLinux, ringworldPv } from './emulators.ts';
import { median, type Row } from './results.ts';
import { type Bench, repeat } from './run.ts';
import { type Timed, timed } from './timed.ts';

const DISK_MIB = 256;
const STREAM_MIB = 128;
const READS = 8000;

interface Workload {
  readonly name: string;
  readonly device: 'disk' | 'net';
  /** Prints something that must be the same everywhere. */
  readonly command: string;
}

/** $D is the disk, $GW the host as the guest reaches it. */
const workloads = (ports: { readonly source: number; readonly sink: number }): readonly Workload[] => [
  { name: 'seq-read', device: 'disk', command: `dd if=$D of=/dev/null bs=1M iflag=direct 2>/dev/null; echo $?` },
  { name: 'seq-write', device: 'disk', command: `dd if=/dev/zero of=$D bs=1M count=128 oflag=direct 2>/dev/null; sync; echo $?` },
  { name: 'rand-read-4k', device: 'disk', command: `io-load $D ${READS} 1` },
  { name: 'rand-read-4k-8', device: 'disk', command: `io-load $D ${READS} 8` },
  { name: 'tcp-receive', device: 'net', command: `nc $GW ${ports.source} | wc -c` },
  {
    name: 'tcp-send',
    device: 'net',
    command: `dd if=/dev/zero bs=64k count=${STREAM_MIB * 16} 2>/dev/null | nc $GW ${ports.sink}; echo $?`,
  },
];

const UDHCPC_SCRIPT = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev $interface
ip route add default via $router dev $interface
echo $router > /tmp/router
`;
const MODULES = ['xen-blkfront', 'xen-netfront', 'virtio_pci', 'virtio_blk', 'virtio_net'];

const begin = (w: Workload): string => `@@ ${w.name} begin`;
const end = (w: Workload): string => `@@ ${w.name} end`;

/** One that sends a stream to each who connects, or takes what comes. */
function peer(send: boolean): Promise<Server> {
  const chunk = new Uint8Array(1 << 20);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    if (!send) {
      socket.on('data', () => {}).on('end', () => socket.end());
      return;
    }
    let left = STREAM_MIB;
    const more = (): void => {
      while (left > 0) {
        left--;
        if (!socket.write(chunk)) return;
      }
      socket.end();
    };
    socket.on('drain', more).resume();
    more();
  });
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done(server)));
}
const portOf = (s: Server): number => (s.address() as AddressInfo).port;

/** The program of io-load.c for the guest, or a word why there is none. */
function compileLoad(scratch: string): string | null {
  const program = join(scratch, 'io-load');
  try {
    execFileSync('cc', ['-static', '-O2', '-o', program, join(import.meta.dirname, 'io-load.c')], { stdio: 'pipe' });
    return program;
  } catch {
    return null;
  }
}

/** A disk's content: the same every time, and nothing that a sparse file would save. */
function writeDisk(path: string): void {
  const bytes = new Uint8Array(DISK_MIB << 20);
  let block = createHash('sha512').update('ringworld').digest();
  for (let at = 0; at < bytes.length; at += 4096) {
    block = createHash('sha512').update(block).digest();
    for (let i = 0; i < 4096; i += 64) bytes.set(block, at + i);
  }
  writeFileSync(path, bytes);
}

export async function io(bench: Bench): Promise<Row[]> {
  if (!haveApt()) {
    bench.say('skipped: apt-get is needed to fetch kernel, busybox and passt');
    return [];
  }
  const { scratch, options } = bench;
  const load = compileLoad(scratch);
  if (load === null) bench.say('without random reads: the compiler cannot link statically');
  const [source, sink] = [await peer(true), await peer(false)];
  const wanted = workloads({ source: portOf(source), sink: portOf(sink) }).filter(
    (w) => w.name.includes(options.filter) && (load !== null || !w.command.startsWith('io-load')),
  );
  try {
    const rows: Row[] = [];
    for (const device of ['disk', 'net'] as const) {
      const own = wanted.filter((w) => w.device === device);
      if (own.length > 0) rows.push(...(await measure(bench, device, own, load)));
    }
    return rows;
  } finally {
    source.close();
    sink.close();
  }
}

async function measure(bench: Bench, device: Workload['device'], wanted: readonly Workload[], load: string | null): Promise<Row[]> {
  const { scratch, options, versions } = bench;
  const kernel = debianKernel('cloud-amd64');
  const passt = join(debianPackage('passt'), 'usr/bin');
  const text = (s: string) => new TextEncoder().encode(s);
  const ramdisk = join(scratch, 'io.cpio');
  const commands = [
    device === 'disk'
      ? 'D=/dev/xvda; [ -b $D ] || D=/dev/vda'
      : 'ip link set eth0 up; udhcpc -i eth0 -n -q -s /etc/udhcpc.sh > /dev/null 2>&1; GW=$(cat /tmp/router)',
    ...wanted.flatMap((w) => [`echo "${begin(w)}"`, w.command, `echo "${end(w)}"`]),
  ];
  const files = {
    'etc/udhcpc.sh': text(UDHCPC_SCRIPT),
    ...(load === null ? {} : { 'bin/io-load': new Uint8Array(readFileSync(load)) }),
  };
  writeFileSync(ramdisk, busyboxInitramfs({ shell: false, commands, files, modules: { kernel, names: MODULES }, compress: false }));
  const disk = join(scratch, 'io.img');
  writeDisk(disk);
  const guest: LinuxGuest = { kernel: kernel.vmlinuz, ramdisk, cmdline: 'quiet', memoryMib: 256 };
  const env = { PATH: `${process.env.PATH}:${passt}` };
  const here = device === 'disk' ? [`disk=['${disk},raw,xvda,rw']`] : ['--uplink=passt', "vif=['bridge=xenbr0']"];
  const there =
    device === 'disk'
      ? ['-drive', `file=${disk},format=raw,if=none,id=d0,cache=writeback`, '-device', 'virtio-blk-pci,drive=d0']
      : ['-netdev', 'user,id=n0', '-device', 'virtio-net-pci,netdev=n0'];
  const runners: { readonly name: EmulatorName; readonly command: string; readonly args: readonly string[] }[] = [
    { name: 'pv', command: process.execPath, args: [...ringworldPv(guest, options.engine), ...here] },
  ];
  const withoutNetwork = qemuLinux(guest).filter((a, i, all) => a !== '-net' && all[i - 1] !== '-net');
  if (versions.qemu !== null && options.useQemu)
    runners.push({ name: 'qemu', command: QEMU, args: [...withoutNetwork, '-nic', 'none', ...there] });
  const until = end(wanted.at(-1)!);
  const results = new Map<EmulatorName, Timed[]>();
  for (const r of runners)
    results.set(r.name, await repeat(options.runs, () => timed(r.command, r.args, { timeoutSeconds: options.timeoutSeconds, until, env })));
  return wanted.map((w) => rowOf(bench, w, results));
}

function rowOf(bench: Bench, w: Workload, results: ReadonlyMap<EmulatorName, readonly Timed[]>): Row {
  const seconds: Partial<Record<EmulatorName, number | null>> = {};
  const runs: Partial<Record<EmulatorName, number[]>> = {};
  const printed = new Map<string, EmulatorName>();
  for (const [name, all] of results) {
    const good = all.flatMap((t) => {
      const [from, to] = [t.at(begin(w)), t.at(end(w))];
      if (from === undefined || to === undefined) return [];
      printed.set(t.output.slice(t.output.indexOf(begin(w)) + begin(w).length, t.output.indexOf(end(w))).trim(), name);
      return [to - from];
    });
    runs[name] = good;
    seconds[name] = good.length === all.length ? median(good) : null;
    bench.say(`${w.name}: ${name} ${seconds[name] === null ? 'did not end' : `${seconds[name]!.toFixed(2)} s`}`);
  }
  const differs = printed.size > 1 ? [...printed].map(([result, name]) => `${name}: ${result}`).join('; ') : undefined;
  if (differs !== undefined) bench.say(`${w.name}: THE RESULTS DIFFER: ${differs}`);
  return { section: 'io', group: 'io', name: w.name, seconds, runs, ...(differs === undefined ? {} : { differs }) };
}
