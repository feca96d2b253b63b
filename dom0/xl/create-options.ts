// The arguments of `ringworld create`: options, files and overrides, and the domains that they describe.
import { parseArgs } from 'node:util';
import { type BlkbackOptions, parseBlkbackOptions } from '../blkback/index.ts';
import { type NetbackOptions, parseNetbackOptions } from '../netback/index.ts';
import type { DomainFiles } from '../toolstack/lifecycle.ts';
import { type DomainConfig, parseOverride, parseXlcfg, readDomainConfig, type XlcfgSettings } from '../toolstack/xlcfg.ts';
import { type NetOptions, parseNetOptions } from './net-options.ts';
import { readInputFile } from './node-files.ts';
import { checkShareFolder } from './node-share.ts';
import { UserError } from './user-error.ts';

/** A domain to be: what it is and where that was said. */
export interface Guest {
  /** The configuration file, or what stands for it in messages. */
  readonly source: string;
  readonly config: DomainConfig;
  readonly files: DomainFiles;
}

export interface CreateOptions {
  readonly foreground: boolean;
  readonly console: boolean;
  readonly dryrun: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly timeoutSeconds: number | null;
  readonly cpus: number | null;
  readonly engine: EngineChoice;
  /** A file with the guest's symbols, for dumps. */
  readonly systemMap: string | null;
  /** A file for a trace of the split drivers and of what guests do, and what of it is wanted. */
  readonly trace: string | null;
  readonly traceEvents: string | null;
  readonly help: boolean;
  /** The latency model of disks whose setting has no model=. */
  readonly diskModel: string;
  /** --netback: features and switches of the network backend. */
  readonly netback: Partial<NetbackOptions>;
  /** --blkback: the same of the block backend. */
  readonly blkback: Partial<BlkbackOptions>;
  /** --uplink, --capture, --wire; null when there is none of them. */
  readonly net: NetOptions | null;
  /** --log-dir: a folder in which each console is logged. */
  readonly logDir: string | null;
  /** Leave it paused (in a host). */
  readonly paused: boolean;
  /** The host's socket, where one is named. */
  readonly socket: string | null;
  /** An option was given that only a machine of the command's own can follow. */
  readonly needsOwnMachine: boolean;
  readonly configFiles: readonly string[];
  readonly overrides: readonly string[];
  /** Settings that have an option of their own. */
  readonly settings: ReadonlyMap<string, string>;
}

/** `both` runs interpreter and JIT in lockstep and stops at the first difference. */
export const ENGINE_CHOICES = ['interp', 'jit', 'both'] as const;
export type EngineChoice = (typeof ENGINE_CHOICES)[number];

/** The value of `--engine`, for every command that has the option. */
export function parseEngine(command: string, text: string | undefined): EngineChoice {
  const known = ENGINE_CHOICES.find((e) => e === (text ?? 'jit'));
  if (known === undefined) throw new UserError(`${command}: --engine ${text}: there are ${ENGINE_CHOICES.join(', ')}`);
  return known;
}

const SETTINGS = ['kernel', 'ramdisk', 'cmdline', 'extra', 'name', 'memory', 'maxmem', 'vcpus', 'maxvcpus'] as const;

/** What a host has decided already, or cannot do for one command. */
const OWN_MACHINE = [
  'timeout',
  'cpus',
  'engine',
  'system-map',
  'trace',
  'json',
  'verbose',
  'uplink',
  'capture',
  'wire',
  'netback',
  'blkback',
  'disk-model',
] as const;

export function parseCreateArguments(args: string[]): CreateOptions {
  const { values, positionals } = parse(args);
  const settings = new Map<string, string>();
  for (const name of SETTINGS) {
    const value = values[name];
    if (value !== undefined) settings.set(name, value);
  }
  const isOverride = (arg: string) => /^\s*[a-z][_0-9a-z]*\s*\+?=/.test(arg);
  return {
    foreground: values.foreground ?? false,
    console: values.console ?? false,
    dryrun: values.dryrun ?? false,
    json: values.json ?? false,
    quiet: values.quiet ?? false,
    verbose: values.verbose ?? false,
    help: values.help ?? false,
    diskModel: values['disk-model'] ?? 'ideal',
    netback: backendOptions('netback', values.netback, parseNetbackOptions),
    blkback: backendOptions('blkback', values.blkback, parseBlkbackOptions),
    net: values.uplink || values.capture || values.wire ? parseNetOptions(values) : null,
    logDir: values['log-dir'] ?? null,
    paused: values.paused ?? false,
    socket: values.socket ?? null,
    needsOwnMachine: OWN_MACHINE.some((name) => values[name] !== undefined),
    timeoutSeconds: positive('timeout', values.timeout, (n) => n > 0),
    cpus: positive('cpus', values.cpus, (n) => Number.isInteger(n) && n >= 1 && n <= 64),
    engine: parseEngine('create', values.engine),
    systemMap: values['system-map'] ?? null,
    trace: values.trace ?? null,
    traceEvents: values['trace-events'] ?? null,
    configFiles: [...(values.defconfig ?? []), ...positionals.filter((p) => !isOverride(p))],
    overrides: positionals.filter(isOverride),
    settings,
  };
}

function backendOptions<T>(name: string, text: string | undefined, parse: (text: string) => Partial<T>): Partial<T> {
  try {
    return parse(text ?? '');
  } catch (e) {
    throw new UserError(`create: --${name}: ${e instanceof Error ? e.message : e}`);
  }
}

function parse(args: string[]) {
  const text = { type: 'string' } as const;
  const flag = (short?: string) => ({ type: 'boolean' as const, ...(short === undefined ? {} : { short }) });
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        foreground: flag('F'),
        console: flag('c'),
        dryrun: flag('n'),
        json: flag(),
        quiet: flag('q'),
        verbose: flag('v'),
        help: flag('h'),
        paused: flag('p'),
        socket: text,
        'log-dir': text,
        timeout: text,
        'disk-model': text,
        netback: text,
        blkback: text,
        uplink: { type: 'string', multiple: true },
        capture: { type: 'string', multiple: true },
        wire: { type: 'string', multiple: true },
        cpus: text,
        engine: text,
        'system-map': text,
        trace: text,
        'trace-events': text,
        defconfig: { type: 'string', short: 'f', multiple: true },
        kernel: text,
        ramdisk: text,
        cmdline: text,
        extra: text,
        name: text,
        memory: text,
        maxmem: text,
        vcpus: text,
        maxvcpus: text,
      },
    });
  } catch (e) {
    throw new UserError(`create: ${e instanceof Error ? e.message : String(e)}`);
  }
}

function positive(name: string, text: string | undefined, accept: (n: number) => boolean): number | null {
  if (text === undefined) return null;
  const n = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!accept(n)) throw new UserError(`create: --${name} ${text}: not a usable number`);
  return n;
}

/** Of an HVM domain that its firmware boots. */
const NO_KERNEL = { file: 'firmware', bytes: new Uint8Array(0) };

/** Reads the configurations and the files that they name. `warn` is given one line each. */
export function readGuests(options: CreateOptions, warn: (line: string) => void): Guest[] {
  const { configFiles, settings } = options;
  if (configFiles.length === 0 && !settings.has('kernel') && !options.overrides.some((o) => /^\s*(kernel|firmware|disk)\s*=/.test(o)))
    throw new UserError('create: which domain? Give an xl.cfg file, or --kernel');
  const sources: (string | null)[] = configFiles.length === 0 ? [null] : [...configFiles];
  const guests = sources.map((file) => readGuest(file, options, warn));
  const names = guests.map((g) => g.config.name);
  const twice = names.find((n, i) => names.indexOf(n) !== i);
  if (twice !== undefined) throw new UserError(`create: two domains are named "${twice}"`);
  return guests;
}

function readGuest(file: string | null, options: CreateOptions, warn: (line: string) => void): Guest {
  const settings: XlcfgSettings = new Map();
  if (file !== null) parseXlcfg(file, new TextDecoder().decode(readInputFile(file, 'configuration')), settings);
  for (const [name, value] of options.settings) settings.set(name, { name, value, file: `--${name}`, line: null });
  for (const o of options.overrides) parseOverride(o, settings);
  const kernel = settings.get('kernel')?.value;
  const source = file ?? 'create';
  // Without a file nobody would think of a name: the kernel's serves.
  if (file === null && !settings.has('name') && typeof kernel === 'string')
    settings.set('name', { name: 'name', value: kernel.split('/').at(-1)!, file: source, line: null });
  const { config, warnings } = readDomainConfig(source, settings);
  warnings.forEach(warn);
  for (const p of config.devices.p9s) checkShareFolder(p.front.tag ?? '', p.back.path ?? '');
  const read = (name: string, role: string) => ({ file: name, bytes: readInputFile(name, role) });
  return {
    source,
    config,
    files: {
      kernel: config.kernel === '' ? NO_KERNEL : read(config.kernel, 'kernel'),
      ramdisk: config.ramdisk === null ? null : read(config.ramdisk, 'ramdisk'),
    },
  };
}
