// What was measured: a table with ratios for people, JSON for programs.
import { cpus, loadavg, release, totalmem, type } from 'node:os';
import { type EmulatorName, TITLES, type Versions } from './emulators.ts';
import type { Section } from './options.ts';

export interface Row {
  readonly section: Section;
  readonly group: string;
  readonly name: string;
  /** Median seconds by emulator; null where it did not come to its end in time, absent where it was not run. */
  readonly seconds: Readonly<Partial<Record<EmulatorName, number | null>>>;
  /** All runs. */
  readonly runs: Readonly<Partial<Record<EmulatorName, readonly number[]>>>;
  /** Outputs that should be equal were not: the times compare different things. */
  readonly differs?: string;
}

export const median = (xs: readonly number[]): number => {
  const sorted = [...xs].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};
export const geometricMean = (xs: readonly number[]): number => Math.exp(xs.reduce((sum, x) => sum + Math.log(x), 0) / xs.length);

const OURS: readonly EmulatorName[] = ['here', 'pv', 'bare'];
const RIVALS: readonly EmulatorName[] = ['qemu', 'bochs'];

export interface Ratio {
  readonly ours: EmulatorName;
  readonly rival: EmulatorName;
}
/** Which ratios a section's rows can give. */
export const ratiosOf = (rows: readonly Row[]): Ratio[] =>
  OURS.flatMap((ours) => RIVALS.map((rival) => ({ ours, rival }))).filter((r) => rows.some((row) => ratio(row, r) !== null));

/** Our time over theirs: below 1 we are faster. */
export function ratio(row: Row, { ours, rival }: Ratio): number | null {
  const [a, b] = [row.seconds[ours], row.seconds[rival]];
  return a === undefined || b === undefined || a === null || b === null || a <= 0 || b <= 0 ? null : a / b;
}

const figure = (x: number | null | undefined): string =>
  x === undefined ? '' : x === null ? 'too long' : x < 0.01 ? x.toFixed(4) : x < 10 ? x.toFixed(2) : x.toFixed(1);

export function table(rows: readonly Row[]): string {
  const emulators = [...OURS, ...RIVALS].filter((e) => rows.some((r) => r.seconds[e] !== undefined));
  const ratios = ratiosOf(rows);
  const title = (r: Ratio) => `${r.ours === 'here' ? '' : `${r.ours} / `}${r.rival === 'qemu' ? 'TCG' : 'Bochs'}`;
  const head = ['', ...emulators.map((e) => `${TITLES[e]}, s`), ...ratios.map((r) => (r.ours === 'here' ? `/ ${title(r)}` : title(r)))];
  const lines = rows.map((r) => [
    r.name + (r.differs === undefined ? '' : ' (!)'),
    ...emulators.map((e) => figure(r.seconds[e])),
    ...ratios.map((q) => figure(ratio(r, q) ?? undefined)),
  ]);
  if (rows.length > 1) lines.push(['geometric mean', ...emulators.map(() => ''), ...ratios.map((q) => figure(meanRatio(rows, q)))]);
  const widths = head.map((h, i) => Math.max(h.length, ...lines.map((l) => l[i]!.length)));
  const line = (cells: readonly string[]) => cells.map((c, i) => (i === 0 ? c.padEnd(widths[i]!) : c.padStart(widths[i]!))).join('  ');
  return [line(head), widths.map((w) => '-'.repeat(w)).join('  '), ...lines.map(line)].join('\n');
}

export const meanRatio = (rows: readonly Row[], which: Ratio): number | null => {
  const all = rows.map((r) => ratio(r, which)).filter((x) => x !== null);
  return all.length === 0 ? null : geometricMean(all);
};

export interface Conditions {
  readonly versions: Versions & { readonly ringworld: string; readonly node: string };
  readonly engine: string;
}

export const hostFacts = () => ({
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  memoryGib: Math.round(totalmem() / 2 ** 30),
  os: `${type()} ${release()}`,
  loadAverage: loadavg()[0] ?? 0,
});

export function asJson(rows: readonly Row[], conditions: Conditions): string {
  const sections = [...new Set(rows.map((r) => r.section))];
  const means = Object.fromEntries(
    sections.map((s) => {
      const own = rows.filter((r) => r.section === s);
      return [s, Object.fromEntries(ratiosOf(own).map((q) => [`${q.ours}/${q.rival}`, meanRatio(own, q)]))];
    }),
  );
  return `${JSON.stringify({ date: new Date().toISOString(), host: hostFacts(), ...conditions, geometricMeans: means, rows }, null, 2)}\n`;
}
