// Tables that an HVM domain's firmware finds in memory, besides ACPI's: hvm_info_table, the information for SeaBIOS, the memory map, SMBIOS and the
// MultiProcessor table. All are made for the addresses at which they will lie.
import { HVM_MAX_VCPUS, hvm_info_table } from '@ringworld/abi';

/** An entry as INT 15h, E820 has it (ACPI 6.5, 15.1): 20 bytes. */
export interface E820Range {
  readonly base: number;
  readonly size: number;
  readonly type: number;
}
export const E820 = { ram: 1, reserved: 2, acpi: 3, nvs: 4 } as const;
const E820_SIZE = 20;

/** The byte that makes all of them add up to zero. */
const checksumOf = (bytes: Uint8Array): number => -bytes.reduce((sum, b) => sum + b, 0) & 0xff;
const ascii = (text: string): number[] => [...text].map((c) => c.charCodeAt(0));
const le = (value: number, size: number): number[] => Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);
function put(bytes: Uint8Array, at: number, value: number, size: number): void {
  bytes.set(le(value, size), at);
}

export function e820Bytes(ranges: readonly E820Range[]): Uint8Array {
  return Uint8Array.from(ranges.flatMap((r) => [...le(r.base, 8), ...le(r.size, 8), ...le(r.type, 4)]));
}
export const e820Length = (entries: number): number => entries * E820_SIZE;

/** public/hvm/hvm_info_table.h, as the domain builder fills it in. Page numbers. */
export function hvmInfoTable(info: {
  readonly vcpus: number;
  readonly lowMemPgend: number;
  readonly highMemPgend: number;
  readonly reservedMemPgstart: number;
}): Uint8Array {
  const online = new Uint8Array(HVM_MAX_VCPUS / 8);
  for (let i = 0; i < info.vcpus; i++) online[i >>> 3]! |= 1 << (i & 7);
  const length = hvm_info_table.size('x86_64');
  const bytes = hvm_info_table.encode('x86_64', {
    signature: 'HVM INFO',
    length,
    checksum: 0,
    apic_mode: 1,
    nr_vcpus: info.vcpus,
    low_mem_pgend: info.lowMemPgend,
    high_mem_pgend: info.highMemPgend,
    reserved_mem_pgstart: info.reservedMemPgstart,
    vcpu_online: online,
  });
  bytes[hvm_info_table.offset('checksum', 'x86_64')] = checksumOf(bytes);
  return bytes;
}

export const SEABIOS_INFO_LENGTH = 32;
/** struct xen_seabios_info (SeaBIOS's src/fw/xen.c): where the tables and the memory map are. Addresses below 4 GiB. */
export function seabiosInfo(info: {
  readonly tables: number;
  readonly tableCount: number;
  readonly e820: number;
  readonly e820Count: number;
}): Uint8Array {
  const bytes = new Uint8Array(SEABIOS_INFO_LENGTH);
  bytes.set(ascii('XenHVMSeaBIOS\0'));
  bytes[14] = SEABIOS_INFO_LENGTH;
  [info.tables, info.tableCount, info.e820, info.e820Count].forEach((v, i) => {
    put(bytes, 16 + 4 * i, v, 4);
  });
  bytes[15] = checksumOf(bytes);
  return bytes;
}

export interface SmbiosConfig {
  /** Sixteen bytes, in the order of the text form. */
  readonly uuid: Uint8Array;
  readonly memoryBytes: number;
  /** "4.17": the version of Xen. */
  readonly xenVersion: string;
}

/** One structure (DSP0134, 6.1): type, handle, formatted area, strings. */
function structure(type: number, handle: number, body: readonly number[], strings: readonly string[] = []): number[] {
  const text = strings.length === 0 ? [0, 0] : [...strings.flatMap((s) => [...ascii(s), 0]), 0];
  return [type, 4 + body.length, ...le(handle, 2), ...body, ...text];
}

/** SMBIOS 2.4 (DSP0134), what hvmloader's smbios.c makes at least: the entry point, and the structures that it points to. */
export function smbios(config: SmbiosConfig, structuresAt: number): { entryPoint: Uint8Array; structures: Uint8Array } {
  const megabytes = Math.floor(config.memoryBytes / 2 ** 20);
  const [a, b, c, d, ...rest] = config.uuid;
  const [e, f, g, h, ...last] = rest;
  const list = [
    // BIOS: vendor, version, segment, date, ROM size, characteristics (not supported), extension bytes, releases.
    structure(0, 0x0000, [1, 2, ...le(0xe800, 2), 3, 0, ...le(8, 8), 0, 4, 4, 17, 0xff, 0xff], ['Xen', config.xenVersion, '04/01/2023']),
    // System: the first three fields of the UUID are little-endian (7.2.1). Woken by the power switch.
    structure(
      1,
      0x0100,
      [1, 2, 3, 4, d!, c!, b!, a!, f!, e!, h!, g!, ...last, 6, 0, 0],
      ['Xen', 'HVM domU', config.xenVersion, uuidText(config.uuid)],
    ),
    // Enclosure: other; all states safe.
    structure(3, 0x0300, [1, 1, 0, 0, 0, 3, 3, 3, 2], ['Xen']),
    // Physical memory array of one device, and that device: system memory, no error correction.
    structure(16, 0x1000, [1, 3, 6, ...le(megabytes * 1024, 4), ...le(0xfffe, 2), ...le(1, 2)]),
    structure(
      17,
      0x1100,
      [
        ...le(0x1000, 2),
        ...le(0, 2),
        ...le(64, 2),
        ...le(64, 2),
        ...le(Math.min(megabytes, 0x7fff), 2),
        9,
        0,
        1,
        0,
        7,
        ...le(0, 2),
        ...le(0, 2),
        0,
        0,
        0,
        0,
      ],
      ['DIMM 0'],
    ),
    structure(19, 0x1300, [...le(0, 4), ...le(megabytes * 1024 - 1, 4), ...le(0x1000, 2), 1]),
    structure(32, 0x2000, [0, 0, 0, 0, 0, 0, 0]),
    structure(127, 0x7f00, []),
  ];
  const structures = Uint8Array.from(list.flat());
  const entryPoint = new Uint8Array(31);
  entryPoint.set(ascii('_SM_'));
  entryPoint[5] = 0x1f;
  entryPoint[6] = 2;
  entryPoint[7] = 4;
  put(entryPoint, 8, Math.max(...list.map((s) => s.length)), 2);
  entryPoint.set(ascii('_DMI_'), 16);
  put(entryPoint, 22, structures.length, 2);
  put(entryPoint, 24, structuresAt, 4);
  put(entryPoint, 28, list.length, 2);
  entryPoint[30] = 0x24;
  // The intermediate anchor has a sum of its own.
  entryPoint[21] = checksumOf(entryPoint.subarray(16));
  entryPoint[4] = checksumOf(entryPoint);
  return { entryPoint, structures };
}
function uuidText(uuid: Uint8Array): string {
  const hex = [...uuid].map((b) => b.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

export interface MpConfig {
  readonly apicIds: readonly number[];
  readonly ioapicId: number;
  /** CPUID leaf 1: EAX and EDX. */
  readonly cpuSignature: number;
  readonly cpuFeatures: number;
  /** ISA interrupts that are level-triggered, as a mask. */
  readonly levelIrqs: number;
}

const LAPIC = 0xfee0_0000;
const IOAPIC = 0xfec0_0000;
const LAPIC_VERSION = 0x14;
const IOAPIC_VERSION = 0x11;
const ISA_BUS = 0;
/** Interrupt types and flags (MultiProcessor Specification 1.4, 4.3.4). */
const INT = { vectored: 0, nmi: 1, extInt: 3 } as const;
/** Active high, level-triggered; 0 is what the bus has. */
const LEVEL_HIGH = 0x0d;

/** The MP configuration table and its floating pointer (MultiProcessor Specification 1.4, chapter 4), for kernels without ACPI. */
export function mpTable(config: MpConfig, tableAt: number): { pointer: Uint8Array; table: Uint8Array } {
  const processors = config.apicIds.map((id, i) => [
    ...[0, id, LAPIC_VERSION, i === 0 ? 3 : 1],
    ...le(config.cpuSignature, 4),
    ...le(config.cpuFeatures, 4),
    ...le(0, 8),
  ]);
  const isa: number[][] = [];
  for (let irq = 0; irq < 16; irq++) {
    // The PIT comes in on pin 2, the cascade has none.
    if (irq === 2) continue;
    const flags = config.levelIrqs & (1 << irq) ? LEVEL_HIGH : 0;
    isa.push([3, INT.vectored, ...le(flags, 2), ISA_BUS, irq, config.ioapicId, irq === 0 ? 2 : irq]);
  }
  const entries = [
    ...processors,
    [1, ISA_BUS, ...ascii('ISA   ')],
    [2, config.ioapicId, IOAPIC_VERSION, 1, ...le(IOAPIC, 4)],
    ...isa,
    // On every processor: the 8259s at LINT0, NMI at LINT1.
    [4, INT.extInt, 0, 0, ISA_BUS, 0, 0xff, 0],
    [4, INT.nmi, 0, 0, ISA_BUS, 0, 0xff, 1],
  ];
  const table = new Uint8Array(44 + entries.flat().length);
  table.set(ascii('PCMP'));
  put(table, 4, table.length, 2);
  table[6] = 4;
  table.set(ascii('Xen     HVM         '), 8);
  put(table, 34, entries.length, 2);
  put(table, 36, LAPIC, 4);
  table.set(entries.flat(), 44);
  table[7] = checksumOf(table);
  const pointer = new Uint8Array(16);
  pointer.set(ascii('_MP_'));
  put(pointer, 4, tableAt, 4);
  pointer[8] = 1;
  pointer[9] = 4;
  pointer[10] = checksumOf(pointer);
  return { pointer, table };
}
