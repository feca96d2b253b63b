// Stock Debian kernels as PV domains, from the command line as a user boots them: the bars of the first issue.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { debianKernel, haveApt } from './support/debian-kernel.ts';
import { busyboxInitramfs, type InitramfsOptions } from './support/initramfs.ts';
import { ringworld } from './support/ringworld.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ringworld-boot-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

let files = 0;
function initramfs(options: InitramfsOptions): string {
  const path = join(scratch, `initramfs-${files++}.gz`);
  writeFileSync(path, busyboxInitramfs(options));
  return path;
}
function config(flavour: 'cloud-amd64' | 'amd64', settings: Record<string, string | number>, options: InitramfsOptions): string {
  const path = join(scratch, `guest-${files++}.cfg`);
  const all = { type: 'pv', kernel: debianKernel(flavour).vmlinuz, ramdisk: initramfs(options), extra: 'console=hvc0', ...settings };
  writeFileSync(
    path,
    Object.entries(all)
      .map(([k, v]) => `${k} = ${typeof v === 'number' ? v : JSON.stringify(v)}\n`)
      .join(''),
  );
  return path;
}

/** What no healthy boot prints. On real Xen this kernel prints none of it with one vCPU (shared/reference). */
const UNHEALTHY = /WARNING:|BUG:|Oops|Call Trace|Xen: .* not |Kernel panic|general protection|invalid opcode/;

describe.skipIf(!haveApt())('Debian kernels as PV domains (skipped where the host has no apt)', () => {
  it('linux-image-cloud-amd64 boots to a shell; what is typed runs; poweroff is exit code 0', async () => {
    const cfg = config('cloud-amd64', { name: 'cloud', memory: 256, vcpus: 1 }, {});
    const ran = await ringworld(
      ['create', '-c', '--timeout', '900', cfg],
      [
        { after: '/ # ', type: 'cat /proc/cpuinfo /proc/interrupts; date; sleep 2; date; echo six times seven is $((6 * 7))\n' },
        { after: 'is 42', type: 'poweroff -f\n' },
      ],
    );
    expect(ran.stderr).not.toMatch(/error/i);
    expect(ran.code).toBe(0);
    expect(ran.stdout).not.toMatch(UNHEALTHY);
    expect(ran.stdout).toContain('Hypervisor detected: Xen PV');
    expect(ran.stdout).toMatch(/model name\s*: \S+/);
    expect(ran.stdout).toMatch(/cpu MHz\s*: 2100\.000/);
    expect(ran.stdout).toMatch(/xen-percpu\s+-virq\s+timer0/);
    expect(ran.stdout).toMatch(/xen-dyn(-lateeoi)?\s+-event\s+hvc_console/);
    // The machine is switched on at the start of 2026; two seconds of sleep are two seconds of date.
    const times = [...ran.stdout.matchAll(/00:00:(\d\d) UTC 2026/g)].map((m) => Number(m[1]));
    expect(times.length).toBe(2);
    expect(times[1]! - times[0]!).toBe(2);
  });

  it('the same input gives the same virtual cycle count twice, by either engine, with 4 vCPUs, in 128 MiB', async () => {
    const cfg = config(
      'cloud-amd64',
      { name: 'again', memory: 128, vcpus: 4 },
      { commands: ['grep -c ^processor /proc/cpuinfo', 'cat /proc/interrupts'], shell: false },
    );
    const run = (engine: string) => ringworld(['create', '-F', '-q', '--json', `--engine=${engine}`, cfg]);
    const [one, two] = [await run('jit'), await run('interp')];
    expect(one.code).toBe(0);
    const [a, b] = [JSON.parse(one.stdout), JSON.parse(two.stdout)];
    expect(a.exitReason).toBe('poweroff');
    expect(a.virtualCycles).toBeGreaterThan(1e9);
    expect(b.virtualCycles).toBe(a.virtualCycles);
    expect(b.hypercalls).toEqual(a.hypercalls);
    expect(b.traps).toEqual(a.traps);
  });

  it('linux-image-amd64 boots with 4 vCPUs in 2 GiB', async () => {
    const cfg = config(
      'amd64',
      { name: 'generic', memory: 2048, vcpus: 4 },
      { commands: ['grep -c ^processor /proc/cpuinfo', 'free -m'], shell: false },
    );
    const ran = await ringworld(['create', '-F', '--timeout', '900', cfg]);
    expect(ran.code).toBe(0);
    expect(ran.stdout).toMatch(/BOOT-OK[\s\S]*\n4\r?\n/);
    expect(ran.stdout).toMatch(/smp: Brought up 1 node, 4 CPUs/);
    expect(ran.stdout).not.toMatch(UNHEALTHY);
    expect(Number(/Mem:\s+(\d+)/.exec(ran.stdout)?.[1])).toBeGreaterThan(1850);
  });

  it('a kernel panic is another exit code, with the panic on standard error', async () => {
    const cfg = config('cloud-amd64', { name: 'panic', memory: 256, vcpus: 1, extra: 'console=hvc0 rdinit=/bin/false' }, {});
    const ran = await ringworld(['create', '-F', '--timeout', '900', cfg]);
    expect(ran.code).toBe(3);
    expect(ran.stdout).toContain('Kernel panic - not syncing: Attempted to kill init!');
    expect(ran.stderr).toMatch(/panic|crash/i);
  });

  it('two domains run side by side', async () => {
    const [a, b] = ['cloud-amd64', 'amd64'] as const;
    const first = config(a, { name: 'left', memory: 192, vcpus: 1 }, { commands: ['uname -r', 'sleep 1'], shell: false });
    const second = config(b, { name: 'right', memory: 256, vcpus: 1 }, { commands: ['uname -r', 'sleep 1'], shell: false });
    const ran = await ringworld(['create', '-F', '--timeout', '900', first, second]);
    expect(ran.code).toBe(0);
    expect(ran.stdout).toMatch(/\(left\) BOOT-OK/);
    expect(ran.stdout).toMatch(/\(right\) BOOT-OK/);
    expect(ran.stdout).toContain(`(left) ${debianKernel(a).version}`);
    expect(ran.stdout).toContain(`(right) ${debianKernel(b).version}`);
    expect(ran.stdout).not.toMatch(UNHEALTHY);
  });
});
