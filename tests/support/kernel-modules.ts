// Modules of a Debian kernel with what they depend on, in loading order. The package brings no modules.dep (depmod makes it when the package
// is installed), so the dependencies are read where depmod reads them: in each module's .modinfo (depends=, softdep=pre:).
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { DebianKernel } from './debian-kernel.ts';

export interface KernelModule {
  readonly name: string;
  /** What was written behind its name. */
  readonly parameters: string;
  /** The uncompressed .ko. */
  readonly bytes: Uint8Array;
}

/** Names differ from file names in dashes and underscores only. */
const canonical = (name: string): string => name.replaceAll('-', '_');
const nameOf = (path: string): string => canonical(basename(path).replace(/\.ko(\.xz)?$/, ''));

/** The modules named ('xen-blkfront', or with parameters, 'xen-blkfront max=64') and all that they need, each after what it needs. What the kernel has built in is left out. */
export function kernelModules(kernel: DebianKernel, names: readonly string[]): KernelModule[] {
  const files = new Map<string, string>();
  for (const entry of readdirSync(join(kernel.modulesDir, 'kernel'), { recursive: true, encoding: 'utf8' }))
    if (/\.ko(\.xz)?$/.test(entry)) files.set(nameOf(entry), join(kernel.modulesDir, 'kernel', entry));
  const builtin = new Set(readFileSync(join(kernel.modulesDir, 'modules.builtin'), 'utf8').trim().split('\n').map(nameOf));
  const chosen = new Map<string, KernelModule>();
  const parameters = new Map<string, string>();
  const add = (name: string, isSoft: boolean) => {
    // A soft dependency may be an algorithm's name, which its plain implementation has as an alias.
    const candidates = isSoft ? [name, `${name}_generic`] : [name];
    const found = candidates.find((n) => files.has(n));
    if (found === undefined) {
      if (isSoft || builtin.has(name)) return;
      throw new Error(`${kernel.packageName} has no module ${name}`);
    }
    if (chosen.has(found)) return;
    const bytes = readModule(files.get(found)!);
    const info = modinfo(bytes);
    for (const n of info('depends').flatMap((v) => v.split(','))) if (n !== '') add(canonical(n), false);
    for (const v of info('softdep'))
      for (const n of /pre:([^:]*)(?: post:|$)/.exec(v)?.[1]?.trim().split(/\s+/) ?? []) add(canonical(n), true);
    chosen.set(found, { name: found, parameters: parameters.get(name) ?? '', bytes });
  };
  for (const n of names) {
    const [name, ...rest] = n.split(' ');
    parameters.set(canonical(name!), rest.join(' '));
  }
  for (const name of parameters.keys()) add(name, false);
  return [...chosen.values()];
}

const readModule = (path: string): Uint8Array =>
  path.endsWith('.xz') ? execFileSync('xz', ['-dc', path], { maxBuffer: 1 << 28 }) : readFileSync(path);

/** .modinfo is a row of zero-terminated key=value strings; no other section holds such strings with these keys. */
function modinfo(bytes: Uint8Array): (key: string) => string[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  return (key) => [...text.matchAll(new RegExp(`\\0${key}=([^\\0]*)(?=\\0)`, 'g'))].map((m) => m[1]!);
}
