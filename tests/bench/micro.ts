// (a) Micro kernels: the whole process less what the empty kernel takes.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type EmulatorName, haveBare, QEMU, qemuKernel, ringworldKernel } from './emulators.ts';
import { CYLINDERS, diskOf, HEADS, SECTORS_PER_TRACK } from './micro/disk.ts';
import { buildImage, MEMORY_MIB, type MicroKernel } from './micro/image.ts';
import { EMPTY, KERNELS } from './micro/kernels.ts';
import { median, type Row } from './results.ts';
import { type Bench, repeat, runBochs } from './run.ts';
import { type Timed, timed } from './timed.ts';

interface Runner {
  readonly name: EmulatorName;
  readonly runs: number;
  run(kernel: MicroKernel): Promise<Timed>;
}

function runners(bench: Bench): Runner[] {
  const { options, scratch, versions } = bench;
  const { timeoutSeconds, runs } = options;
  const elf = join(scratch, 'kernel.elf');
  const disk = join(scratch, 'kernel.img');
  const write = (kernel: MicroKernel) => writeFileSync(elf, buildImage(kernel).elf);
  const here = (kernel: MicroKernel): Promise<Timed> => {
    write(kernel);
    const tsx = join(import.meta.dirname, 'micro/run-board.ts');
    const args = haveBare() ? ringworldKernel(elf, options.engine, MEMORY_MIB) : ['--import', 'tsx', tsx, kernel.name, options.engine];
    return timed(process.execPath, args, { timeoutSeconds });
  };
  const qemu = (kernel: MicroKernel): Promise<Timed> => {
    write(kernel);
    return timed(QEMU, qemuKernel(elf, MEMORY_MIB), { timeoutSeconds });
  };
  const bochs = (kernel: MicroKernel): Promise<Timed> => {
    writeFileSync(disk, diskOf(buildImage(kernel)));
    return runBochs(bench, MEMORY_MIB, { disk, chs: [CYLINDERS, HEADS, SECTORS_PER_TRACK] });
  };
  const all: Runner[] = [{ name: 'here', runs, run: here }];
  if (versions.qemu !== null && options.useQemu) all.push({ name: 'qemu', runs, run: qemu });
  if (versions.bochs !== null && options.bochsRuns > 0) all.push({ name: 'bochs', runs: options.bochsRuns, run: bochs });
  return all;
}

/** All figures hang on it. */
const EMPTY_RUNS = 5;

const CHECK = /CHECK \S+ ([0-9a-f]+) DONE/;

export async function micro(bench: Bench): Promise<Row[]> {
  const kernels = KERNELS.filter((k) => k.name.includes(bench.options.filter));
  if (kernels.length === 0) return [];
  const all = runners(bench);
  const overhead = new Map<EmulatorName, number>();
  // The first run may fill caches of the host's, and of the command's own bundle.
  for (const r of all) {
    await r.run(EMPTY);
    overhead.set(r.name, median((await repeat(Math.max(r.runs, EMPTY_RUNS), () => r.run(EMPTY))).map((t) => t.seconds)));
  }
  bench.say(`the empty kernel: ${all.map((r) => `${r.name} ${overhead.get(r.name)!.toFixed(2)} s`).join(', ')}; taken off all that follow`);
  const rows: Row[] = [];
  for (const [i, kernel] of kernels.entries()) {
    const seconds: Record<string, number | null> = {};
    const runs: Record<string, number[]> = {};
    const checks = new Map<string, string>();
    for (const r of all) {
      const timings = await repeat(r.runs, () => r.run(kernel));
      runs[r.name] = timings.map((t) => t.seconds - overhead.get(r.name)!);
      seconds[r.name] = timings.some((t) => t.isTimeout) ? null : median(runs[r.name]!);
      for (const t of timings) if (!t.isTimeout) checks.set(CHECK.exec(t.output)?.[1] ?? `nothing (${t.output.slice(-40).trim()})`, r.name);
    }
    const differs = checks.size > 1 ? [...checks].map(([check, name]) => `${name} ${check}`).join(', ') : undefined;
    const figures = all.map((r) => `${r.name} ${seconds[r.name]?.toFixed(2) ?? 'too long'}`).join(', ');
    bench.say(`[${i + 1}/${kernels.length}] ${kernel.name}: ${figures}${differs === undefined ? '' : `; THE RESULTS DIFFER: ${differs}`}`);
    rows.push({ section: 'micro', group: kernel.group, name: kernel.name, seconds, runs, ...(differs === undefined ? {} : { differs }) });
  }
  return rows;
}
