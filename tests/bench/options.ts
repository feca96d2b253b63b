// The arguments of `npm run bench`.
import { parseArgs } from 'node:util';

export const SECTIONS = ['micro', 'boot', 'user', 'io'] as const;
export type Section = (typeof SECTIONS)[number];

export interface BenchOptions {
  readonly sections: readonly Section[];
  /** Only what has this in its name. */
  readonly filter: string;
  readonly runs: number;
  /** Bochs takes minutes where others take seconds: fewer runs, or none (0). */
  readonly bochsRuns: number;
  readonly useQemu: boolean;
  readonly engine: 'interp' | 'jit';
  readonly json: string;
  readonly timeoutSeconds: number;
}

export const USAGE = `Usage: npm run bench -- [micro] [boot] [user] [io] [FILTER] [OPTIONS]

Times the emulator beside QEMU TCG and Bochs, each where it is installed, on the same guest images: micro kernels, a stock kernel to
init, user programs inside Linux, disk and network inside Linux (beside virtio). Times are wall-clock: run it on an otherwise idle machine, or the figures mean nothing.

  split ...         another bench: the split drivers' choices, in virtual time; see npm run bench -- split --help

  FILTER            only what has this in its name
  --runs=N          the median of so many runs counts (3)
  --bochs-runs=N    the same for Bochs (1; 0: without Bochs)
  --no-qemu         without QEMU
  --engine=ENGINE   jit (the default) or interp
  --json=FILE       where the figures go (out/bench.json)
  --timeout=SECONDS for one run (600); Bochs gets six times that
`;

/** null: the usage was asked for. Throws with one line where something is wrong. */
export function benchOptions(args: string[], defaultJson: string): BenchOptions | null {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { runs: text, 'bochs-runs': text, 'no-qemu': flag, engine: text, json: text, timeout: text, help: flag },
  });
  if (values.help) return null;
  const whole = (name: string, value: string | undefined, otherwise: number, least: number): number => {
    const n = value === undefined ? otherwise : Number(value);
    if (!Number.isInteger(n) || n < least) throw new Error(`--${name}=${value}: a whole number of at least ${least} is needed`);
    return n;
  };
  const isSection = (p: string): p is Section => (SECTIONS as readonly string[]).includes(p);
  const sections = positionals.filter(isSection);
  const filters = positionals.filter((p) => !isSection(p));
  if (filters.length > 1) throw new Error(`one filter at most, not ${filters.join(' and ')}; sections are ${SECTIONS.join(', ')}`);
  const engine = values.engine ?? 'jit';
  if (engine !== 'jit' && engine !== 'interp') throw new Error(`--engine=${engine}: there are jit and interp`);
  return {
    sections: sections.length === 0 ? SECTIONS : sections,
    filter: filters[0] ?? '',
    runs: whole('runs', values.runs, 3, 1),
    bochsRuns: whole('bochs-runs', values['bochs-runs'], 1, 0),
    useQemu: !values['no-qemu'],
    engine,
    json: values.json ?? defaultJson,
    timeoutSeconds: whole('timeout', values.timeout, 600, 1),
  };
}
