// The import fence: which part of the repository may know which. DESIGN section 1 states the direction; this file keeps it.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const PACKAGES = ['abi', 'hypervisor', 'dom0', 'guests', 'tests'] as const;
type Package = (typeof PACKAGES)[number];

/** What each package may import of ours, by the name it must be imported under. */
const MAY: Record<Package, (file: string) => readonly string[]> = {
  abi: () => [],
  hypervisor: () => ['@ringworld/abi'],
  dom0: (file) =>
    file.startsWith('dom0/xl/')
      ? ['@ringworld/abi', '@ringworld/hypervisor', '@ringworld/hypervisor/machine', '@ringworld/guests']
      : ['@ringworld/abi'],
  guests: () => ['@ringworld/abi'],
  tests: () => ['@ringworld/abi', '@ringworld/hypervisor', '@ringworld/hypervisor/machine', '@ringworld/dom0', '@ringworld/guests'],
};

/** Files that may use Node's own modules in packages that must also run in a browser: their names say so. */
const NODE_ALLOWED = (file: string): boolean =>
  file.startsWith('tests/') ||
  file.startsWith('dom0/xl/') ||
  /(^|[/-])node[-.]/.test(file) ||
  /\.spec\.ts$/.test(file) ||
  /\/testing\//.test(file) ||
  /\/host-/.test(file);

function sources(dir: string): string[] {
  return readdirSync(join(root, dir), { withFileTypes: true }).flatMap((e) => {
    const path = join(dir, e.name);
    if (e.name === 'node_modules') return [];
    if (e.isDirectory()) return sources(path);
    return e.name.endsWith('.ts') ? [path] : [];
  });
}

const IMPORT = /(?:^|\n)\s*(?:import|export)\s[^'"]*?from\s*'([^']+)'|(?:^|\n)\s*import\s*'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/g;
const importsOf = (file: string): string[] =>
  [...readFileSync(join(root, file), 'utf8').matchAll(IMPORT)].map((m) => m[1] ?? m[2] ?? m[3] ?? '');

const files = PACKAGES.flatMap((p) => sources(p));
const packageOf = (file: string): Package => file.split('/')[0] as Package;
const isTest = (file: string): boolean => /\.spec\.ts$/.test(file) || /\/testing\/|\/host-cpu\/|-iced\.ts$/.test(file);

describe('imports between the parts of the repository', () => {
  it('finds the sources', () => {
    expect(files.length).toBeGreaterThan(100);
  });

  it('cross packages only in the direction of DESIGN section 1, and never past a package index', () => {
    const wrong: string[] = [];
    for (const file of files) {
      for (const name of importsOf(file)) {
        if (name.startsWith('@ringworld/') && !isTest(file) && !MAY[packageOf(file)](file).includes(name))
          wrong.push(`${file} imports ${name}`);
        if (name.startsWith('.')) {
          const target = relative(root, resolve(root, dirname(file), name));
          if (target !== 'package.json' && target.split('/')[0] !== packageOf(file) && !isTest(file))
            wrong.push(`${file} reaches into ${target}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it('never leave machine/: the emulated PC has not heard of Xen', () => {
    const wrong: string[] = [];
    for (const file of files.filter((f) => f.startsWith('hypervisor/machine/') && !isTest(f))) {
      for (const name of importsOf(file)) {
        const target = name.startsWith('.') ? relative(root, resolve(root, dirname(file), name)) : name;
        if (!target.startsWith('hypervisor/machine/')) wrong.push(`${file} imports ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('use Node only in files whose names say so', () => {
    const wrong = files.filter((f) => !NODE_ALLOWED(f) && importsOf(f).some((n) => n.startsWith('node:')));
    expect(wrong).toEqual([]);
  });

  it('between packages make no cycle', () => {
    const edges = new Map<string, Set<string>>();
    for (const file of files) {
      if (isTest(file)) continue;
      for (const name of importsOf(file)) {
        const m = /^@ringworld\/(\w+)/.exec(name);
        if (m?.[1] && m[1] !== packageOf(file)) edges.set(packageOf(file), (edges.get(packageOf(file)) ?? new Set()).add(m[1]));
      }
    }
    const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
      [...(edges.get(from) ?? [])].some((n) => n === to || (!seen.has(n) && reaches(n, to, seen.add(n))));
    expect(PACKAGES.filter((p) => reaches(p, p))).toEqual([]);
  });
});
