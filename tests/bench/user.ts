// (c) Programs inside Linux, timed from outside by the marks that they leave on the console.
import { linuxGuest, linuxRunners } from './linux.ts';
import { median, type Row } from './results.ts';
import { type Bench, repeat } from './run.ts';
import type { Timed } from './timed.ts';

interface Workload {
  readonly name: string;
  /** Not timed. */
  readonly prepare?: string;
  /** Prints something that must be the same everywhere. */
  readonly command: string;
}

const WORKLOADS: readonly Workload[] = [
  {
    name: 'gzip',
    prepare: 'i=0; while [ $i -lt 34 ]; do cat /bin/busybox; i=$((i+1)); done | head -c 67108864 > /tmp/data',
    command: 'gzip -c /tmp/data | wc -c',
  },
  { name: 'sha256sum', command: 'sha256sum /tmp/data' },
  { name: 'fork-exec', command: 'i=0; while [ $i -lt 1000 ]; do /bin/busybox true; i=$((i+1)); done; echo $i' },
  { name: 'shell-loop', command: 'i=0; s=0; while [ $i -lt 200000 ]; do s=$((s+i*3%7)); i=$((i+1)); done; echo $s' },
  {
    name: 'find',
    prepare: [
      'mkdir /tmp/tree; i=0',
      'while [ $i -lt 100 ]; do mkdir /tmp/tree/$i; j=0; while [ $j -lt 100 ]; do : > /tmp/tree/$i/f$j; j=$((j+1)); done; i=$((i+1)); done',
    ].join('; '),
    command: 'i=0; while [ $i -lt 10 ]; do find /tmp/tree -type f -name "*7*" | wc -l; i=$((i+1)); done | sha256sum',
  },
  {
    name: 'sort',
    prepare: `cat /bin/busybox /bin/busybox /bin/busybox | hexdump -v -e '4/4 "%08x" "\\n"' > /tmp/lines`,
    command: 'sort /tmp/lines | sha256sum',
  },
];
/** 64 MiB of data, twice that for its compression, and the tree: all of it lies in RAM. */
const MEMORY_MIB = 512;
const APPLETS = ['gzip', 'sha256sum', 'find', 'sort', 'hexdump'];

const begin = (w: Workload): string => `@@ ${w.name} begin`;
const end = (w: Workload): string => `@@ ${w.name} end`;

/** Seconds of one workload in one run, and what it printed. */
function read(t: Timed, w: Workload): { seconds: number; result: string } | null {
  const [from, to] = [t.at(begin(w)), t.at(end(w))];
  if (from === undefined || to === undefined) return null;
  const between = t.output.slice(t.output.indexOf(begin(w)) + begin(w).length, t.output.indexOf(end(w)));
  return { seconds: to - from, result: between.trim() };
}

export async function user(bench: Bench): Promise<Row[]> {
  const { filter } = bench.options;
  const wanted = WORKLOADS.filter((w) => w.name.includes(filter));
  if (wanted.length === 0) return [];
  const commands = [
    ...APPLETS.map((a) => `busybox ln -s busybox /bin/${a}`),
    ...WORKLOADS.flatMap((w) => {
      const needed = wanted.includes(w) || (w.name === 'gzip' && wanted.some((v) => v.name === 'sha256sum'));
      return [
        ...(needed && w.prepare ? [w.prepare] : []),
        ...(wanted.includes(w) ? [`echo "${begin(w)}"`, w.command, `echo "${end(w)}"`] : []),
      ];
    }),
  ];
  const guest = linuxGuest(bench, 'user', MEMORY_MIB, { shell: false, commands });
  if (guest === null) return [];
  const seconds = wanted.map((): Record<string, number | null> => ({}));
  const runs = wanted.map((): Record<string, number[]> => ({}));
  const results = wanted.map(() => new Map<string, string>());
  for (const r of linuxRunners(bench, guest)) {
    const timings = await repeat(r.runs, () => r.run(end(wanted.at(-1)!)));
    for (const [i, w] of wanted.entries()) {
      const all = timings.map((t) => read(t, w));
      const good = all.filter((x) => x !== null);
      runs[i]![r.name] = good.map((x) => x.seconds);
      seconds[i]![r.name] = good.length === all.length ? median(runs[i]![r.name]!) : null;
      for (const x of good) results[i]!.set(x.result, r.name);
      const s = seconds[i]![r.name];
      bench.say(`${w.name}: ${r.name} ${s === null || s === undefined ? 'did not end' : `${s.toFixed(2)} s`}`);
    }
  }
  return wanted.map((w, i) => {
    const differs = results[i]!.size > 1 ? [...results[i]!].map(([result, name]) => `${name}: ${result}`).join('; ') : undefined;
    if (differs !== undefined) bench.say(`${w.name}: THE RESULTS DIFFER: ${differs}`);
    return {
      section: 'user',
      group: 'user',
      name: w.name,
      seconds: seconds[i]!,
      runs: runs[i]!,
      ...(differs === undefined ? {} : { differs }),
    };
  });
}
