// Disk images for tests, made from Debian's packages and kept under .cache/: a root file system as `debootstrap --variant=minbase` chooses
// its packages (the essential ones and apt), resolved and fetched by apt, unpacked by dpkg-deb, and filled into ext4 by `mke2fs -d`. Unlike
// there, no maintainer script is run: nobody needs root, and the image is ready in seconds. The kernel's modules are in it.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DebianKernel } from './debian-kernel.ts';

const CACHE = fileURLToPath(new URL('../../.cache/images/', import.meta.url));

/** Changes with what is below, so that an image of an older recipe is made anew. */
const RECIPE = 4;
/** Essential: yes in bookworm, apt, and mount, which util-linux only recommends. */
const PACKAGES = `
  base-files base-passwd bash bsdutils coreutils dash debianutils diffutils dpkg e2fsprogs findutils grep gzip hostname init-system-helpers
  libc-bin login ncurses-base ncurses-bin perl-base sed sysvinit-utils tar util-linux apt mount mawk
`
  .trim()
  .split(/\s+/);

const run = (command: string, args: readonly string[], cwd = '/'): string =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 });

export interface RootImageOptions {
  readonly kernel: DebianKernel;
  readonly sizeMiB: number;
}

/** The path of the image. Tests that write it work on a copy, or through an overlay. */
export function debianRootImage(options: RootImageOptions): string {
  const { kernel, sizeMiB } = options;
  const key = createHash('sha256')
    .update(JSON.stringify([RECIPE, PACKAGES, kernel.version, sizeMiB]))
    .digest('hex')
    .slice(0, 12);
  const image = join(CACHE, `debian-root-${key}.img`);
  if (existsSync(image)) return image;
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(tmpdir(), 'ringworld-image-'));
  try {
    const root = join(work, 'root');
    const packages = fetchPackages(join(work, 'archives'));
    unpack(packages, root);
    mkdirSync(join(root, 'usr/lib/modules'), { recursive: true });
    run('cp', ['-a', kernel.modulesDir, join(root, 'usr/lib/modules')]);
    writeFileSync(join(root, 'etc/fstab'), '/dev/xvda / ext4 defaults 0 1\n');
    writeFileSync(join(root, 'etc/hostname'), 'debian\n');
    const aside = join(work, 'root.img');
    // The same tree gives the same file system: nothing in it is of this moment or of this machine.
    const fixed = ['-U', '6f1c5d1e-0000-4000-8000-000000000004', '-E', 'root_owner=0:0,hash_seed=6f1c5d1e-0000-4000-8000-000000000005'];
    run('mke2fs', ['-q', '-t', 'ext4', '-b', '4096', '-L', 'root', ...fixed, '-d', root, aside, `${sizeMiB}M`]);
    run('cp', ['--sparse=always', aside, `${image}.${process.pid}`]);
    renameSync(`${image}.${process.pid}`, image);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return image;
}

/** A sparse copy of an image, for a test to write to. */
export function copyOfImage(image: string, to: string): string {
  run('cp', ['--sparse=always', image, to]);
  return to;
}

/** Bytes that a file takes on the host's disk. */
export const allocatedBytes = (file: string): number => Number(run('stat', ['-c', '%b', file]).trim()) * 512;

/** What apt would install on a machine that has nothing. */
function fetchPackages(archives: string): string[] {
  mkdirSync(join(archives, 'partial'), { recursive: true });
  writeFileSync(join(archives, 'status'), '');
  const options = [`Dir::State::status=${join(archives, 'status')}`, `Dir::Cache::archives=${archives}`, 'Debug::NoLocking=1'];
  const install = ['install', '--download-only', '-qq', '-y', '--no-install-recommends', ...options.flatMap((o) => ['-o', o]), ...PACKAGES];
  try {
    run('apt-get', install);
  } catch {
    // The package lists may be missing on a fresh machine.
    run('apt-get', ['update']);
    run('apt-get', install);
  }
  return readdirSync(archives)
    .filter((f) => f.endsWith('.deb'))
    .sort()
    .map((f) => join(archives, f));
}

/** Unpacks as dpkg does, and writes dpkg's database, so that the tree knows what it consists of. */
function unpack(packages: readonly string[], root: string): void {
  const admin = join(root, 'var/lib/dpkg');
  mkdirSync(join(admin, 'info'), { recursive: true });
  // /bin and the like lead to /usr, as on every Debian since bookworm; its packages still name both.
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(root, 'usr', name), { recursive: true });
    symlinkSync(`usr/${name}`, join(root, name));
  }
  for (const deb of packages) {
    const tar = execFileSync('dpkg-deb', ['--fsys-tarfile', deb], { maxBuffer: 1 << 29 });
    execFileSync('tar', ['-x', '--keep-directory-symlink', '-C', root], { input: tar, stdio: ['pipe', 'pipe', 'pipe'] });
    const control = run('dpkg-deb', ['-f', deb]).trimEnd();
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(control)?.[1] ?? '';
    appendFileSync(join(admin, 'status'), `${control.replace(/^(Package: .*)$/m, '$1\nStatus: install ok installed')}\n\n`);
    const isForeign = field('Multi-Arch') === 'same';
    const list = execFileSync('tar', ['-t'], { input: tar, encoding: 'utf8', maxBuffer: 1 << 28 })
      .trim()
      .split('\n')
      .map((path) => path.replace(/^\./, '').replace(/\/$/, '') || '/.');
    writeFileSync(join(admin, 'info', `${field('Package')}${isForeign ? `:${field('Architecture')}` : ''}.list`), `${list.join('\n')}\n`);
  }
  writeFileSync(join(admin, 'available'), '');
  // base-passwd's own script would make them.
  for (const name of ['passwd', 'group']) copyFileSync(join(root, `usr/share/base-passwd/${name}.master`), join(root, 'etc', name));
}
