// (b) From the command to a shell: Debian's cloud kernel, as a PV domain and bare; and a hello guest, which shows what starting costs.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildHello64 } from '@ringworld/guests';
import { RINGWORLD } from './emulators.ts';
import { linuxGuest, linuxRunners } from './linux.ts';
import { median, type Row } from './results.ts';
import { type Bench, repeat } from './run.ts';
import { timed } from './timed.ts';

const PROMPT = '/ # ';
const MEMORY_MIB = 256;

export async function boot(bench: Bench): Promise<Row[]> {
  const { filter } = bench.options;
  const rows: Row[] = [];
  if ('hello'.includes(filter)) rows.push(await hello(bench));
  if ('cloud-kernel'.includes(filter)) rows.push(...(await cloudKernel(bench)));
  return rows;
}

async function hello(bench: Bench): Promise<Row> {
  const { options, scratch } = bench;
  const file = join(scratch, 'hello.elf');
  writeFileSync(file, buildHello64());
  const args = [RINGWORLD, 'create', '-F', `--engine=${options.engine}`, '--kernel', file, 'memory=32'];
  const runs = (await repeat(options.runs, () => timed(process.execPath, args, options))).map((t) => t.seconds);
  bench.say(`hello: pv ${median(runs).toFixed(2)}`);
  return { section: 'boot', group: 'boot', name: 'hello', seconds: { pv: median(runs) }, runs: { pv: runs } };
}

async function cloudKernel(bench: Bench): Promise<Row[]> {
  const guest = linuxGuest(bench, 'boot', MEMORY_MIB, {});
  if (guest === null) return [];
  const seconds: Record<string, number | null> = {};
  const runs: Record<string, number[]> = {};
  for (const r of linuxRunners(bench, guest)) {
    const timings = await repeat(r.runs, () => r.run(PROMPT));
    runs[r.name] = timings.map((t) => t.seconds);
    // Whoever ends by itself has not come to the prompt.
    const arrived = timings.every((t) => t.output.includes(PROMPT));
    seconds[r.name] = arrived ? median(runs[r.name]!) : null;
    bench.say(`cloud kernel to its shell: ${r.name} ${arrived ? `${seconds[r.name]!.toFixed(2)} s` : 'did not come there'}`);
  }
  return [{ section: 'boot', group: 'boot', name: 'cloud-kernel', seconds, runs }];
}
