// `npm run bench`: how fast the engine is, printed, with nothing asserted. Times are of this machine at this moment: compare the rows of
// one run with each other. The kernel rows need Debian's package manager, the QEMU row qemu-system-x86_64; what is missing is said.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildHello32, buildHello64 } from '@ringworld/guests';
import { debianKernel, haveApt } from '../support/debian-kernel.ts';
import { busyboxInitramfs } from '../support/initramfs.ts';
import { registerLoop } from './register-loop.ts';

const COMMAND = join(import.meta.dirname, '../../dom0/xl/ringworld.mjs');
const scratch = mkdtempSync(join(tmpdir(), 'ringworld-bench-'));
const rows: { what: string; figure: string }[] = [];
const results: Record<string, number> = {};

function row(key: string, what: string, value: number, unit: string, extra = ''): void {
  results[key] = value;
  rows.push({ what, figure: `${value < 10 ? value.toFixed(2) : value.toFixed(1)} ${unit}${extra}` });
  console.log(`  ${what}: ${rows.at(-1)!.figure}`);
}
const median = (xs: readonly number[]): number => [...xs].sort((a, b) => a - b)[xs.length >> 1]!;

/** Seconds from the command to its end (or to the first output that contains `until`). */
function timeCommand(command: string, args: readonly string[], until?: string): Promise<{ seconds: number; stdout: string }> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    let stdout = '';
    let at: number | undefined;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (until !== undefined && at === undefined && stdout.includes(until)) {
        at = (performance.now() - start) / 1000;
        child.kill();
      }
    });
    child.on('error', reject).on('close', () => resolve({ seconds: at ?? (performance.now() - start) / 1000, stdout }));
  });
}

async function hello(): Promise<void> {
  for (const [name, image] of [
    ['hello-pv64', buildHello64()],
    ['hello-pv32pae', buildHello32()],
  ] as const) {
    const file = join(scratch, `${name}.elf`);
    writeFileSync(file, image);
    const times: number[] = [];
    for (let i = 0; i < 3; i++)
      times.push((await timeCommand(process.execPath, [COMMAND, 'create', '-F', '--kernel', file, 'memory=32'])).seconds);
    row(name, `${name}, command to exit, median of 3`, median(times), 's');
  }
}

async function kernel(): Promise<void> {
  if (!haveApt()) {
    console.log('  kernel rows: skipped, they need apt-get to fetch linux-image-cloud-amd64');
    return;
  }
  const { vmlinuz } = debianKernel('cloud-amd64');
  const ramdisk = join(scratch, 'initramfs.gz');
  writeFileSync(ramdisk, busyboxInitramfs({ shell: false }));
  const args = ['create', '-F', '-q', '--json', '--kernel', vmlinuz, '--ramdisk', ramdisk, '--cmdline', 'console=hvc0', 'memory=256'];
  const { seconds, stdout } = await timeCommand(process.execPath, [COMMAND, ...args]);
  const report = JSON.parse(stdout) as { virtualCycles: number; exitReason: string };
  if (report.exitReason !== 'poweroff') throw new Error(`the kernel ended with ${report.exitReason}`);
  row(
    'pv-boot',
    'cloud kernel as PV domain, command to init and off again',
    seconds,
    's',
    `, ${(report.virtualCycles / 1e9).toFixed(2)} G instructions`,
  );
  row('pv-boot-speed', 'the same', report.virtualCycles / seconds / 1e6, 'M instructions/s');
  if (spawnSync('qemu-system-x86_64', ['--version']).error) {
    console.log('  QEMU row: skipped, qemu-system-x86_64 is not installed (apt-get install qemu-system-x86)');
    return;
  }
  const qemu = [
    '-accel',
    'tcg',
    '-m',
    '256',
    '-nographic',
    '-no-reboot',
    '-kernel',
    vmlinuz,
    '-initrd',
    ramdisk,
    '-append',
    'console=ttyS0',
  ];
  const times: number[] = [];
  for (let i = 0; i < 3; i++) times.push((await timeCommand('qemu-system-x86_64', qemu, 'BOOT-OK')).seconds);
  row('qemu-tcg', 'the same kernel bare on QEMU TCG, to init, median of 3', median(times), 's');
  row('ratio', 'PV here / bare on QEMU TCG', seconds / median(times), '');
}

console.log('ringworld bench');
row('register-loop', 'interpreter, register loop', median(registerLoop(3)), 'M instructions/s');
await hello();
await kernel();
const json = process.argv.find((a) => a.startsWith('--json='));
if (json) writeFileSync(json.slice('--json='.length), `${JSON.stringify(results, null, 2)}\n`);
rmSync(scratch, { recursive: true });
