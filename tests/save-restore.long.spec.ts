// A stock Debian domain saved and restored: in the same host, as a snapshot that goes on, and in a new host process. What ran before runs after,
// and its time goes forward.

import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { POWER_COMMANDS, TestHost, type TestTerminal } from './support/host.ts';
import { busyboxInitramfs } from './support/initramfs.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringworld-save-'));
const host = new TestHost(folder);
const other = new TestHost(folder, 'other');

/** The counter that the shell keeps, and the kernel's seconds since it started. */
async function read(t: TestTerminal): Promise<{ count: number; uptime: number }> {
  const words = (await t.shell('cat /tmp/n /proc/uptime')).trim().split(/\s+/).map(Number);
  return { count: words[0]!, uptime: words[1]! };
}

describe.skipIf(!haveApt())('save and restore of a stock Debian domain (skipped where the host has no apt)', () => {
  beforeAll(async () => {
    const kernel = debianKernel('cloud-amd64');
    const modules = { kernel, names: ['xen-blkfront', 'xen-netfront'] };
    writeFileSync(join(folder, 'initrd'), busyboxInitramfs({ files: POWER_COMMANDS, modules }));
    writeFileSync(join(folder, 'disk.img'), new Uint8Array(1 << 20));
    writeFileSync(
      join(folder, 'a.cfg'),
      `name = "a"\nkernel = "${kernel.vmlinuz}"\nramdisk = "initrd"\nextra = "console=hvc0"\nmemory = 128\nvcpus = 2\n` +
        `disk = ['disk.img,raw,xvda,rw']\nvif = ['bridge=xenbr0']\n`,
    );
    await host.start('--memory=256', '--cpus=2');
    await host.ok('create', 'a.cfg');
    const t = host.terminal('a');
    await t.until(/\/ # /);
    await t.shell('echo 0 > /tmp/n; (while true; do echo $(($(cat /tmp/n)+1)) > /tmp/m; mv /tmp/m /tmp/n; sleep 0.2; done) & true');
    t.leave();
  });
  afterAll(async () => {
    await host.end();
    await other.end();
    rmSync(folder, { recursive: true, force: true });
  });

  it('in the same host: counter and time go on, both vCPUs are back, the kernel has nothing to complain of', async () => {
    let t = host.terminal('a');
    const before = await read(t);
    await t.shell('echo from before > /dev/xvda; sync');
    t.leave();
    const saved = await host.run('save', 'a', 'a.save');
    expect([saved.code, saved.stderr]).toEqual([0, 'Saving to a.save new xl format\n']);
    // All of its memory, and little beside.
    expect(statSync(join(folder, 'a.save')).size).toBeGreaterThan(128 * 2 ** 20);
    expect(statSync(join(folder, 'a.save')).size).toBeLessThan(132 * 2 ** 20);
    expect(await host.ok('list')).not.toMatch(/^a /m);
    await host.ok('restore', 'a.save');
    t = host.terminal('a');
    const after = await read(t);
    expect(after.count).toBeGreaterThanOrEqual(before.count);
    expect(after.count).toBeLessThan(before.count + 200);
    expect(after.uptime).toBeGreaterThan(before.uptime);
    await t.shell('sleep 1');
    const later = await read(t);
    expect(later.count).toBeGreaterThan(after.count);
    expect(later.uptime).toBeGreaterThan(after.uptime + 0.9);
    expect((await t.shell('grep -c ^processor /proc/cpuinfo')).trim()).toBe('2');
    expect(await t.shell('dmesg | grep -cE "WARNING:|BUG:|Oops|Call Trace"; true')).toMatch(/^0\r?\n/);
    // Disk and network are new ones, which the frontends have found again.
    expect((await t.shell('head -n 1 /dev/xvda')).trim()).toBe('from before');
    await t.shell('echo from after > /dev/xvda; sync');
    expect(readFileSync(join(folder, 'disk.img'), 'latin1').startsWith('from after\n')).toBe(true);
    expect(await t.shell('cat /sys/class/net/eth0/address')).toMatch(/^00:16:3e:/);
    t.leave();
    for (const list of ['block-list', 'network-list']) expect(await host.ok(list, 'a')).toMatch(/ 4 .*\/backend\//);
  });

  it('save -c leaves it running, save -p paused', async () => {
    const id = (await host.ok('domid', 'a')).trim();
    let t = host.terminal('a');
    const before = await read(t);
    t.leave();
    await host.ok('save', '-c', 'a', 'b.save');
    expect((await host.ok('domid', 'a')).trim()).toBe(id);
    t = host.terminal('a');
    await t.shell('sleep 1');
    expect((await read(t)).count).toBeGreaterThan(before.count);
    t.leave();
    await host.ok('save', '-p', 'a', 'c.save');
    expect(await host.ok('list', 'a')).toMatch(/ --p--- /);
    await host.ok('unpause', 'a');
    t = host.terminal('a');
    await t.shell('true');
    t.leave();
  });

  it('in a new host process, as often as one likes; a domain that reboots there starts from its kernel', async () => {
    await other.start('--memory=256', '--cpus=1');
    let before = -1;
    for (const round of [1, 2]) {
      await other.ok('restore', 'b.save');
      const t = other.terminal('a');
      const { count } = await read(t);
      if (round === 1) before = count;
      else expect(Math.abs(count - before)).toBeLessThan(100);
      t.leave();
      if (round === 1) await other.ok('destroy', 'a');
    }
    const t = other.terminal('a');
    await other.ok('reboot', '-w', 'a');
    await t.until(/BOOT-OK/);
    t.leave();
    await other.ok('destroy', 'a');
  });

  it('a file that is cut short or not ours is refused, and no domain is left', async () => {
    for (const size of [10, 5000, 1_000_000, 100_000_000]) {
      const cut = join(folder, 'cut.save');
      copyFileSync(join(folder, 'c.save'), cut);
      truncateSync(cut, size);
      const { code, stderr } = await other.run('restore', cut);
      expect([size, code]).toEqual([size, 1]);
      expect(stderr).toMatch(/ends within/);
    }
    expect((await other.ok('list')).split('\n').length).toBe(3);
  });
});
