// Settings of PVH and HVM domains (xl.cfg(5), "Fully-virtualised (HVM) Guest Specific Options" and the options of both), with xl's names and
// libxl's defaults, and two of our own: `hvm_vendor` and `cpu_profile` say which processor the machine is to have.

export type DomainType = 'pv' | 'pvh' | 'hvm';
/** The virtualization extension: Intel's VT-x or AMD's SVM. */
export type HvmVendor = 'vmx' | 'svm';

export interface HvmConfig {
  /** Hardware-assisted paging; null: where the machine has it. */
  readonly hap: boolean | null;
  /** Shadow page tables may be out of sync with the guest's. */
  readonly outOfSync: boolean;
  readonly acpi: boolean;
  readonly apic: boolean;
  readonly nestedHvm: boolean;
  /** Of type "hvm" only, from here on. */
  readonly hpet: boolean;
  readonly xenPlatformPci: boolean;
  /** Serial ports: "pty", "null", "file:PATH", ... as QEMU names them. */
  readonly serial: readonly string[];
  /** The firmware's file, or null for SeaBIOS. */
  readonly firmware: string | null;
  /** Order in which the firmware looks for something to boot: c disk, d CD, n network. */
  readonly boot: string;
  readonly vga: 'stdvga' | 'cirrus' | 'none';
  /** MiB; null: what the adapter has by default. */
  readonly videoramMiB: number | null;
}

/** Settings that are read here. */
export const HVM_KEYS = [
  'hap',
  'oos',
  'acpi',
  'apic',
  'hpet',
  'nestedhvm',
  'xen_platform_pci',
  'serial',
  'firmware',
  'bios',
  'boot',
  'vga',
  'stdvga',
  'videoram',
  'hvm_vendor',
  'cpu_profile',
] as const;

/** What this file needs of the reader of a configuration. `fail` throws with file and line of the setting. */
export interface SettingReader {
  string(name: string): string | null;
  number(name: string, min: number, max: number): number | null;
  /** A list, or a single value as a list of one; empty where it is not set. */
  stringOrList(name: string): readonly string[];
  /** 0 or 1; `fallback` where it is not set. */
  boolean<T>(name: string, fallback: T): boolean | T;
  fail(name: string, reason: string): never;
  warn(name: string, text: string): void;
}

const TYPES = ['pv', 'pvh', 'hvm'] as const;

/** `type`, or `builder` of old (xl_parse.c: parse_config_data). PV without either. */
export function readType(r: SettingReader): DomainType {
  const builder = r.string('builder');
  if (builder !== null && !['hvm', 'linux', 'generic'].includes(builder)) r.fail('builder', `is of no known kind: "${builder}"`);
  const text = r.string('type');
  if (text === null) return builder === 'hvm' ? 'hvm' : 'pv';
  const type = TYPES.find((t) => t === text);
  if (type === undefined) return r.fail('type', `is of no known kind: "${text}" (pv, pvh and hvm are)`);
  if (builder === 'hvm' && type !== 'hvm') r.fail('builder', `is "hvm", and type is "${type}"`);
  return type;
}

/** Null for a PV domain, whose settings of this kind count for nothing. */
export function readHvmConfig(r: SettingReader, type: DomainType): HvmConfig | null {
  if (type === 'pv') return null;
  const isHvm = type === 'hvm';
  const config: HvmConfig = {
    hap: r.boolean('hap', null),
    outOfSync: r.boolean('oos', true),
    acpi: r.boolean('acpi', true),
    apic: r.boolean('apic', true),
    nestedHvm: r.boolean('nestedhvm', false),
    hpet: isHvm && r.boolean('hpet', true),
    xenPlatformPci: isHvm && r.boolean('xen_platform_pci', true),
    serial: r.stringOrList('serial').map((s) => serialPort(r, s)),
    firmware: firmware(r),
    boot: boot(r),
    vga: vga(r),
    videoramMiB: r.number('videoram', 1, 256),
  };
  // libxl: a PVH domain has a local APIC, or nothing at all could interrupt it.
  if (!isHvm && !config.apic) r.fail('apic', 'is 0: a PVH domain always has its local APICs');
  if (!isHvm) for (const name of ['serial', 'firmware', 'bios', 'vga', 'stdvga', 'videoram', 'boot', 'hpet']) unused(r, name);
  if (config.nestedHvm) r.warn('nestedhvm', 'is not supported yet: ignored');
  return config;
}

function unused(r: SettingReader, name: string): void {
  if (r.stringOrList(name).length > 0) r.warn(name, 'is of no use to a PVH domain, which has no such device: ignored');
}

/** `hvm_vendor`: null where the machine may have either. */
export function readHvmVendor(r: SettingReader): HvmVendor | null {
  const text = r.string('hvm_vendor');
  if (text === null || text === '') return null;
  if (text === 'vmx' || text === 'svm') return text;
  return r.fail('hvm_vendor', `is no virtualization extension: "${text}" (there are vmx and svm)`);
}

const SERIAL = /^(none|null|pty|stdio|vc|file:.+|unix:.+|tcp:.+|telnet:.+|udp:.+|pipe:.+|\/dev\/.+)$/;
function serialPort(r: SettingReader, text: string): string {
  return SERIAL.test(text)
    ? text
    : r.fail('serial', `is no character device: "${text}" (pty, null, file:PATH, unix:PATH, tcp:HOST:PORT are)`);
}

/** firmware="bios" | "seabios" | an absolute path; bios="seabios". Null is SeaBIOS. */
function firmware(r: SettingReader): string | null {
  const text = r.string('firmware') ?? r.string('bios');
  const name = r.string('firmware') === null ? 'bios' : 'firmware';
  if (text === null || text === 'bios' || text === 'seabios') return null;
  if (text.startsWith('/') && name === 'firmware') return text;
  if (['uefi', 'ovmf', 'rombios', 'pvgrub'].includes(text))
    r.fail(name, `is "${text}": SeaBIOS is all there is ("seabios", or a file by its whole path)`);
  return r.fail(name, `is no firmware: "${text}" ("seabios", or a file by its whole path)`);
}

function boot(r: SettingReader): string {
  const text = r.string('boot') ?? 'cda';
  return /^[acdn]+$/.test(text) ? text : r.fail('boot', `is no order of devices: "${text}" (letters a floppy, c disk, d CD, n network)`);
}

function vga(r: SettingReader): HvmConfig['vga'] {
  const text = r.string('vga');
  if (text === null) return r.boolean('stdvga', false) ? 'stdvga' : 'cirrus';
  if (text === 'stdvga' || text === 'cirrus' || text === 'none') return text;
  return r.fail('vga', `is no adapter: "${text}" (stdvga, cirrus and none are)`);
}
