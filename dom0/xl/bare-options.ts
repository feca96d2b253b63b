// The arguments of `ringworld bare`: options as those of create, an image or a configuration, and the machine that they describe.
import { parseArgs } from 'node:util';
import { type BareConfig, readBareConfig } from '../toolstack/bare-config.ts';
import type { BareFile } from '../toolstack/bare-image.ts';
import type { Module } from '../toolstack/bare-multiboot.ts';
import { parseOverride, parseXlcfg, type XlcfgSettings } from '../toolstack/xlcfg.ts';
import { type EngineChoice, parseEngine } from './create-options.ts';
import { readInputFile } from './node-files.ts';
import { UserError } from './user-error.ts';

export interface BareFiles {
  readonly kernel: BareFile | null;
  readonly ramdisk: BareFile | null;
  readonly modules: readonly Module[];
  readonly bios: BareFile | null;
  readonly vgabios: BareFile | null;
}

export interface BareOptions {
  /** Output only: nothing is typed. */
  readonly foreground: boolean;
  readonly dryrun: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly help: boolean;
  readonly timeoutSeconds: number | null;
  readonly engine: EngineChoice;
  /** A file with the guest's symbols, for dumps. */
  readonly systemMap: string | null;
  /** An image or a configuration; null when all is said by settings. */
  readonly file: string | null;
  readonly overrides: readonly string[];
  readonly settings: ReadonlyMap<string, string>;
}

/** Settings that have an option of their own; `cpus` stands for vcpus, since every CPU here is a real one. */
const SETTINGS = ['kernel', 'ramdisk', 'cmdline', 'extra', 'name', 'memory', 'vcpus', 'bios', 'vgabios', 'cpu', 'protocol'] as const;

export function parseBareArguments(args: string[]): BareOptions {
  const { values, positionals } = parse(args);
  const settings = new Map<string, string>();
  for (const name of SETTINGS) {
    const value = values[name];
    if (value !== undefined) settings.set(name, value);
  }
  if (values.cpus !== undefined) settings.set('vcpus', values.cpus);
  const isOverride = (arg: string) => /^\s*[a-z][_0-9a-z]*\s*\+?=/.test(arg);
  const files = [...(values.defconfig === undefined ? [] : [values.defconfig]), ...positionals.filter((p) => !isOverride(p))];
  if (files.length > 1) throw new UserError(`bare: one image or configuration, and not ${files.length}: ${files.join(', ')}`);
  const { timeout } = values;
  if (timeout !== undefined && !(Number(timeout) > 0)) throw new UserError(`bare: --timeout ${timeout}: not a usable number`);
  return {
    foreground: (values.foreground ?? false) && !values.console,
    dryrun: values.dryrun ?? false,
    json: values.json ?? false,
    quiet: values.quiet ?? false,
    verbose: values.verbose ?? false,
    help: values.help ?? false,
    timeoutSeconds: timeout === undefined ? null : Number(timeout),
    engine: parseEngine('bare', values.engine),
    systemMap: values['system-map'] ?? null,
    file: files[0] ?? null,
    overrides: positionals.filter(isOverride),
    settings,
  };
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
        timeout: text,
        cpus: text,
        engine: text,
        'system-map': text,
        defconfig: { type: 'string', short: 'f' },
        kernel: text,
        ramdisk: text,
        cmdline: text,
        extra: text,
        name: text,
        memory: text,
        vcpus: text,
        bios: text,
        vgabios: text,
        cpu: text,
        protocol: text,
      },
    });
  } catch (e) {
    throw new UserError(`bare: ${e instanceof Error ? e.message : String(e)}`);
  }
}

/** A configuration is text with assignments; an image is anything else. */
function isConfiguration(file: string, bytes: Uint8Array): boolean {
  if (/\.(cfg|conf|hvm|pv)$/.test(file)) return true;
  const head = bytes.subarray(0, 4096);
  return head.length > 0 && !head.includes(0) && /^\s*[a-z_]+\s*=/m.test(new TextDecoder().decode(head));
}

export interface BareMachine {
  readonly config: BareConfig;
  readonly files: BareFiles;
}

/** Reads the configuration and the files that it names. `warn` is given one line each. */
export function readBareMachine(options: BareOptions, warn: (line: string) => void): BareMachine {
  const settings: XlcfgSettings = new Map();
  const { file } = options;
  let image: BareFile | null = null;
  if (file !== null) {
    const bytes = readInputFile(file, 'image');
    if (isConfiguration(file, bytes)) parseXlcfg(file, new TextDecoder().decode(bytes), settings);
    else image = { file, bytes };
  }
  for (const [name, value] of options.settings) settings.set(name, { name, value, file: `--${name}`, line: null });
  for (const o of options.overrides) parseOverride(o, settings);
  if (file === null && !settings.has('kernel') && !settings.has('bios'))
    throw new UserError('bare: what is to run? Give an image, an xl.cfg file, or --kernel or --bios');
  if (image !== null) {
    const role = settings.has('kernel') ? 'kernel' : settings.has('bios') ? 'bios' : null;
    if (role !== null) throw new UserError(`bare: ${image.file} and --${role} are both given: one image starts`);
    settings.set('kernel', { name: 'kernel', value: image.file, file: image.file, line: null });
  }
  const kernel = settings.get('kernel')?.value ?? settings.get('bios')?.value;
  if (!settings.has('name') && typeof kernel === 'string')
    settings.set('name', { name: 'name', value: kernel.split('/').at(-1)!, file: file ?? 'bare', line: null });
  const config = readBareConfig(file ?? 'bare', settings, warn);
  const read = (name: string | null, role: string): BareFile | null =>
    name === null ? null : { file: name, bytes: image?.file === name ? image.bytes : readInputFile(name, role) };
  return {
    config,
    files: {
      kernel: read(config.kernel, 'kernel'),
      ramdisk: read(config.ramdisk, 'ramdisk'),
      modules: config.modules.map((text) => {
        const [name = '', ...rest] = text.trim().split(/\s+/);
        return { file: name, bytes: readInputFile(name, 'module'), cmdline: rest.join(' ') };
      }),
      bios: read(config.bios, 'BIOS image'),
      vgabios: read(config.vgabios, 'video BIOS image'),
    },
  };
}
