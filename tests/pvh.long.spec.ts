// Debian's stock cloud kernel as a PVH domain, from the command line: on VT-x and SVM, with nested and with shadow paging.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

const UNHEALTHY = /BUG:|Oops|Call Trace|Kernel panic|general protection|invalid opcode/;

describe.skipIf(!haveApt())('a stock kernel as PVH domain (skipped where the host has no apt)', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'ringworld-pvh-'));
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));
  const ramdisk = join(scratch, 'initramfs.gz');
  beforeAll(() => {
    const commands = ['busybox sha256sum /bin/busybox', 'busybox sleep 1', 'echo there are $(grep -c ^processor /proc/cpuinfo) processors'];
    writeFileSync(ramdisk, busyboxInitramfs({ shell: false, commands }));
  });

  const boot = (settings: Record<string, string | number>, ...options: string[]) => {
    const cfg = join(scratch, 'guest.cfg');
    const all = {
      name: 'pvh',
      type: 'pvh',
      kernel: debianKernel('cloud-amd64').vmlinuz,
      ramdisk,
      memory: 192,
      cmdline: 'console=hvc0',
      ...settings,
    };
    writeFileSync(
      cfg,
      Object.entries(all)
        .map(([k, v]) => `${k} = ${JSON.stringify(v)}\n`)
        .join(''),
    );
    return ringworld(['create', '-F', '--timeout', '600', ...options, cfg]);
  };

  it.each([
    ['VT-x with EPT', { cpu_profile: 'skylake-sp' }],
    ['VT-x with EPT, two vCPUs', { cpu_profile: 'skylake-sp', vcpus: 2 }],
    ['VT-x with shadow paging', { cpu_profile: 'skylake-sp', hap: 0 }],
    ['VT-x of 2005', { cpu_profile: 'p4-672', hap: 0 }],
    ['SVM with nested paging', { cpu_profile: 'zen' }],
    ['SVM with nested paging, two vCPUs', { cpu_profile: 'zen', vcpus: 2 }],
    ['SVM with shadow paging', { cpu_profile: 'zen', hap: 0 }],
    ['SVM of 2006', { cpu_profile: 'k8-revf', hap: 0 }],
  ])('%s', async (_, settings) => {
    const ran = await boot(settings);
    expect(ran.stderr).not.toMatch(/error/i);
    expect(ran.stdout).not.toMatch(UNHEALTHY);
    expect(ran.stdout).toContain('Booting kernel on Xen PVH');
    expect(ran.stdout).toMatch(/^[0-9a-f]{64} {2}\/bin\/busybox/m);
    expect(ran.stdout).toContain(`there are ${'vcpus' in settings ? settings.vcpus : 1} processors`);
    expect(ran.code).toBe(0);
  });

  it('takes the same virtual cycles twice, and by either engine', async () => {
    const cycles = async (...options: string[]): Promise<unknown> => {
      const ran = await boot({ cpu_profile: 'zen' }, '-q', '--json', ...options);
      const report = JSON.parse(ran.stdout) as { virtualCycles: number; exitReason: string };
      expect(report.exitReason).toBe('poweroff');
      return report.virtualCycles;
    };
    const first = await cycles();
    expect(await cycles()).toBe(first);
    expect(await cycles('--engine=interp')).toBe(first);
  });

  it('is refused in words where the processor cannot', async () => {
    const ran = await boot({ cpu_profile: 'p4-672', hap: 1 });
    expect(ran.code).toBe(1);
    expect(ran.stderr).toContain('the processor does not have the hardware virtualization asked for');
  });
});
