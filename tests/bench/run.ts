// What the three sections share: the scratch directory, progress, repeated runs.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BOCHS, bochsArguments, bochsConfig, type Versions } from './emulators.ts';
import type { BenchOptions } from './options.ts';
import { type Timed, timed } from './timed.ts';

export interface Bench {
  readonly options: BenchOptions;
  readonly versions: Versions;
  readonly scratch: string;
  /** One line of progress. */
  say(line: string): void;
}

export const openBench = (options: BenchOptions, versions: Versions): Bench & { close(): void } => {
  const scratch = mkdtempSync(join(tmpdir(), 'ringworld-bench-'));
  return { options, versions, scratch, say: (line) => console.log(`  ${line}`), close: () => rmSync(scratch, { recursive: true }) };
};

/** As many runs as wanted, or as it takes to see one that does not end in time. */
export async function repeat(times: number, one: () => Promise<Timed>): Promise<Timed[]> {
  const all: Timed[] = [];
  for (let i = 0; i < times; i++) {
    const run = await one();
    all.push(run);
    if (run.isTimeout) break;
  }
  return all;
}

/** Bochs is slower by about this than what the timeout is meant for. */
const BOCHS_PATIENCE = 6;

type Drive = Parameters<typeof bochsConfig>[0]['drive'];

/** Bochs on a disk or an ISO image, its serial port as output. */
export function runBochs(bench: Bench, memoryMib: number, drive: Drive, options: { readonly until?: string } = {}): Promise<Timed> {
  const file = (name: string) => join(bench.scratch, name);
  const serial = file('bochs.serial');
  rmSync(serial, { force: true });
  writeFileSync(file('bochsrc'), bochsConfig({ memoryMib, serial, drive }));
  writeFileSync(file('bochs.rc'), 'c\n');
  return timed(BOCHS, bochsArguments(file('bochsrc'), file('bochs.rc')), {
    ...options,
    timeoutSeconds: bench.options.timeoutSeconds * BOCHS_PATIENCE,
    outputFile: serial,
    // The text display wants to know its terminal.
    env: { TERM: 'xterm' },
  });
}
