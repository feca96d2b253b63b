// The host as its user meets it: stock Debian domains that come and go, several terminals, and what xl's commands do seen from inside.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { POWER_COMMANDS, TestHost } from './support/host.ts';
import { busyboxInitramfs } from './support/initramfs.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringworld-host-'));
const host = new TestHost(folder);

describe.skipIf(!haveApt())('ringworld host with stock Debian domains (skipped where the host has no apt)', () => {
  beforeAll(async () => {
    writeFileSync(join(folder, 'initrd'), busyboxInitramfs({ files: POWER_COMMANDS }));
    const kernel = debianKernel('cloud-amd64').vmlinuz;
    const config = (name: string, more: string) =>
      writeFileSync(
        join(folder, `${name}.cfg`),
        `name = "${name}"\nkernel = "${kernel}"\nramdisk = "initrd"\nextra = "console=hvc0"\nmemory = 192\n${more}\n`,
      );
    config('one', 'maxmem = 256\nvcpus = 1\nmaxvcpus = 2');
    config('two', '');
    await host.start('--memory=512', '--cpus=2');
  });
  afterAll(async () => {
    await host.end();
    rmSync(folder, { recursive: true, force: true });
  });

  it('creates, and two terminals at one console see the same; sleep takes as long as it does', async () => {
    expect(await host.ok('create', 'one.cfg')).toBe('Parsing config from one.cfg\n');
    const [a, b] = [host.terminal('one'), host.terminal('one')];
    await Promise.any([a.until(/\/ # /), b.until(/\/ # /)]);
    expect(await a.shell('uname -r')).toContain(debianKernel('cloud-amd64').version);
    await b.until(/uname -r[\s\S]*cloud-amd64\r?\n/);
    const start = performance.now();
    await b.shell('sleep 2');
    expect(performance.now() - start).toBeGreaterThan(1900);
    // The machine's clock was the host's when it was switched on; a busy machine's lags, it never leads.
    const now = Number((await b.shell('date +%s')).trim());
    expect(now).toBeGreaterThan(Date.now() / 1000 - 600);
    expect(now).toBeLessThan(Date.now() / 1000 + 2);
    a.leave();
    b.leave();
  });

  it('pause stops the guest and unpause lets it go on', async () => {
    const t = host.terminal('one');
    await t.shell('i=0; (while true; do i=$((i+1)); echo $i > /tmp/n; sleep 0.1; done) & true');
    await host.ok('pause', 'one');
    expect(await host.ok('list', 'one')).toMatch(/one .* --p--- /);
    t.type('cat /tmp/n; echo went on\n');
    await new Promise((done) => setTimeout(done, 1500));
    expect(t.text).not.toMatch(/\nwent on/);
    await host.ok('unpause', 'one');
    await t.until(/\nwent on/);
    t.leave();
  });

  it('mem-set is seen in /proc/meminfo, vcpu-set in /proc/cpuinfo', async () => {
    const t = host.terminal('one');
    const total = async () => Number(/MemTotal:\s+(\d+)/.exec(await t.shell('grep MemTotal /proc/meminfo'))?.[1]);
    const settles = async (want: (kb: number) => boolean) => {
      for (let i = 0; i < 40 && !want(await total()); i++) await t.shell('sleep 0.5');
      return total();
    };
    const before = await total();
    await host.ok('mem-set', 'one', '128');
    expect(before - (await settles((kb) => before - kb > 60_000))).toBeGreaterThan(60_000);
    expect(await host.ok('list', 'one')).toMatch(/^one +\d+ +128 /m);
    await host.ok('mem-set', 'one', '256m');
    expect((await settles((kb) => kb - before > 60_000)) - before).toBeGreaterThan(60_000);

    expect((await t.shell('grep -c ^processor /proc/cpuinfo')).trim()).toBe('1');
    await host.ok('vcpu-set', 'one', '2');
    // A PV kernel leaves it to its user space (udev) to bring the vCPU up.
    await t.shell('until [ -e /sys/devices/system/cpu/cpu1/online ]; do sleep 0.1; done; echo 1 > /sys/devices/system/cpu/cpu1/online');
    expect((await t.shell('grep -c ^processor /proc/cpuinfo')).trim()).toBe('2');
    expect(await host.ok('vcpu-list', 'one')).toMatch(/^one +\d+ +1 +\d +[r-][b-]- /m);
    await host.ok('vcpu-set', 'one', '1');
    await t.shell('until [ $(grep -c ^processor /proc/cpuinfo) = 1 ]; do sleep 0.1; done');
    t.leave();
  });

  it('a second domain from a second client runs beside the first; sysrq reaches the one that is meant', async () => {
    const other = host.terminal('two', 'create', '-c', 'two.cfg');
    await other.until(/\/ # /);
    const list = await host.ok('list');
    expect(list).toMatch(/^one .*\ntwo /m);
    await host.ok('sysrq', 'two', 'h');
    await other.until(/sysrq: HELP/);
    expect(await host.ok('domid', 'two')).toMatch(/^\d+\n$/);
    other.leave();
  });

  it('reboot brings a new domain, whose terminal stays; shutdown -w waits for the end; destroy does not', async () => {
    const id = (await host.ok('domid', 'two')).trim();
    const t = host.terminal('two');
    const rebooted = await host.run('reboot', '-w', 'two');
    expect([rebooted.code, rebooted.stderr]).toEqual([
      0,
      `Rebooting domain ${id}\nWaiting for 1 domains\nDomain ${id} has been shut down, reason code 1\n`,
    ]);
    expect((await host.ok('domid', 'two')).trim()).not.toBe(id);
    await t.until(/BOOT-OK[\s\S]*\/ # /);
    const ended = await host.run('shutdown', '-w', 'two');
    expect(ended.code).toBe(0);
    expect(ended.stderr).toMatch(/has been shut down, reason code 0\n$/);
    expect(await t.ended).toBe(0);
    expect(await host.ok('list')).not.toMatch(/^two /m);
    await host.ok('destroy', 'one');
    expect((await host.ok('list')).split('\n').length).toBe(3);
  });

  it('SIGTERM ends it: its domains, its socket, its process', async () => {
    const other = new TestHost(folder, 'other');
    const pid = Number(/process (\d+)/.exec(await other.start('--memory=256'))?.[1]);
    await other.ok('create', 'two.cfg');
    const t = other.terminal('two');
    await t.until(/BOOT-OK/);
    process.kill(pid, 'SIGTERM');
    expect(await t.ended).toBe(0);
    for (let i = 0; i < 100 && existsSync(other.socket); i++) await new Promise((done) => setTimeout(done, 100));
    expect(existsSync(other.socket)).toBe(false);
    expect(readFileSync(join(folder, 'other.log'), 'utf8')).toMatch(/host is up[\s\S]*host has ended\n$/);
    const { code, stderr } = await other.run('list');
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^ringworld: no host is running at /)]);
  });
});
