// Debian's own files for tests, fetched by package name with apt (never a copy in this repository) and kept under .cache/,
// which git ignores: kernels with their modules, and the static busybox. A second call finds everything on disk.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../../.cache/', import.meta.url));

const run = (command: string, args: string[], cwd: string): string =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 24 });

/** Whether this host has apt and dpkg at all. A test that needs them says so when it is skipped. */
export function haveApt(): boolean {
  try {
    run('apt-cache', ['--version'], '/');
    run('dpkg', ['--version'], '/');
    return true;
  } catch {
    return false;
  }
}

/** The package lists may be missing on a fresh machine: then they are fetched once. */
function withLists<T>(attempt: () => T): T {
  try {
    return attempt();
  } catch {
    run('apt-get', ['update'], '/');
    return attempt();
  }
}

/** The contents of a Debian package, unpacked under .cache/; returns its root directory. */
export function debianPackage(name: string): string {
  const root = join(CACHE, 'packages', name);
  if (existsSync(root)) return root;
  // Unpacked aside and moved into place whole, so that an interrupted or a parallel run leaves nothing half done.
  const aside = join(CACHE, `unpacking-${name}-${process.pid}`);
  mkdirSync(join(aside, 'root'), { recursive: true });
  try {
    withLists(() => run('apt-get', ['download', name], aside));
    const deb = readdirSync(aside).find((f) => f.endsWith('.deb'));
    if (deb === undefined) throw new Error(`apt-get download ${name} brought no .deb`);
    run('dpkg', ['-x', deb, 'root'], aside);
    mkdirSync(join(CACHE, 'packages'), { recursive: true });
    if (!existsSync(root)) renameSync(join(aside, 'root'), root);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  return root;
}

export interface DebianKernel {
  /** The package that holds it, e.g. linux-image-6.1.0-56-cloud-amd64. */
  readonly packageName: string;
  /** As `uname -r` prints it. */
  readonly version: string;
  readonly vmlinuz: string;
  /** /lib/modules/<version>. */
  readonly modulesDir: string;
}

/** The current kernel of a flavour: what the metapackage linux-image-<flavour> depends on. */
export function debianKernel(flavour: 'cloud-amd64' | 'amd64'): DebianKernel {
  const meta = `linux-image-${flavour}`;
  const remembered = join(CACHE, `${meta}.name`);
  let packageName = existsSync(remembered) ? readFileSync(remembered, 'utf8').trim() : '';
  if (packageName === '') {
    const found = withLists(() => {
      const match = /Depends: (linux-image-\S+)/.exec(run('apt-cache', ['depends', meta], '/'));
      if (match?.[1] === undefined) throw new Error(`apt-cache knows no kernel that ${meta} depends on`);
      return match[1];
    });
    packageName = found;
    mkdirSync(CACHE, { recursive: true });
    writeFileSync(remembered, `${found}\n`);
  }
  const root = debianPackage(packageName);
  const version = packageName.replace(/^linux-image-/, '').replace(/-unsigned$/, '');
  return { packageName, version, vmlinuz: join(root, 'boot', `vmlinuz-${version}`), modulesDir: join(root, 'lib/modules', version) };
}

/** The static busybox of Debian's busybox-static. */
export function debianBusybox(): string {
  const root = debianPackage('busybox-static');
  const path = ['bin/busybox', 'usr/bin/busybox'].map((p) => join(root, p)).find((p) => existsSync(p));
  if (path === undefined) throw new Error('busybox-static holds no busybox');
  return path;
}
