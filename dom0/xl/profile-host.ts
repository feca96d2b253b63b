// V8's samples sorted by part of the emulator, from the file and the function that each was in.
import type { Profiler } from 'node:inspector';

export interface Bucket {
  readonly name: string;
  readonly ms: number;
  readonly share: number;
  /** The functions with most of it. */
  readonly functions: readonly { readonly name: string; readonly ms: number }[];
}

/** The source of a line (from 0) of a script, as a path or URL. */
export type SourceOf = (url: string, line: number) => string;

interface Rule {
  readonly bucket: string;
  /** Of the script's URL, from the repository's root on. */
  readonly url: RegExp;
  readonly name?: RegExp;
}

/** The first that fits. */
const RULES: readonly Rule[] = [
  { bucket: 'interpreter', url: /^wasm:\/\/wasm\/handler-/ },
  { bucket: 'JIT code', url: /^wasm:\/\/wasm\/region-/ },
  { bucket: 'TLB misses and page walks', url: /hypervisor\/machine\/mmu\// },
  {
    bucket: 'TLB misses and page walks',
    url: /hypervisor\/machine\/exec\/cpu\.ts/,
    name: /^(probe\w*|fetch|walk|window|commit\w*|fill|segment\w*|pageFault)$/,
  },
  { bucket: 'JIT: regions to WebAssembly', url: /hypervisor\/machine\/(exec\/jit\/|stage\/jit)/ },
  {
    bucket: 'decoding and handlers',
    url: /hypervisor\/machine\/(exec\/(decode|translator|handlers|code-cache|records|wasm|mode)|stage\/|isa\/)/,
  },
  { bucket: 'x87 and SSE in TypeScript', url: /hypervisor\/machine\/system\/(x87|sse)\// },
  { bucket: 'system instructions in TypeScript', url: /hypervisor\/machine\/(system\/|state|context)/ },
  { bucket: 'CPU loop', url: /hypervisor\/machine\/exec\// },
  { bucket: 'devices and board', url: /hypervisor\/machine\// },
  { bucket: 'hypervisor', url: /(^|\/)hypervisor\// },
  { bucket: 'dom0', url: /(^|\/)(dom0|abi|guests)\// },
];

function bucketOf({ functionName, url }: { functionName: string; url: string }, below: string | undefined): string {
  if (functionName === '(idle)') return 'idle, waiting for the host';
  if (functionName === '(garbage collector)') return 'garbage collection';
  // WebAssembly.Module and WebAssembly.Instance.
  if (url === '' && (functionName === 'Module' || functionName === 'Instance')) return 'compilation by V8';
  if (functionName === '(program)' || functionName === '(root)') return 'V8 and Node';
  for (const { bucket, url: pattern, name } of RULES)
    if (pattern.test(url) && (name === undefined || name.test(functionName))) return bucket;
  // Built-ins have no script: they belong to whoever called them.
  return url === '' && below !== undefined ? below : 'V8 and Node';
}

const FUNCTIONS_KEPT = 5;

/** `sourceOf` finds the source behind a line of a script: the command may run from a bundle. */
export function bucketsOf({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile, sourceOf: SourceOf = (url) => url): Bucket[] {
  const parents = new Map<number, number>();
  for (const n of nodes) for (const child of n.children ?? []) parents.set(child, n.id);
  const frames = new Map(
    nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => [id, { functionName, url: sourceOf(url, lineNumber) }]),
  );
  const known = new Map<number, string>();
  const bucket = (id: number): string => {
    let name = known.get(id);
    if (name === undefined) {
      const parent = parents.get(id);
      name = bucketOf(frames.get(id)!, parent === undefined ? undefined : bucket(parent));
      known.set(id, name);
    }
    return name;
  };
  const all = new Map<string, { ms: number; functions: Map<string, number> }>();
  samples.forEach((id, i) => {
    const ms = (timeDeltas[i] ?? 0) / 1000;
    const { functionName, url } = frames.get(id)!;
    const file = url.split('/').slice(-2).join('/');
    const name = `${functionName || '(anonymous)'}${url.startsWith('wasm:') || file === '' ? '' : ` ${file}`}`;
    const b = all.get(bucket(id)) ?? { ms: 0, functions: new Map() };
    b.ms += ms;
    b.functions.set(name, (b.functions.get(name) ?? 0) + ms);
    all.set(bucket(id), b);
  });
  const total = [...all.values()].reduce((sum, b) => sum + b.ms, 0);
  return [...all]
    .map(([name, { ms, functions }]) => ({
      name,
      ms,
      share: ms / total,
      functions: [...functions]
        .map(([f, t]) => ({ name: f, ms: t }))
        .sort((a, b) => b.ms - a.ms)
        .slice(0, FUNCTIONS_KEPT),
    }))
    .sort((a, b) => b.ms - a.ms);
}
