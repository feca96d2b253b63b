// From the settings of an xl.cfg file to a bare machine. Names are xl's where xl has them; bios, modules, protocol and cpu are ours.

import { INERT_KEYS } from './xlcfg-keys.ts';
import { XlcfgError } from './xlcfg-lexer.ts';
import type { XlcfgSetting, XlcfgSettings } from './xlcfg-parser.ts';

export const PROTOCOLS = ['linux64', 'linux32', 'pvh', 'multiboot1', 'multiboot2'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** One entry of `disk`, as xl-disk-configuration(5) has them. */
export interface BareDisk {
  readonly file: string;
  /** hda to hdd: primary master to secondary slave. */
  readonly slot: number;
  readonly readOnly: boolean;
  readonly cdrom: boolean;
}

export interface BareConfig {
  readonly name: string;
  readonly memoryMiB: number;
  readonly vcpus: number;
  /** CPUID profile; null for the machine's default. */
  readonly cpu: string | null;
  readonly kernel: string | null;
  /** Null: as the image says. */
  readonly protocol: Protocol | null;
  readonly ramdisk: string | null;
  /** "FILE [ARGUMENTS]" for multiboot kernels. */
  readonly modules: readonly string[];
  readonly cmdline: string;
  readonly bios: string | null;
  readonly vgabios: string | null;
  readonly disks: readonly BareDisk[];
  /** Seconds since 1970. */
  readonly epoch: number | null;
  readonly onReboot: 'restart' | 'destroy';
  readonly onCrash: 'restart' | 'destroy';
}

const USED = new Set(
  'name memory maxmem vcpus maxvcpus cpu kernel protocol ramdisk modules cmdline root extra bios vgabios disk serial rtc type builder on_reboot on_crash on_poweroff'.split(
    ' ',
  ),
);
const DEFAULT_MEMORY_MIB = 256;
const MAX_MEMORY_MIB = 3800;

/** `file` is named in complaints about what is missing. Throws XlcfgError. */
export function readBareConfig(file: string, settings: XlcfgSettings, warn: (line: string) => void): BareConfig {
  const inert = new Set(INERT_KEYS);
  const where = (s: XlcfgSetting): string => (s.line === null ? s.file : `${s.file}:${s.line}`);
  for (const s of settings.values())
    if (!USED.has(s.name) && !inert.has(s.name)) warn(`${where(s)}: setting \`${s.name}' means nothing to a bare machine: ignored`);
  const r = new Settings(file, settings);
  const memory = r.number('memory', 2, MAX_MEMORY_MIB) ?? r.number('maxmem', 2, MAX_MEMORY_MIB) ?? DEFAULT_MEMORY_MIB;
  const serial = r.string('serial') ?? 'stdio';
  if (!['stdio', 'pty', 'none'].includes(serial)) r.fail('serial', `is "${serial}": the first serial port goes to the terminal (stdio)`);
  const config: BareConfig = {
    name: r.string('name') ?? 'bare',
    memoryMiB: memory,
    vcpus: r.number('vcpus', 1, 64) ?? r.number('maxvcpus', 1, 64) ?? 1,
    cpu: r.string('cpu'),
    kernel: r.string('kernel') || null,
    protocol: r.choice('protocol', PROTOCOLS),
    ramdisk: r.string('ramdisk') || null,
    modules: r.list('modules'),
    cmdline: r.string('cmdline') ?? [r.string('root') && `root=${r.string('root')}`, r.string('extra')].filter((p) => p).join(' '),
    bios: r.string('bios') || null,
    vgabios: r.string('vgabios') || null,
    disks: r.list('disk').map((text, i) => readDisk(text, i, (why) => r.fail('disk', why))),
    epoch: r.number('rtc', 0, 2 ** 40),
    onReboot: action(r.string('on_reboot'), 'restart'),
    onCrash: action(r.string('on_crash'), 'destroy'),
  };
  if (config.kernel === null && config.bios === null)
    throw new XlcfgError(file, null, 'a bare machine needs a kernel or a BIOS image (kernel, bios)');
  if (config.kernel !== null && config.bios !== null) r.fail('bios', 'and kernel are both given: the machine starts with one of them');
  if (config.modules.length > 0 && config.ramdisk !== null)
    r.fail('ramdisk', 'and modules are both given: modules are for multiboot kernels');
  return config;
}

const action = (text: string | null, fallback: 'restart' | 'destroy'): 'restart' | 'destroy' =>
  text === null ? fallback : text.endsWith('restart') ? 'restart' : 'destroy';

const SLOTS = ['hda', 'hdb', 'hdc', 'hdd'] as const;

/** "TARGET, FORMAT, VDEV, ACCESS" or key=value parameters, in any mixture that xl-disk-configuration(5) allows. */
function readDisk(text: string, index: number, fail: (why: string) => never): BareDisk {
  const named = new Map<string, string>();
  const positional: string[] = [];
  for (const part of text.split(',').map((p) => p.trim())) {
    const m = /^([a-z]+)=(.*)$/.exec(part);
    if (m) named.set(m[1]!, m[2]!);
    else if (part === 'cdrom') named.set('devtype', 'cdrom');
    else positional.push(part);
  }
  const [target, format, vdev, access] = positional;
  const file = named.get('target') ?? target ?? '';
  if (file === '') fail(`entry ${index + 1} names no file: \`${text}'`);
  const kind = named.get('format') ?? (format || 'raw');
  if (kind !== 'raw') fail(`entry ${index + 1} has format "${kind}": raw images are what there is`);
  const name = named.get('vdev') ?? (vdev || SLOTS[index]) ?? '';
  const slot = (SLOTS as readonly string[]).indexOf(name);
  if (slot < 0) fail(`entry ${index + 1} is to be "${name}": IDE drives are hda to hdd`);
  const mode = named.get('access') ?? (access || 'w');
  if (!['r', 'ro', 'w', 'rw'].includes(mode)) fail(`entry ${index + 1} has access "${mode}"`);
  const cdrom = named.get('devtype') === 'cdrom' || file.endsWith('.iso');
  return { file, slot, readOnly: mode.startsWith('r') && mode !== 'rw', cdrom };
}

class Settings {
  private readonly file: string;
  private readonly settings: XlcfgSettings;

  constructor(file: string, settings: XlcfgSettings) {
    this.file = file;
    this.settings = settings;
  }

  fail(name: string, reason: string): never {
    const s = this.settings.get(name);
    throw new XlcfgError(s?.file ?? this.file, s?.line ?? null, `${name} ${reason}`);
  }
  string(name: string): string | null {
    const value = this.settings.get(name)?.value ?? null;
    if (value === null || typeof value === 'string') return value;
    this.fail(name, 'must be a single value, not a list');
  }
  /** A single value counts as a list of one. */
  list(name: string): readonly string[] {
    const value = this.settings.get(name)?.value ?? [];
    return typeof value === 'string'
      ? [value]
      : value.map((v) => (typeof v === 'string' ? v : this.fail(name, 'must be a list of values')));
  }
  number(name: string, min: number, max: number): number | null {
    const text = this.string(name)?.trim() ?? null;
    if (text === null) return null;
    if (!/^(0x[0-9a-f]+|[0-9]+)$/i.test(text)) this.fail(name, `is not a valid number: \`${text}'`);
    const value = Number(text);
    if (value < min || value > max) this.fail(name, `must be from ${min} to ${max}, and is ${value}`);
    return value;
  }
  choice<T extends string>(name: string, choices: readonly T[]): T | null {
    const text = this.string(name);
    if (text === null) return null;
    return choices.find((c) => c === text) ?? this.fail(name, `is "${text}": there are ${choices.join(', ')}`);
  }
}
