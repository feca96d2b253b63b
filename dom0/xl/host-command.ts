// `ringworld host`: switches a machine on and keeps it running behind a socket, until it is told to end.
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { EngineKind } from '@ringworld/hypervisor';
import { StoreError } from '../storage/block-store.ts';
import { Storage } from '../storage/storage.ts';
import { ENVIRONMENT, parseOptions, type Usage } from './commands/options.ts';
import { switchOn } from './host.ts';
import { HostMachine } from './host-machine.ts';
import { parseNetOptions } from './net-options.ts';
import { ChannelSockets, consoleLogs } from './node-consoles.ts';
import { connectHost, listenAsHost, socketPath } from './node-host-socket.ts';
import { nodeStorage } from './node-storage.ts';
import { EXIT, UserError } from './user-error.ts';

export const HOST_USAGE: Usage = {
  name: 'host',
  synopsis: '[options]',
  about:
    "Switch a machine on and keep it running behind a unix socket; 'create' without -F, 'list', 'console' and the others then use it.\n" +
    'SIGTERM, SIGINT or --stop ends it: domains are destroyed, what their disks hold is written out.',
  options: {
    memory: { text: 'MiB that the domains have together (1024)', value: true },
    cpus: { text: 'physical CPUs (1)', value: true },
    engine: { text: 'jit or interp', value: true },
    'cpu-profile': { text: 'which processors the machine has: skylake-sp or zen for pvh and hvm domains, ... (baseline)', value: true },
    epoch: { text: "the machine's wall clock when it is switched on, seconds since 1970 (the host's)", value: true },
    daemon: { text: 'return when the machine is up, and leave it running' },
    'log-dir': { text: 'a folder in which each console is logged (guest-NAME.log)', value: true },
    'dump-dir': { text: 'a folder for the cores of domains with on_crash="coredump-...": NAME.core (the current one)', value: true },
    log: { text: "with --daemon: a file for the host's messages (beside the socket)", value: true },
    stop: { text: 'end the host that is running' },
    'disk-model': { text: 'how long disks take whose setting has no model=: ideal, nvme, hdd', value: true },
    quiet: { text: 'say nothing of what happens to domains' },
    uplink: { text: 'as for create: passt[,bridge=NAME][,args=ARGUMENTS], unix:PATH or tcp:HOST:PORT; may be given again', value: true },
    capture: { text: 'as for create: FILE[,BRIDGE|,DOMAIN/DEVID]; may be given again', value: true },
    wire: { text: 'as for create: [BRIDGE:]WIRE; may be given again', value: true },
    verbose: { text: "the hypervisor's own log (what dmesg shows) on standard error" },
  },
  most: 0,
};

const DEFAULT_MEMORY_MIB = 1024;
const START_TIMEOUT_MS = 30_000;
const LOOK_AGAIN_MS = 30;

export async function hostCommand(args: string[]): Promise<number> {
  const { flags, values, lists, socket } = parseOptions(HOST_USAGE, args);
  const path = socketPath(socket);
  if (flags.has('stop')) return stopHost(path);
  const settings = {
    guestMiB: whole('memory', values.get('memory'), DEFAULT_MEMORY_MIB, 1),
    cpus: whole('cpus', values.get('cpus'), 1, 1, 64),
    engine: engineOf(values.get('engine')),
    profile: values.get('cpu-profile'),
    bootEpoch: whole('epoch', values.get('epoch'), Math.floor(Date.now() / 1000), 0),
  };
  const net = parseNetOptions({ uplink: lists('uplink'), capture: lists('capture'), wire: lists('wire') });
  if (flags.has('daemon')) return startInBackground(path, args, values.get('log') ?? null);

  const say = (line: string) => void process.stderr.write(`ringworld: ${line}\n`);
  const storage = openStorage(values.get('disk-model') ?? 'ideal');
  const host = switchOn({ ...settings, services: { openStore: storage.open } });
  if (flags.has('verbose')) {
    process.stderr.write(host.hv.console.text());
    host.hv.console.onLine = (line) => void process.stderr.write(`${line}\n`);
  }
  const machine = new HostMachine(host, flags.has('quiet') ? () => {} : say, storage);
  machine.coreFolder = values.get('dump-dir') ?? machine.coreFolder;
  const logs = values.get('log-dir') ?? null;
  if (logs !== null) host.toolstack.consoled.openLog = consoleLogs(logs);
  const channels = new ChannelSockets(host.toolstack.consoled, () => machine.poke(), say);
  await machine.net.open(net);
  const stopListening = await listenAsHost(path, machine, say);
  say(`host is up: ${settings.guestMiB} MiB for domains, ${settings.cpus} CPU${settings.cpus === 1 ? '' : 's'}; socket ${path}`);
  // The second signal does not wait for anything.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => machine.stop());
  try {
    await machine.run();
  } finally {
    // What guests have written is still to reach the disks.
    await storage.closeAll();
    channels.close();
    stopListening();
  }
  say('host has ended');
  return EXIT.ok;
}

function openStorage(model: string): Storage {
  try {
    return new Storage(nodeStorage, { model });
  } catch (e) {
    if (e instanceof StoreError) throw new UserError(`host: --disk-model: ${e.message}`);
    throw e;
  }
}

function whole(name: string, text: string | undefined, fallback: number, min: number, max = Number.MAX_SAFE_INTEGER): number {
  if (text === undefined) return fallback;
  const n = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
  if (!(n >= min && n <= max)) throw new UserError(`host: --${name} ${text}: not a usable number`);
  return n;
}

function engineOf(text: string | undefined): EngineKind {
  if (text === undefined || text === 'jit' || text === 'interp') return text ?? 'jit';
  throw new UserError(`host: --engine ${text}: there are jit and interp`);
}

/** Asks it to end and waits until it has. */
async function stopHost(path: string): Promise<number> {
  const host = await ENVIRONMENT.connect(path);
  await host.call('stop', {});
  host.close();
  // While it ends it may still take a connection, and drop it.
  while (await isThere(path)) await new Promise((done) => setTimeout(done, LOOK_AGAIN_MS));
  return EXIT.ok;
}

async function isThere(path: string): Promise<boolean> {
  try {
    const host = await connectHost(path);
    host?.close();
    return host !== null;
  } catch (e) {
    if (e instanceof UserError) return true;
    throw e;
  }
}

/** A process of its own, which outlives this one; what it says before it is up is said here. */
async function startInBackground(path: string, args: readonly string[], log: string | null): Promise<number> {
  const other = await connectHost(path);
  if (other !== null) {
    const { pid } = other;
    other.close();
    throw new UserError(`a host is running already: process ${pid}, at ${path}`);
  }
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const logFile = log ?? `${path.replace(/\.sock$/, '')}.log`;
  let output: number;
  try {
    output = openSync(logFile, 'w', 0o600);
  } catch (e) {
    throw new UserError(`${logFile}: cannot be written: ${(e as NodeJS.ErrnoException).code ?? e}`);
  }
  const rest = args.filter((a) => a !== '--daemon');
  const command = process.argv[1]!;
  const child = spawn(process.execPath, [...process.execArgv, command, 'host', ...rest], {
    detached: true,
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  let ended: number | null | undefined;
  child.once('exit', (code) => {
    ended = code;
  });
  for (const deadline = performance.now() + START_TIMEOUT_MS; performance.now() < deadline; ) {
    if (ended !== undefined) {
      const said = readFileSync(logFile, 'utf8')
        .trim()
        .replace(/^ringworld: /, '');
      throw new UserError(`the host did not start: ${said || `exit code ${ended}`}`);
    }
    const host = await connectHost(path);
    if (host !== null) {
      host.close();
      child.unref();
      process.stdout.write(`host is up: process ${host.pid}, socket ${path}, messages in ${logFile}\n`);
      return EXIT.ok;
    }
    await new Promise((done) => setTimeout(done, LOOK_AGAIN_MS));
  }
  child.kill();
  throw new UserError(`the host did not come up in ${START_TIMEOUT_MS / 1000} s; its messages are in ${logFile}`);
}
