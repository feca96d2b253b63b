// `npm run bench`: how fast the emulator is, beside QEMU TCG and Bochs on the same guest images; printed, with nothing asserted. Figures
// are of this machine at this moment: compare columns of one run with each other, and run it on a quiet machine only.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { boot } from './boot.ts';
import { haveBare, versions } from './emulators.ts';
import { io } from './io.ts';
import { micro } from './micro.ts';
import { benchOptions, type Section, USAGE } from './options.ts';
import { asJson, hostFacts, type Row, table } from './results.ts';
import { type Bench, openBench } from './run.ts';
import { user } from './user.ts';

// In virtual time, with arguments and tables of its own.
if (process.argv[2] === 'split') process.exit(await (await import('./split/split.ts')).split(process.argv.slice(3)));

const ROOT = join(import.meta.dirname, '../..');
/** A load above this is somebody else's. */
const QUIET_LOAD = 0.5;

const SECTIONS: Readonly<Record<Section, { readonly title: string; run(bench: Bench): Promise<Row[]> }>> = {
  micro: { title: 'Micro kernels (seconds, start-up taken off)', run: micro },
  boot: { title: 'Command to shell (seconds)', run: boot },
  user: { title: 'Programs inside Linux (seconds)', run: user },
  io: { title: 'Disk and network inside Linux: split drivers here, virtio on QEMU (seconds)', run: io },
};

function revision(): string {
  try {
    const git = (...args: string[]) =>
      execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '-uno') === '' ? '' : ' with changes');
  } catch {
    return 'unknown';
  }
}

const options = (() => {
  try {
    return benchOptions(process.argv.slice(2), join(ROOT, 'out/bench.json'));
  } catch (e) {
    console.error(`bench: ${e instanceof Error ? e.message : String(e)}`);
    process.exit(1);
  }
})();
if (options === null) {
  console.log(USAGE);
  process.exit(0);
}

const found = versions();
const host = hostFacts();
console.log(`ringworld bench (${revision()}, engine ${options.engine}, Node ${process.versions.node})`);
console.log(`  ${host.cpu}, ${host.cores} cores, ${host.os}`);
console.log(`  ${found.qemu ?? 'QEMU is not installed (apt-get install qemu-system-x86): no column for it'}`);
console.log(`  ${found.bochs ?? 'Bochs is not installed (apt-get install bochs bochsbios vgabios bochs-term): no column for it'}`);
if (!haveBare()) console.log("  there is no 'ringworld bare': micro kernels run on a small board instead, and Linux only as PV");
if (host.loadAverage > QUIET_LOAD)
  console.log(
    `  WARNING: the load average is ${host.loadAverage.toFixed(2)}: this machine is not quiet, the figures are not to be trusted`,
  );

const bench = openBench(options, found);
const rows: Row[] = [];
const tables: string[] = [];
try {
  for (const section of options.sections) {
    const { title, run } = SECTIONS[section];
    console.log(`\n${title}`);
    const own = await run(bench);
    rows.push(...own);
    if (own.length > 0) tables.push(`${title}\n\n${table(own)}`);
  }
} finally {
  bench.close();
}
console.log(`\n${tables.join('\n\n')}`);
mkdirSync(dirname(options.json), { recursive: true });
const conditions = { versions: { ...found, ringworld: revision(), node: process.versions.node }, engine: options.engine };
writeFileSync(options.json, asJson(rows, conditions));
console.log(`\nwritten to ${options.json}`);
// A result that differs is a bug of somebody's; say so to scripts too.
process.exit(rows.some((r) => r.differs !== undefined) ? 1 : 0);
