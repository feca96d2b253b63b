// From the settings of an xl.cfg file to what a domain is to be (tools/xl/xl_parse.c, parse_config_data): names, defaults and complaints
// are xl's. Nothing is read from disk here: kernel and ramdisk stay the names that the user wrote.
import type { Device } from './device.ts';
import { p9Device } from './device-9p.ts';
import type { DeviceConfig } from './device-config.ts';
import { channelDevice } from './device-console.ts';
import { DiskSpecError, diskDevice } from './device-disk.ts';
import { fbDevices, vkbDevice } from './device-fb.ts';
import { NicSpecError, nicDevice } from './device-nic.ts';
import { DeviceSpecError, type ParsedDevices } from './device-spec.ts';
import {
  type DomainType,
  type HvmConfig,
  type HvmVendor,
  readHvmConfig,
  readHvmVendor,
  readType,
  type SettingReader,
} from './xlcfg-hvm.ts';
import { INERT_KEYS, MISSING_KEYS, USED_KEYS } from './xlcfg-keys.ts';
import { XlcfgError } from './xlcfg-lexer.ts';
import type { XlcfgSetting, XlcfgSettings, XlcfgValue } from './xlcfg-parser.ts';

export { XlcfgError } from './xlcfg-lexer.ts';
export { parseOverride, parseXlcfg, type XlcfgSetting, type XlcfgSettings, type XlcfgValue } from './xlcfg-parser.ts';

const ACTIONS = ['destroy', 'restart', 'rename-restart', 'preserve', 'coredump-destroy', 'coredump-restart', 'soft-reset'] as const;

/** What is done with a domain that has shut down (libxl_action_on_shutdown). */
export type ActionOnShutdown = (typeof ACTIONS)[number];

export interface DomainConfig {
  readonly name: string;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  readonly type: DomainType;
  /** Of a PVH or HVM domain. */
  readonly hvm: HvmConfig | null;
  /** The processor that the machine is to have: a CPUID profile by name, and which virtualization extension. Null: any. */
  readonly cpuProfile: string | null;
  readonly hvmVendor: HvmVendor | null;
  readonly memoryMiB: number;
  readonly maxMemoryMiB: number;
  /** Online at start, and at most. */
  readonly vcpus: number;
  readonly maxVcpus: number;
  readonly cpuWeight: number | null;
  /** Empty for an HVM domain that its firmware boots. */
  readonly kernel: string;
  readonly ramdisk: string | null;
  readonly cmdline: string;
  readonly onPoweroff: ActionOnShutdown;
  readonly onReboot: ActionOnShutdown;
  readonly onWatchdog: ActionOnShutdown;
  readonly onCrash: ActionOnShutdown;
  readonly onSoftReset: ActionOnShutdown;
  readonly maxGrantFrames: number | null;
  readonly maxMaptrackFrames: number | null;
  readonly maxEventChannels: number | null;
  /** `disk`, `vif`, `p9`, `vfb`, `vkb`, `channel`. */
  readonly devices: DeviceConfig;
}

export interface ReadConfig {
  readonly config: DomainConfig;
  /** One line each, naming file and setting. */
  readonly warnings: readonly string[];
}

/** XEN_LEGACY_MAX_VCPUS bounds a PV domain that does not register vcpu_info; Xen itself allows 8192 (MAX_VIRT_CPUS). */
const MAX_VCPUS = 64;
/** LIBXL_MEMKB_DEFAULT stands for 32 MiB. */
const DEFAULT_MEMORY_MIB = 32;

/** `file` is named in complaints about settings that are missing. Throws XlcfgError. */
export function readDomainConfig(file: string, settings: XlcfgSettings): ReadConfig {
  const warnings = unusedSettings(settings);
  const reader = new Reader(file, settings, warnings);
  const type = readType(reader);
  const name = reader.string('name');
  if (name === null || name === '') throw new XlcfgError(file, null, 'name: a domain name must be specified');
  const kernel = reader.string('kernel') ?? '';
  if (kernel === '' && type !== 'hvm') throw new XlcfgError(file, null, `kernel: a ${type.toUpperCase()} domain needs a kernel`);

  const maxmem = reader.number('maxmem', 1, 1 << 22);
  const memory = reader.number('memory', 1, 1 << 22) ?? maxmem ?? DEFAULT_MEMORY_MIB;
  if (maxmem !== null && maxmem < memory) reader.fail('maxmem', `is ${maxmem} and thus less than memory (${memory})`);
  const vcpus = reader.number('vcpus', 1, MAX_VCPUS) ?? 1;
  const maxVcpus = reader.number('maxvcpus', 1, MAX_VCPUS) ?? vcpus;
  if (maxVcpus < vcpus) reader.fail('maxvcpus', `is ${maxVcpus} and thus less than vcpus (${vcpus})`);
  const uuid = reader.uuid() ?? uuidOfName(name);
  const config: DomainConfig = {
    name,
    uuid,
    type,
    hvm: readHvmConfig(reader, type),
    cpuProfile: reader.string('cpu_profile') || null,
    hvmVendor: readHvmVendor(reader),
    memoryMiB: memory,
    maxMemoryMiB: maxmem ?? memory,
    vcpus,
    maxVcpus,
    cpuWeight: reader.number('cpu_weight', 1, 65535),
    kernel,
    ramdisk: reader.string('ramdisk') || null,
    cmdline: reader.cmdline(warnings),
    onPoweroff: reader.action('on_poweroff', 'destroy'),
    onReboot: reader.action('on_reboot', 'restart'),
    onWatchdog: reader.action('on_watchdog', 'destroy'),
    onCrash: reader.action('on_crash', 'destroy'),
    onSoftReset: reader.action('on_soft_reset', 'soft-reset'),
    maxGrantFrames: reader.number('max_grant_frames', 1, 65536),
    maxMaptrackFrames: reader.number('max_maptrack_frames', 0, 65536),
    maxEventChannels: reader.number('max_event_channels', 1, 131071),
    devices: {
      disks: reader.disks(warnings),
      nics: reader.nics(uuid, warnings),
      p9s: reader.simple('p9', p9Device, warnings),
      fbs: reader.framebuffers(warnings),
      consoles: reader.simple('channel', channelDevice, warnings),
    },
  };
  return { config, warnings };
}

const where = (s: XlcfgSetting): string => (s.line === null ? s.file : `${s.file}:${s.line}`);

function unusedSettings(settings: XlcfgSettings): string[] {
  const used = new Set<string>([...USED_KEYS, ...INERT_KEYS]);
  const missing = new Set<string>(MISSING_KEYS);
  const warnings: string[] = [];
  for (const s of settings.values()) {
    if (used.has(s.name)) continue;
    if (!missing.has(s.name)) warnings.push(`${where(s)}: unknown setting \`${s.name}' ignored`);
    else if (s.value.length > 0 && s.value !== '0') warnings.push(`${where(s)}: ${s.name} is not supported yet: ignored`);
  }
  return warnings;
}

class Reader implements SettingReader {
  private readonly file: string;
  private readonly settings: XlcfgSettings;
  private readonly warnings: string[];

  constructor(file: string, settings: XlcfgSettings, warnings: string[]) {
    this.file = file;
    this.settings = settings;
    this.warnings = warnings;
  }

  warn(name: string, text: string): void {
    const s = this.settings.get(name);
    this.warnings.push(`${s === undefined ? this.file : where(s)}: ${name} ${text}`);
  }

  /** As xlu_cfg_get_defbool: 0 and 1. */
  boolean<T>(name: string, fallback: T): boolean | T {
    const text = this.string(name);
    if (text === null) return fallback;
    if (text !== '0' && text !== '1') this.fail(name, `must be 0 or 1, and is "${text}"`);
    return text === '1';
  }

  stringOrList(name: string): readonly string[] {
    const value = this.value(name) ?? [];
    return typeof value === 'string' ? [value] : this.strings(name);
  }

  fail(name: string, reason: string): never {
    const s = this.settings.get(name);
    throw new XlcfgError(s?.file ?? this.file, s?.line ?? null, `${name} ${reason}`);
  }

  string(name: string): string | null {
    const value = this.value(name);
    if (value === null || typeof value === 'string') return value;
    this.fail(name, 'must be a single value, not a list');
  }

  /** As strtoul with base 0: 0x and a leading 0 count. */
  number(name: string, min: number, max: number): number | null {
    const text = this.string(name);
    if (text === null) return null;
    const digits = text.trim();
    const hex = /^0x[0-9a-f]+$/i.test(digits);
    const octal = /^0[0-7]*$/.test(digits);
    if (!hex && !octal && !/^[1-9][0-9]*$/.test(digits)) this.fail(name, `is not a valid number: \`${text}'`);
    const value = Number.parseInt(digits, hex ? 16 : octal ? 8 : 10);
    if (value < min || value > max) this.fail(name, `must be from ${min} to ${max}, and is ${value}`);
    return value;
  }

  action(name: string, fallback: ActionOnShutdown): ActionOnShutdown {
    const text = this.string(name);
    if (text === null) return fallback;
    const action = ACTIONS.find((a) => a === text);
    return action ?? this.fail(name, `is no known action: "${text}" (there are ${ACTIONS.join(', ')})`);
  }

  /** A list of strings; empty where it is not set. xl takes a list only. */
  strings(name: string): readonly string[] {
    const value = this.value(name) ?? [];
    if (typeof value === 'string') this.fail(name, 'must be a list');
    return value.map((v) => (typeof v === 'string' ? v : this.fail(name, 'must be a list of strings')));
  }

  disks(warnings: string[]): Device[] {
    const disks: Device[] = [];
    for (const text of this.strings('disk')) {
      try {
        const { device, warnings: more } = diskDevice(text);
        if (disks.some((d) => d.devid === device.devid)) this.fail('disk', `has ${device.back.dev} twice`);
        disks.push(device);
        for (const w of more) warnings.push(`${this.file}: disk \`${text}': ${w}`);
      } catch (e) {
        if (e instanceof DiskSpecError) this.fail('disk', `cannot be read: ${e.message}`);
        throw e;
      }
    }
    return disks;
  }

  nics(uuid: Uint8Array, warnings: string[]): Device[] {
    const nics: Device[] = [];
    for (const [i, text] of this.strings('vif').entries()) {
      try {
        const { device, warnings: more } = nicDevice(text, i, uuid);
        if (nics.some((n) => n.devid === device.devid)) this.fail('vif', `has devid ${device.devid} twice`);
        nics.push(device);
        for (const w of more) warnings.push(`${this.file}: vif \`${text}': ${w}`);
      } catch (e) {
        if (e instanceof NicSpecError) this.fail('vif', `\`${text}' cannot be read: ${e.message}`);
        throw e;
      }
    }
    return nics;
  }

  /** Devices whose settings are no more than pairs. `first`: the number of the first of them. */
  simple(name: string, parse: (text: string, index: number) => ParsedDevices, warnings: string[], first = 0): Device[] {
    const devices: Device[] = [];
    for (const [i, text] of this.strings(name).entries()) {
      try {
        const parsed = parse(text, first + i);
        devices.push(...parsed.devices);
        for (const w of parsed.warnings) warnings.push(`${this.file}: ${name} \`${text}': ${w}`);
      } catch (e) {
        if (e instanceof DeviceSpecError) this.fail(name, `\`${text}' cannot be read: ${e.message}`);
        throw e;
      }
    }
    const tags = devices.map((d) => d.front.tag);
    const twice = tags.find((t, i) => t !== undefined && tags.indexOf(t) !== i);
    if (twice !== undefined) this.fail(name, `has tag ${twice} twice`);
    return devices;
  }

  /** Keyboards that are asked for by themselves come after those of the frame buffers. */
  framebuffers(warnings: string[]): Device[] {
    const fbs = this.simple('vfb', fbDevices, warnings);
    return [...fbs, ...this.simple('vkb', vkbDevice, warnings, fbs.length / 2)];
  }

  /** xl_parse.c, parse_cmdline. */
  cmdline(warnings: string[]): string {
    const [cmdline, root, extra] = ['cmdline', 'root', 'extra'].map((name) => this.string(name));
    if (typeof cmdline === 'string') {
      if (root || extra) warnings.push(`${this.file}: cmdline is set: root and extra are ignored`);
      return cmdline;
    }
    return [root ? `root=${root}` : null, extra].filter((part) => part).join(' ');
  }

  uuid(): Uint8Array | null {
    const text = this.string('uuid');
    if (text === null) return null;
    const digits = text.replaceAll('-', '');
    if (!/^[0-9a-f]{32}$/i.test(digits)) this.fail('uuid', `is not a UUID: "${text}"`);
    return Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(digits.slice(i * 2, i * 2 + 2), 16));
  }

  private value(name: string): XlcfgValue | null {
    return this.settings.get(name)?.value ?? null;
  }
}

/**
 * xl makes a random one. A guest sees it in XenStore, so here it follows from the name (RFC 9562, version 8), and a run repeats.
 * FNV-1a with four offsets, spread by the finalizer of MurmurHash3.
 */
export function uuidOfName(name: string): Uint8Array {
  const uuid = new Uint8Array(16);
  const view = new DataView(uuid.buffer);
  for (let word = 0; word < 4; word++) {
    let h = 0x811c9dc5 ^ Math.imul(word + 1, 0x9e3779b1);
    for (const byte of new TextEncoder().encode(name)) h = Math.imul(h ^ byte, 0x01000193);
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    view.setUint32(word * 4, h ^ (h >>> 16));
  }
  uuid[6] = (uuid[6]! & 0x0f) | 0x80;
  uuid[8] = (uuid[8]! & 0x3f) | 0x80;
  return uuid;
}

export function formatUuid(uuid: Uint8Array): string {
  const hex = Array.from(uuid, (b) => b.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
