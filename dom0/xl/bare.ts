// `ringworld bare`: runs a kernel or a BIOS on the emulated PC, with no hypervisor.
import type { Machine } from '@ringworld/hypervisor';
import { parseBareArguments, readBareMachine } from './bare-options.ts';
import { Keyboard, nodeStream, nowhere } from './node-terminal.ts';
import { type ByteStream, ConsoleOutput } from './output.ts';
import { EXIT } from './user-error.ts';

/** After this much silence (ns of virtual time) waiting for a pipe takes as long as it does; see create.ts. */
const PATIENCE_NS = 60e9;

/** `observe` is shown the machine before it runs. */
export async function bare(args: string[], observe?: (machine: Machine) => void): Promise<number> {
  const options = parseBareArguments(args);
  if (options.help) return (await import('./help.ts')).help([]);
  let output: ConsoleOutput | null = null;
  const complain = (line: string) => {
    const start = output?.isMidLine && process.stderr.isTTY ? '\n' : '';
    process.stderr.write(`${start}ringworld: ${line}\n`);
  };
  const machine = readBareMachine(options, (line) => {
    if (!options.quiet) complain(`warning: ${line}`);
  });
  if (options.dryrun) {
    process.stdout.write(`${JSON.stringify(machine.config, null, 2)}\n`);
    return EXIT.ok;
  }
  const { engine } = options;
  if (engine === 'both') return (await import('./lockstep-bare.ts')).bareInLockstep(options, machine);

  const { BareSession, bareExitCode } = await import('./bare-session.ts');
  const stream = options.json && options.quiet ? nowhere : nodeStream(options.json ? process.stderr : process.stdout, () => {});
  let lastSign = 0;
  const watched: ByteStream = {
    room: () => stream.room(),
    write: (bytes) => {
      lastSign = session.pc.board.timeline.now;
      stream.write(bytes);
    },
  };
  output = new ConsoleOutput(watched);
  let keyboard: Keyboard | null = null;
  const session = new BareSession({
    machine,
    engine,
    deadline: options.timeoutSeconds === null ? Number.POSITIVE_INFINITY : performance.now() + options.timeoutSeconds * 1000,
    pace: (): boolean => keyboard?.canWake() === true && (keyboard.isTty || session.pc.board.timeline.now - lastSign > PATIENCE_NS),
    world: {
      canWake: () => keyboard?.canWake() ?? false,
      wait: (ms) => keyboard?.wait(ms) ?? new Promise((done) => setTimeout(done, ms)),
    },
    output,
    note: complain,
    log: options.verbose ? (line) => void process.stderr.write(`${line}\n`) : null,
  });
  observe?.(session.pc.board.machine);
  if (!options.foreground) {
    keyboard = new Keyboard({
      typed: (bytes) => {
        lastSign = session.pc.board.timeline.now;
        session.type(bytes);
      },
      backlog: () => session.backlog,
      left: () => session.leave(),
    });
    // What a pipe already holds is typed before the first instruction.
    if (!keyboard.isTty) await new Promise((done) => setImmediate(done));
  }
  try {
    const report = await session.run();
    if (options.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    return bareExitCode(report);
  } finally {
    keyboard?.close();
  }
}
