// A stock Debian PV domain on blkfront: its root is an ext4 image made of Debian's packages, and what it does to its disks is compared with
// the files on the host.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BackendParams } from '../dom0/storage/block-store.ts';
import { Storage } from '../dom0/storage/storage.ts';
import { pattern } from '../dom0/storage/testing.ts';
import { addDevice, beginDetach, isDetached, removeDevice } from '../dom0/toolstack/device.ts';
import { diskDevice } from '../dom0/toolstack/device-disk.ts';
import { parseCreateArguments, readGuests } from '../dom0/xl/create-options.ts';
import { prepareDisks } from '../dom0/xl/disks.ts';
import { DomainDisks } from '../dom0/xl/host-disks.ts';
import { nodeStorage } from '../dom0/xl/node-storage.ts';
import { ConsoleOutput } from '../dom0/xl/output.ts';
import { Session } from '../dom0/xl/session.ts';
import { type DebianKernel, debianKernel, haveApt } from './support/debian-kernel.ts';
import { allocatedBytes, copyOfImage, debianRootImage } from './support/disk-image.ts';
import { busyboxInitramfs } from './support/initramfs.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-block-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const MIB = 2 ** 20;
const PLUGS = 10;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const text = (s: string): Uint8Array => new TextEncoder().encode(s);
const UNHEALTHY = /WARNING:|BUG:|Oops|Call Trace|I\/O error|EXT4-fs error|Kernel panic|general protection|invalid opcode/;

/** An initramfs that goes over to the root on xvda, where bash runs `script`. */
const intoRoot = (kernel: DebianKernel, script: string): Uint8Array =>
  busyboxInitramfs({
    modules: { kernel, names: ['xen-blkfront', 'ext4'] },
    files: {
      'script.sh': text(
        `export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\nmount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t devtmpfs dev /dev\n${script}`,
      ),
    },
    shell: false,
    compress: false,
    commands: [
      'mkdir -p /mnt && mount -t ext4 /dev/xvda /mnt && cp /script.sh /mnt/root/script.sh && umount /proc /sys',
      'exec switch_root /mnt /bin/bash /root/script.sh',
    ],
  });

function config(name: string, kernel: DebianKernel, ramdisk: Uint8Array, disks: readonly string[], memory = 384): string {
  const [initrd, cfg] = [join(scratch, `${name}.cpio`), join(scratch, `${name}.cfg`)];
  writeFileSync(initrd, ramdisk);
  const settings = { name, type: 'pv', kernel: kernel.vmlinuz, ramdisk: initrd, extra: 'console=hvc0 quiet', memory, disk: disks };
  writeFileSync(
    cfg,
    Object.entries(settings)
      .map(([k, v]) => `${k} = ${JSON.stringify(v)}\n`)
      .join(''),
  );
  return cfg;
}

const ROOT_SCRIPT = `
echo ROOT-OK; findmnt -n -o SOURCE,FSTYPE /
apt-get --version | head -n 1
dpkg-query -W | wc -l
echo SUM-B $(dd if=/dev/xvdb bs=1M status=none | sha256sum)
dd if=/dev/urandom of=/dev/xvdc bs=1M count=8 oflag=direct status=none
echo SUM-C $(dd if=/dev/xvdc bs=64k iflag=direct status=none | sha256sum)
dd if=/dev/urandom of=/root/data bs=1M count=8 conv=fsync status=none
echo 3 > /proc/sys/vm/drop_caches
echo SUM-FILE $(sha256sum < /root/data)
for i in $(seq ${PLUGS}); do
  echo "PLUG $i."
  until [ -b /dev/xvdf ]; do sleep 0.2; done
  echo "SUM-PLUG $i" $(dd if=/dev/xvdf bs=1M count=1 status=none | sha256sum)
  dd if=/dev/xvda of=/dev/xvdf bs=4k count=16 skip=$i seek=256 conv=fsync status=none
  echo "SUM-SEEN $i" $(dd if=/dev/xvda bs=4k count=16 skip=$i status=none | sha256sum)
  echo "UNPLUG $i."
  until [ ! -b /dev/xvdf ]; do sleep 0.2; done
done
dd if=/dev/urandom of=/root/large bs=1M count=32 conv=fsync status=none
rm /root/large; sync
echo "BEFORE-TRIM."
sleep 1
fstrim -v /
echo "AFTER-TRIM."
sleep 1
mount -o remount,ro / && e2fsck -f -n /dev/xvda; echo FSCK $?
echo o > /proc/sysrq-trigger
sleep 10
`;

describe.skipIf(!haveApt())('Debian on blkfront (skipped where the host has no apt)', () => {
  let kernel: DebianKernel;
  beforeAll(() => {
    kernel = debianKernel('cloud-amd64');
  });

  it('boots from ext4, runs apt, fsck and dd, survives ten hot plugs, and its fstrim shrinks the image', async () => {
    const root = copyOfImage(debianRootImage({ kernel, sizeMiB: 512 }), join(scratch, 'root.img'));
    const [b, c] = [join(scratch, 'b.img'), join(scratch, 'c.img')];
    writeFileSync(b, pattern(8 * MIB));
    writeFileSync(c, new Uint8Array(8 * MIB));
    const plugged = Array.from({ length: PLUGS + 1 }, (_, i) => join(scratch, `plug-${i}.img`));
    for (const [i, file] of plugged.entries()) writeFileSync(file, pattern(2 * MIB, i));
    const cfg = config('root', kernel, intoRoot(kernel, ROOT_SCRIPT), [`${root},raw,xvda,w`, `${b},raw,xvdb,r`, `${c},raw,xvdc,w`]);

    const warnings: string[] = [];
    const guests = readGuests(parseCreateArguments(['-F', cfg]), (line) => void warnings.push(line));
    expect(warnings).toEqual([]);
    const storage = new Storage(nodeStorage, { model: 'nvme' });
    await prepareDisks(storage, guests[0]!.config);
    const attached = new DomainDisks(storage);
    let console = '';
    let done = 0;
    const allocated: number[] = [];
    const failures: unknown[] = [];
    // While the toolstack is at work, the guest's waiting takes time: else it would look for its disk a thousand times.
    let busy = 0;
    const { device } = diskDevice(`${plugged[1]},raw,xvdf,w`);
    const marks: Record<string, (i: number) => Promise<void>> = {
      async PLUG(i) {
        const fresh = diskDevice(`${plugged[i]},raw,xvdf,w`).device;
        await attached.open(fresh);
        addDevice(toolstack.xs, live.domid, fresh);
      },
      async UNPLUG() {
        beginDetach(toolstack.xs, live.domid, 'vbd', device.devid);
        while (!isDetached(toolstack.xs, live.domid, 'vbd', device.devid)) await new Promise((go) => setTimeout(go, 5));
        removeDevice(toolstack.xs, live.domid, 'vbd', device.devid);
        attached.release(device.devid);
      },
      'BEFORE-TRIM': async () => void allocated.push(allocatedBytes(root)),
      'AFTER-TRIM': async () => void allocated.push(allocatedBytes(root)),
    };
    const seen = (bytes: Uint8Array) => {
      console += new TextDecoder().decode(bytes);
      for (const mark of [...console.slice(done).matchAll(/^(PLUG|UNPLUG|BEFORE-TRIM|AFTER-TRIM)(?: (\d+))?\.\r?\n/gm)]) {
        // Not from within the guest's output: between two slices of the machine, as a command of the toolstack's comes.
        busy++;
        setImmediate(() => {
          const over = () => void busy--;
          marks[mark[1]!]!(Number(mark[2]))
            .catch((e: unknown) => void failures.push(e))
            .finally(over);
        });
        done = Math.max(done, console.lastIndexOf(mark[0]) + mark[0].length);
      }
    };
    const session = new Session({
      guests,
      cpus: 1,
      deadline: performance.now() + 1_000_000,
      pace: () => busy > 0,
      world: { canWake: () => false, wait: (ms) => new Promise((go) => setTimeout(go, Math.min(ms, 10))) },
      outputs: [new ConsoleOutput({ room: () => MIB, write: seen }, '')],
      note: (line) => void failures.push(line),
      services: { openStore: storage.open },
      log: null,
    });
    const { toolstack } = session.host;
    const live = [...toolstack.domains.values()][0]!;
    const { domains } = await session.run();
    await storage.closeAll();

    expect(failures).toEqual([]);
    expect(domains[0]!.exitReason, console.slice(-2000)).toBe('poweroff');
    expect(console).not.toMatch(UNHEALTHY);
    expect(console).toMatch(/ROOT-OK\r?\n\/dev\/xvda\s+ext4/);
    expect(console).toMatch(/^apt 2\.\d+/m);
    const sum = (name: string): string | undefined => new RegExp(`^${name} ([0-9a-f]{64})`, 'm').exec(console)?.[1];
    expect(sum('SUM-B')).toBe(sha256(readFileSync(b)));
    expect(sum('SUM-C')).toBe(sha256(readFileSync(c)));
    const file = execFileSync('debugfs', ['-R', 'cat /root/data', root], { maxBuffer: 32 * MIB, stdio: ['ignore', 'pipe', 'ignore'] });
    expect(file.length).toBe(8 * MIB);
    expect(sum('SUM-FILE')).toBe(sha256(file));
    for (let i = 1; i <= PLUGS; i++) {
      const now = readFileSync(plugged[i]!);
      expect(sum(`SUM-PLUG ${i}`), `plug ${i}`).toBe(sha256(pattern(2 * MIB, i).subarray(0, MIB)));
      expect(sum(`SUM-SEEN ${i}`), `plug ${i}`).toBe(sha256(now.subarray(MIB, MIB + 65536)));
    }
    expect(console).toMatch(/^\/: .* trimmed/m);
    expect(allocated.length).toBe(2);
    expect(allocated[0]! - allocated[1]!).toBeGreaterThan(30 * MIB);
    expect(console).toMatch(/^FSCK 0/m);
    // And by the host's own fsck, with the domain gone.
    execFileSync('e2fsck', ['-f', '-n', root], { stdio: 'ignore' });
  });

  it('what the guest flushed is in the file, or in the overlay, when the process is killed', async () => {
    const [raw, base, overlay] = ['flushed.img', 'base.img', 'top.cow'].map((f) => join(scratch, f)) as [string, string, string];
    writeFileSync(raw, new Uint8Array(8 * MIB));
    writeFileSync(base, pattern(8 * MIB));
    const ramdisk = busyboxInitramfs({
      modules: { kernel, names: ['xen-blkfront'] },
      shell: false,
      compress: false,
      commands: [
        // fsync, and not sync: Linux flushes a block device's own cache only when the device itself is synchronized.
        'for d in xvda xvdb; do dd if=/dev/urandom of=/dev/$d bs=64k count=33 seek=3 conv=fsync 2>/dev/null; done',
        'for d in xvda xvdb; do echo SUM-$d $(dd if=/dev/$d bs=64k 2>/dev/null | sha256sum); done',
        'echo SYNCED',
        'while true; do dd if=/dev/urandom of=/dev/xvda bs=64k seek=100 count=20 2>/dev/null; done',
      ],
    });
    const cfg = config('flushed', kernel, ramdisk, [`${raw},raw,xvda,w`, `${base},raw,xvdb,w,overlay=${overlay}`], 256);
    const command = join(import.meta.dirname, '../dom0/xl/ringworld.mjs');
    const child = spawn(process.execPath, [command, 'create', '-F', '-q', '--disk-model=hdd', cfg], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    await new Promise<void>((done, fail) => {
      child.stdout.setEncoding('utf8').on('data', (s: string) => {
        out += s;
        if (out.includes('SYNCED')) child.kill('SIGKILL');
      });
      child.on('error', fail).on('close', () => done());
    });
    const sum = (name: string) => new RegExp(`SUM-${name} ([0-9a-f]{64})`).exec(out)?.[1];
    // What was written after the sync lies behind: up to there it must be as it was.
    const kept = readFileSync(raw);
    kept.fill(0, 100 * 65536);
    expect(sha256(kept)).toBe(sum('xvda'));
    const params: BackendParams = {
      ...{ format: 'raw', target: base, mode: 'r', backendtype: 'phy', isCdrom: false, isDirectIoSafe: false },
      ...{ script: null, overlay, model: null },
    };
    const storage = new Storage(nodeStorage, { model: 'ideal' });
    await storage.prepare({ ...params, mode: 'w' });
    const bytes = new Uint8Array(8 * MIB);
    await storage.open({ ...params, mode: 'w' }).read(0, bytes);
    await storage.closeAll();
    expect(sha256(bytes)).toBe(sum('xvdb'));
    expect(Buffer.compare(readFileSync(base), pattern(8 * MIB))).toBe(0);
  });
});
