// Debian's stock cloud kernel on the PC itself: every way in, one CPU and four, a shell on ttyS0 that answers, and the power off.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

/** What no boot may say. */
const BAD = /BUG:|WARNING:|Oops|Call Trace|Kernel panic|TSC.*(warp|unstable)|spurious|nobody cared|stuck|hung|lockup|timed out/i;

describe.skipIf(!haveApt())("Debian's cloud kernel, bare (skipped where the host has no apt)", () => {
  let dir = '';
  let kernel = '';
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'ringworld-bare-'));
    kernel = debianKernel('cloud-amd64').vmlinuz;
    writeFileSync(join(dir, 'initrd'), busyboxInitramfs());
    writeFileSync(join(dir, 'initrd-quiet'), busyboxInitramfs({ shell: false, commands: ['cat /proc/interrupts', 'sleep 1'] }));
  });
  afterAll(() => rmSync(dir, { recursive: true }));
  const args = (...more: string[]) => [
    'bare',
    '--timeout',
    '600',
    kernel,
    `ramdisk=${dir}/initrd`,
    'memory=256',
    'on_reboot=destroy',
    'extra=console=ttyS0 panic=-1',
    ...more,
  ];

  it.each([
    ['linux64', 1],
    ['linux64', 4],
    ['linux32', 1],
    ['pvh', 1],
    ['pvh', 4],
  ])('by %s with %i CPUs comes to a shell that runs what is typed, and powers off', async (protocol, cpus) => {
    const ran = await ringworld(args(`protocol=${protocol}`, `vcpus=${cpus}`), [
      { after: '/ # ', type: 'echo six times seven is $((6*7)), $(nproc) CPUs; uname -r\n' },
      { after: '-cloud-amd64', type: 'dmesg | grep -c .; cat /proc/cmdline\n' },
      { after: 'panic=-1', type: 'poweroff -f\n' },
    ]);
    expect(ran.stderr).toBe('');
    expect(ran.code).toBe(0);
    expect(ran.stdout).toContain('BOOT-OK');
    expect(ran.stdout).toMatch(new RegExp(`^six times seven is 42, ${cpus} CPUs`, 'm'));
    expect(ran.stdout).toContain('tsc: Detected 2100.000 MHz processor');
    expect(ran.stdout).toContain('reboot: Power down');
    expect(ran.stdout).not.toMatch(BAD);
  });

  it('runs the same every time, to the cycle, on four CPUs', async () => {
    const once = async () => {
      const ran = await ringworld([...args('protocol=pvh', 'vcpus=4', `ramdisk=${dir}/initrd-quiet`), '-F', '--json', '-q']);
      expect(ran.code).toBe(0);
      const { virtualCycles, exitReason } = JSON.parse(ran.stdout) as { virtualCycles: number; exitReason: string };
      expect(exitReason).toBe('poweroff');
      return virtualCycles;
    };
    expect(await once()).toBe(await once());
  });

  it('a panic that reboots ends with the exit code of a reboot, and says so', async () => {
    const ran = await ringworld([...args('extra=console=ttyS0 panic=-1 init=/nowhere rdinit=/nowhere'), '-F']);
    expect(ran.code).toBe(4);
    expect(ran.stdout).toContain('Kernel panic');
    expect(ran.stderr).toMatch(/rebooted \(.*\): on_reboot ends it/);
  });
});
