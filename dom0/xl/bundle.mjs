// Start-up: the sources as one bundle, made by esbuild when they have changed and kept under node_modules/.cache.
//
// Loading some 400 TypeScript files one by one takes most of a second, every time; a bundle that is up to date takes a tenth of one. It is
// a cache and no build step: it is checked against the size and time of every source at each start, and whatever goes wrong with it
// (a read-only folder, say) leads to the sources themselves.

import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CACHE = join(ROOT, 'node_modules', '.cache', 'ringworld');
const MANIFEST = join(CACHE, 'manifest.json');
const A_DAY = 86_400_000;

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
  mkdirSync(CACHE, { recursive: true });
  const draft = mkdtempSync(join(CACHE, 'draft-'));
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: [join(ROOT, 'dom0/xl/main.ts'), join(ROOT, 'dom0/xl/jit-worker.ts'), join(ROOT, 'dom0/xl/uplink-worker.ts')],
    outdir: draft,
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
  // Named by what went in: several commands that start at once make the same folder, and none takes it away under another.
  const folder = join(CACHE, createHash('sha256').update(JSON.stringify(inputs)).digest('hex').slice(0, 16));
  try {
    renameSync(draft, folder);
  } catch {
    rmSync(draft, { recursive: true });
  }
  const entry = join(folder, 'main.mjs');
  const list = `${draft}.json`;
  writeFileSync(list, JSON.stringify({ entry, inputs }));
  renameSync(list, MANIFEST);
  forgetOld(folder);
  return entry;
}

/** Removes bundles that nobody can be running any more. */
function forgetOld(current) {
  for (const name of readdirSync(CACHE)) {
    const path = join(CACHE, name);
    if (path !== current && path !== MANIFEST && Date.now() - statSync(path).mtimeMs > A_DAY)
      rmSync(path, { recursive: true, force: true });
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
