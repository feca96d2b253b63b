// `ringworld create`: runs domains in the foreground.

import type { Machine } from '@ringworld/hypervisor';
import { formatUuid } from '../toolstack/xlcfg.ts';
import { Bell } from './bell.ts';
import { parseCreateArguments, readGuests } from './create-options.ts';
import type { Host } from './host.ts';
import { ChannelSockets, consoleLogs } from './node-consoles.ts';
import { openDisks } from './node-disks.ts';
import type { HostNet } from './node-net.ts';
import { onInterrupt } from './node-signals.ts';
import { Keyboard, nodeStream, nowhere } from './node-terminal.ts';
import { type ByteStream, ConsoleOutput } from './output.ts';
import { EXIT, UserError } from './user-error.ts';

/**
 * A program at the other end of a pipe takes its time to answer a prompt. Idle time is skipped for it too, so that `sleep 5` is done
 * at once, but not for ever: after this much silence (ns of virtual time) waiting takes as long as it does.
 */
const PATIENCE_NS = 60e9;

/** `observe` is shown the machine before it runs. */
export async function create(args: string[], observe?: (machine: Machine) => void): Promise<number> {
  const options = parseCreateArguments(args);
  if (options.help) return (await import('./help.ts')).help([]);
  let output: ConsoleOutput | null = null;
  const complain = (line: string) => {
    // Not into the middle of what the guest is writing.
    const start = output?.isMidLine && process.stderr.isTTY ? '\n' : '';
    process.stderr.write(`${start}ringworld: ${line}\n`);
  };
  const guests = readGuests(options, (line) => {
    if (!options.quiet) complain(`warning: ${line}`);
  });
  if (options.dryrun) {
    for (const g of guests) process.stdout.write(`${JSON.stringify({ ...g.config, uuid: formatUuid(g.config.uuid) }, null, 2)}\n`);
    return EXIT.ok;
  }
  if (options.console && guests.length > 1) throw new UserError('create: -c works with one domain; -F runs several');
  if (!options.foreground && observe === undefined) {
    const code = await (await import('./create-in-host.ts')).createInHost(options, guests);
    if (code !== null) return code;
  }

  const { engine } = options;
  if (engine === 'both' && options.trace !== null)
    throw new UserError('create: --trace does not go with --engine=both, which runs two machines');
  if (engine === 'both' && options.net !== null && options.net.uplinks.length > 0)
    throw new UserError('create: --uplink does not go with --engine=both: no two machines would see the same outside');
  if (engine === 'both' && guests.some((g) => g.config.devices.p9s.some((d) => d.back.readonly !== '1')))
    throw new UserError(
      'create: --engine=both does not go with a shared folder that is written: two machines would write it (p9: readonly=1)',
    );
  if (engine === 'both') return (await import('./lockstep-domains.ts')).createInLockstep(options, guests);

  // The hypervisor is loaded only when there is something to run: a mistake is answered at once.
  const { exitCode, Session } = await import('./session.ts');
  const { jsonReport } = await import('./report.ts');
  const startTrace = options.trace === null ? null : await prepareTrace(options.trace, options.traceEvents);
  let endTrace = () => {};
  const disks = await openDisks(guests, { model: options.diskModel });
  const drain = () => session.drain();
  const to = options.json ? process.stderr : process.stdout;
  const stream = options.json && options.quiet ? nowhere : nodeStream(to, drain, () => session.leave());
  // System time at which something was last typed or shown.
  let lastSign = 0;
  const watched: ByteStream = {
    room: () => stream.room(),
    write: (bytes) => {
      lastSign = session.host.hv.now();
      stream.write(bytes);
    },
  };
  const outputs = guests.map((g) => new ConsoleOutput(watched, guests.length > 1 ? `(${g.config.name}) ` : ''));
  output = outputs[0]!;
  let keyboard: Keyboard | null = null;
  let net: HostNet | null = null;
  // Assigned in a callback, which the compiler does not follow.
  let channels = null as ChannelSockets | null;
  const bell = new Bell();
  const session = new Session({
    guests,
    cpus: options.cpus,
    engine,
    deadline: options.timeoutSeconds === null ? Number.POSITIVE_INFINITY : performance.now() + options.timeoutSeconds * 1000,
    pace: (): boolean =>
      (keyboard?.canWake() === true && (keyboard.isTty || session.host.hv.now() - lastSign > PATIENCE_NS)) || channels?.isInUse === true,
    world: {
      canWake: () => keyboard?.canWake() === true || net?.isLive() === true || channels?.isOpen === true,
      wait: (ms) => bell.wait(ms),
      isLive: () => net?.isLive() ?? false,
      admit: () => net?.admit(),
    },
    outputs,
    note: complain,
    coreFolder: '.',
    services: { openStore: disks.open, netback: options.netback, blkback: options.blkback },
    observe: (host) => {
      if (startTrace !== null) endTrace = startTrace(host);
      const { consoled } = host.toolstack;
      if (options.logDir !== null) consoled.openLog = consoleLogs(options.logDir);
      channels = new ChannelSockets(consoled, () => bell.ring(), complain);
    },
    log: options.verbose ? (line) => void process.stderr.write(`${line}\n`) : null,
  });
  observe?.(session.host.machine);
  if (options.console) {
    keyboard = new Keyboard({
      typed: (bytes) => {
        lastSign = session.host.hv.now();
        session.type(bytes);
        bell.ring();
      },
      backlog: () => session.backlog,
      left: () => {
        session.leave();
        bell.ring();
      },
      ended: () => bell.ring(),
    });
    // What a pipe already holds is typed before the first instruction.
    if (!keyboard.isTty) await new Promise((done) => setImmediate(done));
  }
  const interrupts = onInterrupt(() => session.leave());
  try {
    if (options.net !== null) {
      const { HostNet } = await import('./node-net.ts');
      net = new HostNet(session.host, () => bell.ring(), complain);
      await net.open(options.net);
    }
    const { domains, machine } = await session.run();
    await disks.closeAll();
    if (options.json) process.stdout.write(jsonReport(domains, machine));
    return interrupts.exitCode ?? exitCode(domains);
  } finally {
    keyboard?.close();
    net?.close();
    channels?.close();
    endTrace();
    // Again where something was thrown: what the guests had written is still to reach the host.
    await disks.closeAll();
    interrupts.stop();
  }
}

/** Loaded only where a trace is wanted. */
async function prepareTrace(file: string, events: string | null): Promise<(host: Host) => () => void> {
  const { traceClasses, traceToFile } = await import('./trace-file.ts');
  const { Tracing } = await import('./tracing.ts');
  const classes = traceClasses(events);
  return (host) => traceToFile(new Tracing(host), file, classes);
}
