// Debian's cloud kernel in every emulator: how each is started on the same guest.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { debianKernel, haveApt } from '../support/debian-kernel.ts';
import { busyboxInitramfs, type InitramfsOptions } from '../support/initramfs.ts';
import { type EmulatorName, haveBare, type LinuxGuest, QEMU, qemuLinux, ringworldBare, ringworldPv } from './emulators.ts';
import { isoTrouble, linuxIso } from './iso.ts';
import { type Bench, runBochs } from './run.ts';
import { type Timed, timed } from './timed.ts';

export interface LinuxRunner {
  readonly name: EmulatorName;
  readonly runs: number;
  run(until?: string): Promise<Timed>;
}

/** Null, with the reason said, where the kernel cannot be fetched. */
export function linuxGuest(bench: Bench, name: string, memoryMib: number, initramfs: InitramfsOptions): LinuxGuest | null {
  if (!haveApt()) {
    bench.say('skipped: apt-get is needed to fetch linux-image-cloud-amd64 and busybox-static');
    return null;
  }
  const ramdisk = join(bench.scratch, `${name}.cpio.gz`);
  writeFileSync(ramdisk, busyboxInitramfs(initramfs));
  return { kernel: debianKernel('cloud-amd64').vmlinuz, ramdisk, cmdline: '', memoryMib };
}

export function linuxRunners(bench: Bench, guest: LinuxGuest): LinuxRunner[] {
  const { options, versions, scratch } = bench;
  const { timeoutSeconds, runs, engine } = options;
  const timing = (until: string | undefined) => ({ timeoutSeconds, ...(until === undefined ? {} : { until }) });
  const node = (args: readonly string[]) => (until?: string) => timed(process.execPath, args, timing(until));
  const all: LinuxRunner[] = [{ name: 'pv', runs, run: node(ringworldPv(guest, engine)) }];
  if (haveBare()) all.push({ name: 'bare', runs, run: node(ringworldBare(guest, engine)) });
  if (versions.qemu !== null && options.useQemu)
    all.push({ name: 'qemu', runs, run: (until) => timed(QEMU, qemuLinux(guest), timing(until)) });
  if (versions.bochs !== null && options.bochsRuns > 0) {
    const trouble = isoTrouble();
    if (trouble !== null) bench.say(`without Bochs: ${trouble}`);
    else {
      const iso = linuxIso(guest, scratch);
      all.push({
        name: 'bochs',
        runs: options.bochsRuns,
        run: (until) => runBochs(bench, guest.memoryMib, { iso }, until === undefined ? {} : { until }),
      });
    }
  }
  return all;
}
