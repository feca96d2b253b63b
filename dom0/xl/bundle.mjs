// Start-up: the sources as one bundle, made by esbuild when they have changed and kept under node_modules/.cache.
//
// Loading some 400 TypeScript files one by one takes most of a second, every time; a bundle that is up to date takes a tenth of one. It is
// a cache and no build step: it is checked against the size and time of every source at each start, and whatever goes wrong with it
// (a read-only folder, say) leads to the sources themselves.

import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CACHE = join(ROOT, 'node_modules', '.cache', 'ringworld');
const MANIFEST = join(CACHE, 'manifest.json');

/** What tells whether a file is the one that was bundled. */
const stamp = (path) => {
  const { mtimeMs, size } = statSync(join(ROOT, path));
  return `${mtimeMs} ${size}`;
};

function known() {
  try {
    const { entry, inputs } = JSON.parse(readFileSync(MANIFEST, 'utf8'));
    for (const [path, was] of Object.entries(inputs)) if (stamp(path) !== was) return undefined;
    statSync(entry);
    return entry;
  } catch {
    return undefined;
  }
}

async function make() {
  const { build } = await import('esbuild');
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const name = `${process.pid}-${Date.now()}`;
  const out = join(CACHE, name);
  mkdirSync(CACHE, { recursive: true });
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: [join(ROOT, 'dom0/xl/main.ts')],
    outdir: out,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: Object.keys(dependencies),
    metafile: true,
    logLevel: 'silent',
  });
  const inputs = Object.fromEntries(Object.keys(metafile.inputs).map((path) => [path, stamp(path)]));
  const entry = join(out, 'main.mjs');
  const before = oldFolder();
  const draft = join(CACHE, `${name}.json`);
  writeFileSync(draft, JSON.stringify({ entry, inputs }));
  renameSync(draft, MANIFEST);
  if (before !== undefined && before !== out) rmSync(before, { recursive: true, force: true });
  return entry;
}

/** Folder of the bundle that the manifest names now. */
function oldFolder() {
  try {
    const folder = dirname(JSON.parse(readFileSync(MANIFEST, 'utf8')).entry);
    return dirname(folder) === CACHE ? folder : undefined;
  } catch {
    return undefined;
  }
}

/** URL of a module that exports main(), or undefined: then the sources have to be loaded. */
export async function bundledMain() {
  try {
    return pathToFileURL(known() ?? (await make())).href;
  } catch {
    return undefined;
  }
}
