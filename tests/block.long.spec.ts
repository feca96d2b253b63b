// Debian's kernel with its own xen-blkfront on our blkback: what the guest reads is what the file holds, what it writes arrives there, by every
// way of moving data and every shape of ring. Storage, file systems and hot plug are in block-storage.long.spec.ts and its like.
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { pattern } from '../dom0/storage/testing.ts';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-block-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const MIB = 2 ** 20;
const SIZE = 8 * MIB;
const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const UNHEALTHY = /WARNING:|BUG:|Oops|Call Trace|Kernel panic|I\/O error|MODULE-FAILED/;

interface Guest {
  readonly disks: readonly string[];
  readonly commands: readonly string[];
  readonly settings?: string;
  /** Of the module. */
  readonly parameters?: string;
  readonly options?: readonly string[];
}

let files = 0;
function image(seed: number): string {
  const path = join(scratch, `disk-${files++}.img`);
  writeFileSync(path, pattern(SIZE, seed));
  return path;
}

async function run(guest: Guest) {
  const kernel = debianKernel('cloud-amd64');
  const ramdisk = join(scratch, `initramfs-${files++}`);
  const modules = { kernel, names: [`xen-blkfront ${guest.parameters ?? ''}`.trim()] };
  // Disks are found by a thread of xenbus; all of them are waited for.
  const wait = guest.disks.map((d) => `while [ ! -b /dev/${/vdev=(\w+)/.exec(d)![1]} ]; do usleep 1000; done`);
  writeFileSync(ramdisk, busyboxInitramfs({ modules, commands: [...wait, ...guest.commands], shell: false, compress: false }));
  const config = join(scratch, `guest-${files++}.cfg`);
  const lines = ['name = "block"', 'memory = 256', guest.settings ?? 'vcpus = 1', `kernel = "${kernel.vmlinuz}"`, `ramdisk = "${ramdisk}"`];
  lines.push('extra = "console=hvc0"', `disk = [ ${guest.disks.map((d) => `"${d}"`).join(', ')} ]`);
  writeFileSync(config, lines.join('\n'));
  return await ringworld(['create', '-F', '--timeout', '900', ...(guest.options ?? []), config]);
}

/** Reads all, by the page cache and around it, and writes all, in blocks of several sizes that do not fit each other. */
const COPY = [
  'echo before $(sha256sum < /dev/xvda)',
  'dd if=/dev/xvda of=/dev/xvdb bs=128k count=32',
  'dd if=/dev/xvda of=/dev/xvdb bs=12k skip=300 seek=300 iflag=direct oflag=direct',
  'sync',
  'echo 3 > /proc/sys/vm/drop_caches',
  'echo after $(sha256sum < /dev/xvdb)',
];

describe.skipIf(!haveApt())("Debian's blkfront (skipped where the host has no apt)", () => {
  it.each([
    ['persistent', 'x', /persistent grants: enabled/],
    ['map', 'x', /persistent grants: disabled/],
    ['copy', 'max_indirect_segments=256', /indirect descriptors: enabled/],
  ])('data by %s: checksums agree on both sides', async (data, parameters, said) => {
    const [a, b] = [image(1), image(2)];
    const ran = await run({
      disks: [`vdev=xvda,access=ro,target=${a}`, `vdev=xvdb,target=${b}`],
      commands: [...COPY, 'cat /sys/block/xvda/ro /sys/block/xvda/size', 'dd if=/dev/zero of=/dev/xvda bs=4k count=1 || echo REFUSED'],
      options: [`--blkback=data=${data}`],
      ...(parameters === 'x' ? {} : { parameters }),
    });
    expect(ran.stderr).not.toMatch(/rror/);
    expect(ran.code).toBe(0);
    expect(ran.stdout.replace(/.*xvda.*read-only.*/g, '')).not.toMatch(UNHEALTHY);
    expect(ran.stdout).toMatch(said);
    const whole = sha(readFileSync(a));
    expect(ran.stdout).toContain(`before ${whole}`);
    expect(ran.stdout).toContain(`after ${whole}`);
    expect(sha(readFileSync(b))).toBe(whole);
    expect(whole).toBe(sha(pattern(SIZE, 1)));
    expect(ran.stdout).toMatch(new RegExp(`1\\r?\\n${SIZE / 512}\\r?\\n`));
    expect(ran.stdout).toContain('REFUSED');
  });

  // Linux allocates pages for every segment of every slot beforehand: 66 MiB for each of the four rings.
  it('two queues of rings of sixteen pages, two vCPUs at once', async () => {
    const [a, b] = [image(3), image(4)];
    const one = (cpu: number) =>
      `dd if=/dev/xvda of=/dev/xvdb bs=64k count=64 skip=${cpu * 64} seek=${cpu * 64} iflag=direct oflag=direct &`;
    const ran = await run({
      disks: [`vdev=xvda,target=${a}`, `vdev=xvdb,target=${b}`],
      commands: [...[0, 1].map(one), 'wait', 'sync', 'ls /sys/block/xvda/mq | wc -l', 'echo after $(sha256sum < /dev/xvdb)'],
      settings: 'vcpus = 2\nmemory = 768',
      parameters: 'max_ring_page_order=4 max_queues=2',
    });
    expect(ran.code).toBe(0);
    expect(ran.stdout).not.toMatch(UNHEALTHY);
    expect(ran.stdout).toMatch(/^2\r?$/m);
    expect(ran.stdout).toContain(`after ${sha(pattern(SIZE, 3))}`);
    expect(sha(readFileSync(b))).toBe(sha(pattern(SIZE, 3)));
  });

  it('flush, discard and barriers; a drive and its sizes; the same input twice is the same to the cycle', async () => {
    const b = image(5);
    const guest: Guest = {
      disks: [`vdev=xvda,model=hdd,overlay=memory,target=${b}`, `vdev=xvdb,devtype=cdrom,target=${b}`],
      commands: [
        'dd if=/dev/zero of=/dev/xvda bs=4k count=64 conv=fsync',
        'blkdiscard -o 1048576 -l 1048576 /dev/xvda && echo DISCARDED $(dd if=/dev/xvda bs=1M skip=1 count=1 | tr -d "\\000" | wc -c)',
        'cat /sys/block/xvda/queue/discard_granularity /sys/block/xvda/queue/write_cache',
        'cat /sys/block/xvdb/ro',
      ],
      options: ['--json', '-q'],
    };
    const [one, two] = [await run(guest), await run(guest)];
    expect(one.code).toBe(0);
    const [x, y] = [JSON.parse(one.stdout), JSON.parse(two.stdout)];
    expect(x.exitReason).toBe('poweroff');
    expect(y.virtualCycles).toBe(x.virtualCycles);
    expect(y.hypercalls).toEqual(x.hypercalls);
    const shown = await run({ ...guest, options: [] });
    expect(shown.stdout).not.toMatch(UNHEALTHY);
    expect(shown.stdout).toContain('DISCARDED 0');
    expect(shown.stdout).toMatch(/write back\r?\n1\r?\n/);
    // The overlay took it all.
    expect(sha(readFileSync(b))).toBe(sha(pattern(SIZE, 5)));
  });
});
