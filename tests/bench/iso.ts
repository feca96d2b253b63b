// A Linux kernel and its initramfs on a CD that starts by itself, for Bochs: GRUB's own tool writes it.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LinuxGuest } from './emulators.ts';

/** What is missing to write one; null when nothing is. */
export function isoTrouble(): string | null {
  for (const [tool, where] of [
    ['grub-mkrescue', 'grub-common and grub-pc-bin'],
    ['xorriso', 'xorriso'],
    ['mformat', 'mtools'],
  ] as const)
    if (spawnSync(tool, ['--version']).error !== undefined) return `${tool} is not installed (apt-get install ${where})`;
  return null;
}

export function linuxIso(guest: LinuxGuest, scratch: string): string {
  const root = join(scratch, 'iso');
  const iso = join(scratch, 'linux.iso');
  mkdirSync(join(root, 'boot/grub'), { recursive: true });
  copyFileSync(guest.kernel, join(root, 'vmlinuz'));
  copyFileSync(guest.ramdisk, join(root, 'initrd'));
  const menu = ['set timeout=0', 'menuentry linux {', `  linux /vmlinuz console=ttyS0 ${guest.cmdline}`, '  initrd /initrd', '}', ''];
  writeFileSync(join(root, 'boot/grub/grub.cfg'), menu.join('\n'));
  const made = spawnSync('grub-mkrescue', ['-o', iso, root], { encoding: 'utf8' });
  rmSync(root, { recursive: true });
  if (made.status !== 0) throw new Error(`grub-mkrescue failed:\n${made.stderr}`);
  return iso;
}
