// A disk with GRUB on it, made of Debian's grub-pc-bin by its own grub-mkimage: boot.img in the first sector, the core image after it, with
// a script of ours and files in a memory disk.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { debianPackage } from './debian-kernel.ts';

const MODULES = ['biosdisk', 'serial', 'terminal', 'echo', 'ls', 'iorw', 'memdisk', 'tar', 'linux', 'linux16', 'normal'];

/** Whether grub-mkimage runs here at all (its libraries are the host's). */
export function haveGrub(): boolean {
  try {
    execFileSync(grubMkimage(), ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
const grubMkimage = (): string => {
  const own = join(debianPackage('grub-common'), 'usr/bin/grub-mkimage');
  return existsSync(own) ? own : 'grub-mkimage';
};

/** Runs `script` as soon as GRUB is up. Files appear as (memdisk)/name. */
export function grubDisk(script: string, files: ReadonlyMap<string, Uint8Array> = new Map()): Uint8Array {
  const modules = join(debianPackage('grub-pc-bin'), 'usr/lib/grub/i386-pc');
  const dir = mkdtempSync(join(tmpdir(), 'ringworld-grub-'));
  try {
    writeFileSync(join(dir, 'grub.cfg'), script);
    const contents = join(dir, 'memdisk');
    mkdirSync(contents);
    for (const [name, bytes] of files) {
      mkdirSync(dirname(join(contents, name)), { recursive: true });
      writeFileSync(join(contents, name), bytes);
    }
    execFileSync('tar', ['-cf', join(dir, 'memdisk.tar'), '-C', contents, '.']);
    const core = join(dir, 'core.img');
    execFileSync(grubMkimage(), [
      ...['-d', modules, '-O', 'i386-pc', '-o', core, '-p', '(memdisk)', '-c', join(dir, 'grub.cfg'), '-m', join(dir, 'memdisk.tar')],
      ...MODULES,
    ]);
    const image = readFileSync(core);
    const disk = new Uint8Array(Math.ceil((512 + image.length) / 2 ** 20 + 1) * 2 ** 20);
    disk.set(readFileSync(join(modules, 'boot.img')));
    disk.set(image, 512);
    return disk;
  } finally {
    rmSync(dir, { recursive: true });
  }
}
