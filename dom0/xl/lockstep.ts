// `--engine=both`: the same machine twice, once interpreted and once compiled, advanced in the same windows of virtual time and compared
// after each. At the first difference both are built anew, brought to the last point where they agreed, and run on in smaller windows, down
// to one cycle. What a twin is (a machine with domains, a bare PC) is its maker's affair.
//
// A fault of the compiler need not show in windows shorter than a compiled block, which is not entered when it would cross the end of a
// window. So the search stops at the smallest windows in which the difference still shows, and the trace tells what ran in between.

import type { EngineKind } from '@ringworld/hypervisor';
import {
  type Context,
  compareContexts,
  compareRam,
  type EmulatedCpu,
  type FieldDifference,
  instructionAt,
  type Machine,
  readContext,
  type WordDifference,
} from '@ringworld/hypervisor/machine';

export interface Twin {
  readonly machine: Machine;
  /** Virtual cycles that all CPUs have reached. */
  readonly cycles: number;
  /** The next cycle at which anything happens, where all sleep; else `cycles`. */
  readonly next: number;
  /** Contexts that are not on a CPU, by name: they are compared as the CPUs are. */
  contexts(): ReadonlyMap<string, Context>;
  /** Runs to a cycle. A text says that all is over, and how: it must be the same of both. STUCK: nothing will happen without input. */
  advance(to: number): Promise<string | typeof STUCK | null>;
  /** Types at its console. */
  type(bytes: Uint8Array): void;
}
export const STUCK = Symbol('stuck');

/** `isShown`: the one whose console the user sees. */
export type MakeTwin = (engine: EngineKind, isShown: boolean) => Twin;

export interface LockstepOptions {
  readonly make: MakeTwin;
  /** What was typed since the last call; delivered to both at the same cycle, and again when the run is repeated. */
  readonly typed?: () => Uint8Array | null;
  /** Asked when both are stuck: resolves when something was typed, or says that nothing will be. */
  readonly wait?: () => Promise<boolean>;
  /** performance.now() at which to give up; Infinity for never. */
  readonly deadline: number;
  /** Progress of the search. */
  readonly say: (line: string) => void;
  /** Cycles of a window, and every how many windows RAM is compared whole. */
  readonly window?: number;
  readonly ramEvery?: number;
}

export interface ContextDifference {
  readonly context: string;
  readonly fields: readonly FieldDifference[];
}
export interface Differences {
  readonly contexts: readonly ContextDifference[];
  /** What the twins ended with, where that differs. */
  readonly ends: readonly [string, string] | null;
  readonly cycles: readonly [number, number] | null;
  readonly ram: { readonly first: readonly WordDifference[]; readonly count: number };
}

/** One instruction of the interpreter's way through the last window. */
export interface Step {
  readonly cycle: number;
  readonly context: string;
  readonly rip: number;
  readonly text: string;
  /** Fields that it changed, RIP aside. */
  readonly changed: readonly string[];
}

export type LockstepEnd =
  | { readonly kind: 'same'; readonly how: string; readonly cycles: number; readonly windows: number }
  | { readonly kind: 'timeout'; readonly cycles: number }
  | {
      readonly kind: 'differs';
      /** They agreed at `from` and differ at `to`. */
      readonly from: number;
      readonly to: number;
      readonly differences: Differences;
      readonly steps: readonly Step[];
      /** Where the interpreter stood at `to`. */
      readonly at: readonly { readonly context: string; readonly rip: number; readonly text: string }[];
    };

const WINDOW = 1_000_000;
const RAM_EVERY = 16;
const FINER = 32;
const WORDS_SHOWN = 8;
/** More steps than this are not traced: the last window is then long because the difference would not show in a shorter one. */
const MAX_STEPS = 4096;

interface Pair {
  readonly a: Twin;
  readonly b: Twin;
}
/** A point to which both were brought, and what was typed there. */
interface Stop {
  readonly to: number;
  /** Typed before they ran on to it. */
  readonly input: Uint8Array | null;
}
interface Seen extends Stop {
  readonly differences: Differences;
}
type End = Awaited<ReturnType<Twin['advance']>>;

const YIELD_MS = 50;
const turn = (): Promise<void> => new Promise((done) => setImmediate(done));
const how = (end: End): string => (end === STUCK ? 'stuck' : (end ?? 'runs on'));

async function one(twin: Twin, { to, input }: Stop): Promise<End> {
  if (input !== null) twin.type(input);
  return twin.advance(to);
}
const both = async ({ a, b }: Pair, stop: Stop): Promise<readonly [End, End]> => [await one(a, stop), await one(b, stop)];

function compare({ a, b }: Pair, ends: readonly [End, End], withRam: boolean): Differences | null {
  const contexts: ContextDifference[] = [];
  const look = (context: string, left: Context | undefined, right: Context | undefined) => {
    const fields = left && right ? compareContexts(left, right) : [{ field: 'is there', a: left ? 'yes' : 'no', b: right ? 'yes' : 'no' }];
    if (fields.length > 0) contexts.push({ context, fields });
  };
  for (const cpu of a.machine.cpus) {
    const other = b.machine.cpus[cpu.id]!;
    look(`cpu${cpu.id}`, cpu, other);
    if (cpu.cycles !== other.cycles)
      contexts.push({ context: `cpu${cpu.id}`, fields: [{ field: 'cycles', a: String(cpu.cycles), b: String(other.cycles) }] });
  }
  const [left, right] = [a.contexts(), b.contexts()];
  for (const name of new Set([...left.keys(), ...right.keys()])) look(name, left.get(name), right.get(name));
  const cycles = a.cycles === b.cycles ? null : ([a.cycles, b.cycles] as const);
  const differentEnds = ends[0] === ends[1] ? null : ([how(ends[0]), how(ends[1])] as const);
  const isSame = contexts.length === 0 && cycles === null && differentEnds === null;
  if (isSame && !withRam) return null;
  const ram = compareRam(a.machine.ram, b.machine.ram, WORDS_SHOWN);
  return isSame && ram.count === 0 ? null : { contexts, cycles, ends: differentEnds, ram };
}

export class Lockstep {
  private readonly options: LockstepOptions;
  /** The way so far, by which a new pair gets to the same point. */
  private readonly path: Stop[] = [];

  constructor(options: LockstepOptions) {
    this.options = options;
  }

  async run(): Promise<LockstepEnd> {
    const seen = await this.watch();
    if ('kind' in seen) return seen;
    const window = this.options.window ?? WINDOW;
    return this.search(this.path.slice(0, seen.proven), this.path.slice(seen.proven), seen, window);
  }

  /** To the end, or to the first window after which they differ; `proven` is how many windows before it are known to be good. */
  private async watch(): Promise<LockstepEnd | (Seen & { readonly proven: number })> {
    const { window = WINDOW, ramEvery = RAM_EVERY, deadline, typed, wait } = this.options;
    const pair = this.build(true);
    let proven = 0;
    let lastTurn = performance.now();
    for (let windows = 1; ; windows++) {
      const now = performance.now();
      if (now >= deadline) return { kind: 'timeout', cycles: pair.a.cycles };
      if (now - lastTurn >= YIELD_MS) {
        await turn();
        lastTurn = performance.now();
      }
      const input = typed?.() ?? null;
      // Over idle time in one step.
      const from = Math.max(pair.a.cycles, Number.isFinite(pair.a.next) ? pair.a.next : 0);
      const to = (Math.floor(from / window) + 1) * window;
      const ends = await both(pair, { to, input });
      const isOver = ends[0] !== null || ends[1] !== null;
      const withRam = windows % ramEvery === 0 || isOver;
      this.path.push({ to, input });
      const differences = compare(pair, ends, withRam);
      if (differences !== null) return { to, differences, input, proven };
      if (ends[0] === STUCK && (await wait?.()) === true) continue;
      if (ends[0] !== null) return { kind: 'same', how: how(ends[0]), cycles: pair.a.cycles, windows };
      if (withRam) proven = this.path.length;
    }
  }

  private build(isShown: boolean): Pair {
    return { a: this.options.make('interp', isShown), b: this.options.make('jit', false) };
  }

  /** A new pair, at the end of `path`. */
  private async replay(path: readonly Stop[]): Promise<Pair> {
    const pair = this.build(false);
    for (const stop of path) await both(pair, stop);
    return pair;
  }

  private async search(proven: readonly Stop[], unproven: readonly Stop[], seen: Seen, window: number): Promise<LockstepEnd> {
    const { say } = this.options;
    let good = proven;
    let rest = unproven;
    let best = seen;
    for (let step = window; ; step = Math.ceil(step / FINER)) {
      say(`they differ between cycle ${good.at(-1)?.to ?? 0} and ${best.to}: again from the start, then in windows of ${step}`);
      const finer = await this.creep(good, rest, best.to, step);
      if (finer === null) {
        say(`in windows of ${step} the difference does not show`);
        break;
      }
      good = finer.good;
      best = finer;
      rest = [finer];
      if (step === 1) break;
    }
    return this.tell(good, best);
  }

  /** From the end of `good` to `last` in steps, RAM compared each time; null when no difference is met. */
  private async creep(good: readonly Stop[], rest: readonly Stop[], last: number, step: number) {
    const pair = await this.replay(good);
    const way = [...good];
    // What was typed on the way belongs to where it was typed.
    const start = (i: number) => (i === 0 ? good.at(-1)?.to : rest[i - 1]?.to) ?? 0;
    const waiting = rest.map((s, i) => ({ at: start(i), input: s.input })).filter((w) => w.input !== null);
    while (pair.a.cycles < last) {
      const from = pair.a.cycles;
      const input = waiting[0] !== undefined && waiting[0].at <= from ? waiting.shift()!.input : null;
      const to = Math.min(from + step, last, waiting[0]?.at ?? last);
      const ends = await both(pair, { to, input });
      const differences = compare(pair, ends, true);
      if (differences !== null) return { good: way, to, differences, input };
      if (ends[0] !== null) return null;
      way.push({ to, input });
    }
    return null;
  }

  /** Once more to the last point of agreement, and from there instruction by instruction through the interpreter. */
  private async tell(good: readonly Stop[], best: Seen): Promise<LockstepEnd> {
    const a = this.options.make('interp', false);
    for (const stop of good) await one(a, stop);
    const from = a.cycles;
    if (best.input !== null) a.type(best.input);
    const steps: Step[] = [];
    while (a.cycles < best.to && steps.length < MAX_STEPS) {
      const before = a.machine.cpus.map((cpu) => ({ ...standsAt(a.machine, cpu), cycles: cpu.cycles, fields: readContext(cpu) }));
      const end = await a.advance(a.cycles + 1);
      for (const [i, cpu] of a.machine.cpus.entries()) {
        const { rip, text, context, cycles, fields } = before[i]!;
        const changed = [...readContext(cpu)].filter(([name, v]) => name !== 'rip' && fields.get(name) !== v).map(([name]) => name);
        if (cpu.rip !== rip || changed.length > 0) steps.push({ cycle: cycles, context, rip, text, changed });
      }
      if (end !== null) break;
    }
    const at = a.machine.cpus.map((cpu) => standsAt(a.machine, cpu));
    return { kind: 'differs', from, to: best.to, differences: best.differences, steps, at };
  }
}

const standsAt = (machine: Machine, cpu: EmulatedCpu) => ({
  context: `cpu${cpu.id}`,
  rip: cpu.rip as number,
  text: instructionAt(cpu, machine.engine.physical),
});
