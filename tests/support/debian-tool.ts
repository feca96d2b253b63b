// Programs of Debian packages for tests, without installing them: the package and what it depends on and this machine lacks, unpacked under
// .cache/tools/, with a small script for each program that finds its libraries there.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../../.cache/tools/', import.meta.url));
const LIBRARIES = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'];
const PROGRAMS = ['usr/bin', 'usr/sbin', 'bin', 'sbin'];

const run = (command: string, args: readonly string[], cwd = '/'): string =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 });

/** A directory to put in front of PATH. A package that is installed already gives an empty one. */
export function debianTools(packageName: string): string {
  const home = join(CACHE, packageName);
  if (existsSync(home)) return join(home, 'bin');
  const aside = `${home}.${process.pid}`;
  const archives = join(aside, 'archives');
  mkdirSync(join(archives, 'partial'), { recursive: true });
  try {
    const options = [`Dir::Cache::archives=${archives}`, 'Debug::NoLocking=1'].flatMap((o) => ['-o', o]);
    const install = ['install', '--download-only', '-qq', '-y', '--no-install-recommends', ...options, packageName];
    try {
      run('apt-get', install);
    } catch {
      run('apt-get', ['update']);
      run('apt-get', install);
    }
    const root = join(aside, 'root');
    mkdirSync(root);
    for (const deb of readdirSync(archives).filter((f) => f.endsWith('.deb'))) run('dpkg-deb', ['-x', join(archives, deb), root]);
    rmSync(archives, { recursive: true });
    mkdirSync(join(aside, 'bin'));
    for (const dir of PROGRAMS.filter((d) => existsSync(join(root, d))))
      for (const name of readdirSync(join(root, dir))) {
        const script = join(aside, 'bin', name);
        const libraries = LIBRARIES.map((l) => join(home, 'root', l)).join(':');
        writeFileSync(script, `#!/bin/sh\nLD_LIBRARY_PATH=${libraries} exec ${join(home, 'root', dir, name)} "$@"\n`);
        chmodSync(script, 0o755);
      }
    if (!existsSync(home)) renameSync(aside, home);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  return join(home, 'bin');
}

/** This process's environment with the tools of some packages. */
export const withTools = (...packages: readonly string[]): NodeJS.ProcessEnv => ({
  ...process.env,
  PATH: [...packages.map(debianTools), process.env.PATH].join(':'),
});
