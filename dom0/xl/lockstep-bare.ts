// A bare PC as one half of a lockstep, and `bare --engine=both`. Disk images are read and never written: two machines share them.
import type { EngineKind } from '@ringworld/hypervisor/machine';
import type { BareMachine, BareOptions } from './bare-options.ts';
import { type BareReport, BareSession, bareExitCode } from './bare-session.ts';
import { Lockstep, STUCK, type Twin } from './lockstep.ts';
import { deadlineOf, Terminal, tellDifference } from './lockstep-command.ts';
import { type ByteStream, ConsoleOutput } from './output.ts';
import { guestSymbols } from './symbols.ts';

/** The same room always: back-pressure of one terminal must not reach one twin only. */
const ROOM = 1 << 20;

export interface BareTwin extends Twin {
  readonly session: BareSession;
  /** Once all is over. */
  readonly report: BareReport | null;
}

export interface BareTwinOptions {
  readonly machine: BareMachine;
  readonly write: (bytes: Uint8Array) => void;
  readonly note: (line: string) => void;
}

export const bareTwins =
  (options: BareTwinOptions) =>
  (engine: EngineKind, isShown: boolean): BareTwin => {
    const stream: ByteStream = { room: () => ROOM, write: isShown ? options.write : () => {} };
    const session = new BareSession({
      machine: options.machine,
      engine,
      keepDisks: true,
      deadline: Number.POSITIVE_INFINITY,
      pace: () => false,
      world: { canWake: () => false, wait: async () => {} },
      output: new ConsoleOutput(stream),
      note: isShown ? options.note : () => {},
      log: null,
    });
    const { board } = session.pc;
    let report: BareReport | null = null;
    return {
      session,
      machine: board.machine,
      get report() {
        return report;
      },
      get cycles() {
        return board.processors.cycle;
      },
      get next() {
        return board.sleepsUntil === undefined ? board.processors.cycle : board.timeline.next;
      },
      contexts: () => new Map(),
      type: (bytes) => session.type(bytes),
      async advance(to) {
        const end = report ?? session.advance(to);
        if (end === null) return null;
        if (end === 'idle') return STUCK;
        report = end;
        const { hostMs: _, ...facts } = end;
        return JSON.stringify(facts);
      },
    };
  };

/** Runs the machine in lockstep; the exit code. */
export async function bareInLockstep(options: BareOptions, machine: BareMachine): Promise<number> {
  const complain = (line: string) => void process.stderr.write(`ringworld: ${line}\n`);
  const sink = options.json ? process.stderr : process.stdout;
  const write = (bytes: Uint8Array) => void (options.json && options.quiet ? 0 : sink.write(Buffer.from(bytes)));
  const symbolAt = guestSymbols(options.systemMap, machine.files.kernel === null ? [] : [machine.files.kernel.bytes]);
  const twins = bareTwins({ machine, write, note: complain });
  const shown: BareTwin[] = [];
  const terminal = options.foreground ? null : new Terminal();
  try {
    const end = await new Lockstep({
      make: (engine, isShown) => {
        const twin = twins(engine, isShown);
        if (isShown) shown.push(twin);
        return twin;
      },
      deadline: deadlineOf(options.timeoutSeconds),
      say: complain,
      ...(terminal === null ? {} : { typed: () => terminal.take(), wait: () => terminal.wait() }),
    }).run();
    if (end.kind === 'differs') return tellDifference(end, options.json, symbolAt);
    const twin = shown[0]!;
    const report = twin.report ?? twin.session.judge(end.kind === 'timeout' ? 'timeout' : 'stuck')!;
    if (!options.quiet) complain(`interpreter and JIT agree over ${end.cycles} cycles`);
    if (options.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    return bareExitCode(report);
  } finally {
    terminal?.close();
  }
}
