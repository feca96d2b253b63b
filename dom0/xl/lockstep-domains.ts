// A machine with its domains as one half of a lockstep, and `create --engine=both`.
import type { Context, EngineKind } from '@ringworld/hypervisor/machine';
import type { NetbackOptions } from '../netback/index.ts';
import type { OpenStore } from '../storage/block-store.ts';
import type { CreateOptions, Guest } from './create-options.ts';
import { Lockstep, STUCK, type Twin } from './lockstep.ts';
import { deadlineOf, Terminal, tellDifference } from './lockstep-command.ts';
import { openDisks } from './node-disks.ts';
import { type ByteStream, ConsoleOutput } from './output.ts';
import { jsonReport } from './report.ts';
import { exitCode, Session } from './session.ts';
import { guestSymbols } from './symbols.ts';

const turn = (): Promise<void> => new Promise((done) => setImmediate(done));
/** The same room always: back-pressure of one terminal must not reach one twin only. */
const ROOM = 1 << 20;
const dark: ByteStream = { room: () => ROOM, write: () => {} };

export interface DomainTwin extends Twin {
  readonly session: Session;
}

export interface DomainTwinOptions {
  readonly guests: readonly Guest[];
  readonly cpus: number | null;
  /** Gets what the domains of the twin that is shown write. */
  readonly write: (bytes: Uint8Array) => void;
  readonly note: (line: string) => void;
  /** Disks of its own for each twin. */
  readonly copies?: () => OpenStore;
  readonly netback?: Partial<NetbackOptions>;
}

export const domainTwins =
  (options: DomainTwinOptions) =>
  (engine: EngineKind, isShown: boolean): DomainTwin => {
    const stream = isShown ? { room: () => ROOM, write: options.write } : dark;
    const { guests, cpus, note, copies, netback = {} } = options;
    const session = new Session({
      guests,
      cpus,
      engine,
      deadline: Number.POSITIVE_INFINITY,
      pace: () => false,
      world: { canWake: () => false, wait: turn },
      outputs: guests.map((g) => new ConsoleOutput(stream, guests.length > 1 ? `(${g.config.name}) ` : '')),
      note: isShown ? note : () => {},
      services: { ...(copies === undefined ? {} : { openStore: copies() }), netback },
      log: null,
    });
    session.start();
    const { hv, machine } = session.host;
    return {
      session,
      machine,
      get cycles() {
        return hv.baseCycles;
      },
      get next() {
        const isIdle = hv.pcpus.every((p) => p.current === null) && !hv.hasHostWork;
        return isIdle && Number.isFinite(hv.timers.next) ? hv.clock.toCycles(hv.timers.next) : hv.baseCycles;
      },
      contexts: () => waiting(session),
      type: (bytes) => session.type(bytes),
      async advance(to) {
        for (;;) {
          const end = session.isOver ? 'stopped' : session.advance(to);
          if (end === 'limit') return null;
          if (end === 'idle') return STUCK;
          if (end === 'stopped') return JSON.stringify(session.result().domains);
          await turn();
        }
      },
    };
  };

/** The registers of the vCPUs that are not on a CPU. */
function waiting({ host: { hv } }: Session): Map<string, Context> {
  const all = new Map<string, Context>();
  for (const d of hv.domains.values()) for (const v of d.vcpus) if (v.cpu === null) all.set(`d${d.id}v${v.id}`, v.context);
  return all;
}

/** Runs the guests in lockstep; the exit code. */
export async function createInLockstep(options: CreateOptions, guests: readonly Guest[]): Promise<number> {
  const complain = (line: string) => void process.stderr.write(`ringworld: ${line}\n`);
  const sink = options.json ? process.stderr : process.stdout;
  const write = (bytes: Uint8Array) => void (options.json && options.quiet ? 0 : sink.write(Buffer.from(bytes)));
  const symbolAt = guestSymbols(
    options.systemMap,
    guests.map((g) => g.files.kernel.bytes),
  );
  // Neither twin may see what the other writes, and a run to a difference is repeated.
  const disks = await openDisks(guests, { model: options.diskModel, isDiscarded: true });
  if (guests.some((g) => g.config.devices.disks.length > 0)) complain('--engine=both: what the domains write to their disks is discarded');
  const twins = domainTwins({ guests, cpus: options.cpus, note: complain, write, copies: () => disks.copies(), netback: options.netback });
  const shown: Session[] = [];
  const terminal = options.console ? new Terminal() : null;
  try {
    const end = await new Lockstep({
      make: (engine, isShown) => {
        const twin = twins(engine, isShown);
        if (isShown) shown.push(twin.session);
        return twin;
      },
      deadline: deadlineOf(options.timeoutSeconds),
      say: complain,
      ...(terminal === null ? {} : { typed: () => terminal.take(), wait: () => terminal.wait() }),
    }).run();
    if (end.kind === 'differs') return tellDifference(end, options.json, symbolAt);
    const session = shown[0]!;
    if (!session.isOver) session.endAll(end.kind === 'timeout' ? 'timeout' : 'stuck');
    const { domains, machine } = session.result();
    if (!options.quiet) complain(`interpreter and JIT agree over ${end.cycles} cycles`);
    if (options.json) process.stdout.write(jsonReport(domains, machine));
    return exitCode(domains);
  } finally {
    terminal?.close();
    await disks.closeAll();
  }
}
