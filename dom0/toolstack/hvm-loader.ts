// hvmloader's part, played by the domain builder: what Xen's tools/firmware/hvmloader leaves behind in guest memory and on the PCI bus when it jumps
// to SeaBIOS (its seabios.c, pci.c, e820.c). It runs before the domain does, from dom0; only what a CPU of the guest's has to do itself is left to
// a few bytes of code that vCPU 0 starts with.
//
//   0x00001000   struct xen_seabios_info; behind it the memory map, the list of tables, and the code
//   0x0009f800   struct hvm_info_table
//   0x000c0000   SeaBIOS (256 KiB), up to 1 MiB: plain RAM
//   below the end of low RAM: ACPI, SMBIOS and MP tables, reserved in the memory map
import { HVM_INFO_PADDR } from '@ringworld/abi';
import { DomainBuildError } from './errors.ts';
import { type BarAssignment, ELCR, PCI_MEMORY, type PciAccess, setUpPci } from './hvm-firmware-pci.ts';
import {
  E820,
  type E820Range,
  e820Bytes,
  e820Length,
  hvmInfoTable,
  mpTable,
  SEABIOS_INFO_LENGTH,
  seabiosInfo,
  smbios,
} from './hvm-firmware-tables.ts';

const MIB = 2 ** 20;
const GIB4 = 2 ** 32;
const PAGE_SIZE = 4096;
/** INFO_PHYSICAL_ADDRESS of SeaBIOS's src/fw/xen.c, and hvmloader's BIOS_INFO_PHYSICAL_ADDRESS. */
export const SEABIOS_INFO = 0x1000;
const MAX_E820 = 16;
const E820_AT = SEABIOS_INFO + SEABIOS_INFO_LENGTH;
const TABLES_AT = E820_AT + e820Length(MAX_E820);
const MAX_TABLES = 4;
const CODE_AT = 0x1200;
const VIDEO_HOLE = 0xa_0000;
const LOWEST_BIOS = 0xc_0000;
/** Room for the tables, at the end of low RAM. */
const TABLES_BYTES = 0x1_0000;
/** hvmloader's RESERVED_MEMBASE: from here to 4 GiB lie special pages and APICs. */
export const RESERVED_MEMBASE = 0xfc00_0000;
/** LAPIC_ID() and IOAPIC_ID of hvmloader's config.h. */
export const lapicId = (vcpu: number): number => vcpu * 2;
export const IOAPIC_ID = 1;

/** Where the power management block is, as ioemu and the hypervisor have it. */
export const ACPI_PM_BASE = 0xb000;
/** What the ACPI tables must say of an HVM domain (the type is AcpiConfig of the machine's acpi-tables-dsdt.ts). */
export const acpiConfigOf = (vcpus: number) => ({
  apicIds: Array.from({ length: vcpus }, (_, i) => lapicId(i)),
  ioapicId: IOAPIC_ID,
  pciHole: PCI_MEMORY.start,
  pmTimerBits: 32 as const,
  pmBase: ACPI_PM_BASE,
  linkOffset: 0,
});

export interface FirmwareConfig {
  readonly vcpus: number;
  /** Bytes of RAM from 0 up, a whole number of pages, and from 4 GiB up. */
  readonly ramBelow4G: number;
  readonly ramAbove4G: number;
  readonly uuid: Uint8Array;
  readonly xenVersion: string;
  readonly cpuSignature: number;
  readonly cpuFeatures: number;
}

export interface FirmwareFiles {
  /** SeaBIOS with CONFIG_XEN: Debian's bios-256k.bin (bios.bin is built without). */
  readonly bios: Uint8Array;
  /** ACPI tables linked for an address, and the RSDP that goes with them. */
  readonly acpi: (at: number) => { readonly tables: Uint8Array; readonly rsdp: Uint8Array };
}

export interface LoadedFirmware {
  /** Where vCPU 0 starts, in real mode: code segment selector and base, and IP. From there it goes to the reset vector, F000:FFF0. */
  readonly entry: { readonly selector: number; readonly base: number; readonly ip: number };
  readonly memoryMap: readonly E820Range[];
  readonly bars: readonly BarAssignment[];
}

/**
 * Fills guest memory through `write` (guest-physical addresses) and programs the PCI functions. Throws DomainBuildError for an image or a memory
 * size that cannot be.
 */
export function loadFirmware(
  config: FirmwareConfig,
  files: FirmwareFiles,
  write: (at: number, bytes: Uint8Array) => void,
  pci: PciAccess,
): LoadedFirmware {
  const biosAt = MIB - files.bios.length;
  if (files.bios.length % PAGE_SIZE !== 0 || biosAt < LOWEST_BIOS || files.bios.length === 0)
    throw new DomainBuildError('bios', `${files.bios.length} bytes: a BIOS has at most 256 KiB, in whole pages`);
  if (config.ramBelow4G < 2 * MIB + TABLES_BYTES || config.ramBelow4G > PCI_MEMORY.start)
    throw new DomainBuildError('memory', `${config.ramBelow4G} bytes below 4 GiB: firmware needs more than 2 MiB, and the PCI hole`);
  write(biosAt, files.bios);
  const tablesAt = config.ramBelow4G - TABLES_BYTES;
  const tables = placeTables(config, files, tablesAt, write);
  const memoryMap = memoryMapOf(config, biosAt, tablesAt);
  write(E820_AT, e820Bytes(memoryMap));
  write(TABLES_AT, new Uint8Array(Uint32Array.from(tables).buffer));
  write(SEABIOS_INFO, seabiosInfo({ tables: TABLES_AT, tableCount: tables.length, e820: E820_AT, e820Count: memoryMap.length }));
  write(
    HVM_INFO_PADDR,
    hvmInfoTable({
      vcpus: config.vcpus,
      lowMemPgend: config.ramBelow4G / PAGE_SIZE,
      highMemPgend: config.ramAbove4G > 0 ? (GIB4 + config.ramAbove4G) / PAGE_SIZE : 0,
      reservedMemPgstart: RESERVED_MEMBASE / PAGE_SIZE,
    }),
  );
  write(CODE_AT, START_CODE);
  return { entry: { selector: 0, base: 0, ip: START_AT }, memoryMap, bars: setUpPci(pci) };
}

/** build_e820_table(), with the tables at the end of low RAM instead of in the hole. */
function memoryMapOf(config: FirmwareConfig, biosAt: number, tablesAt: number): E820Range[] {
  return [
    { base: 0, size: VIDEO_HOLE, type: E820.ram },
    { base: biosAt, size: MIB - biosAt, type: E820.reserved },
    { base: MIB, size: tablesAt - MIB, type: E820.ram },
    { base: tablesAt, size: TABLES_BYTES, type: E820.reserved },
    { base: RESERVED_MEMBASE, size: GIB4 - RESERVED_MEMBASE, type: E820.reserved },
    ...(config.ramAbove4G > 0 ? [{ base: GIB4, size: config.ramAbove4G, type: E820.ram }] : []),
  ];
}

/** Returns the addresses of those that SeaBIOS is to copy: RSDP, SMBIOS entry point, MP pointer (seabios.c, add_table). */
function placeTables(
  config: FirmwareConfig,
  files: FirmwareFiles,
  start: number,
  write: (at: number, bytes: Uint8Array) => void,
): number[] {
  let next = start;
  const reserve = (length: number, align: number): number => {
    const at = Math.ceil(next / align) * align;
    next = at + length;
    if (next > start + TABLES_BYTES)
      throw new DomainBuildError('vcpus', `the tables of ${config.vcpus} vCPUs do not fit ${TABLES_BYTES} bytes`);
    return at;
  };
  const place = (bytes: Uint8Array, align = 16): number => {
    const at = reserve(bytes.length, align);
    write(at, bytes);
    return at;
  };
  // The FACS is the first of the tables and needs 64 bytes' alignment.
  const acpiAt = Math.ceil(next / 64) * 64;
  const acpi = files.acpi(acpiAt);
  place(acpi.tables, 64);
  const rsdp = place(acpi.rsdp);
  const memoryBytes = config.ramBelow4G + config.ramAbove4G;
  const smbiosConfig = { uuid: config.uuid, memoryBytes, xenVersion: config.xenVersion };
  const structuresAt = reserve(smbios(smbiosConfig, 0).structures.length, 16);
  const { entryPoint, structures } = smbios(smbiosConfig, structuresAt);
  write(structuresAt, structures);
  const mpConfig = {
    apicIds: Array.from({ length: config.vcpus }, (_, i) => lapicId(i)),
    ioapicId: IOAPIC_ID,
    cpuSignature: config.cpuSignature,
    cpuFeatures: config.cpuFeatures,
    levelIrqs: ELCR,
  };
  const mpAt = reserve(mpTable(mpConfig, 0).table.length, 16);
  const mp = mpTable(mpConfig, mpAt);
  write(mpAt, mp.table);
  const list = [rsdp, place(entryPoint), place(mp.pointer)];
  if (list.length > MAX_TABLES) throw new Error('too many tables for SeaBIOS');
  return list;
}

/**
 * What hvmloader does that only a CPU of the domain can: its apic_setup() (the BIOS expects virtual wire mode, since SeaBIOS on Xen leaves the
 * APICs alone), and the ELCR of its pci_setup(). Entered in real mode with CS and DS based at 0; protected mode is visited for a data segment
 * that reaches the APICs.
 */
const LAPIC_BASE = 0xfee0_0000;
const IOAPIC_BASE = 0xfec0_0000;
const word = (v: number): number[] => [v & 0xff, (v >>> 8) & 0xff];
const dword = (v: number): number[] => [...word(v), ...word(v >>> 16)];
/** mov dword [at], value, with 32-bit address and operand. */
const store = (at: number, value: number): number[] => [0x67, 0x66, 0xc7, 0x05, ...dword(at), ...dword(value)];
/** The null descriptor's place holds the operand of LGDT; then flat, writable data. */
const GDT = [...word(15), ...dword(CODE_AT), ...word(0), ...[0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0]];
const START_AT = CODE_AT + GDT.length;
const START_CODE = Uint8Array.from([
  ...GDT,
  0xfa, // cli
  ...[0x0f, 0x01, 0x16, ...word(CODE_AT)], // lgdt [CODE_AT]
  ...[0x0f, 0x20, 0xc0], // mov eax, cr0
  ...[0x0c, 0x01], // or al, 1
  ...[0x0f, 0x22, 0xc0], // mov cr0, eax
  ...[0xbb, 0x08, 0x00], // mov bx, 8
  ...[0x8e, 0xdb], // mov ds, bx
  ...[0x24, 0xfe], // and al, ~1
  ...[0x0f, 0x22, 0xc0], // mov cr0, eax
  ...[0x31, 0xdb], // xor bx, bx
  ...[0x8e, 0xdb], // mov ds, bx: the limit stays
  // Spurious vector 255, enabled; LINT0 the 8259s, LINT1 NMI (SDM Vol 3A, 10.5.1 and 10.9).
  ...store(LAPIC_BASE + 0xf0, 0x1ff),
  ...store(LAPIC_BASE + 0x350, 0x700),
  ...store(LAPIC_BASE + 0x360, 0x400),
  ...store(IOAPIC_BASE, 0),
  ...store(IOAPIC_BASE + 0x10, IOAPIC_ID << 24),
  ...[0xba, ...word(0x4d0)], // mov dx, 0x4d0
  ...[0xb0, ELCR & 0xff], // mov al, ELCR bits 7:0
  0xee, // out dx, al
  0x42, // inc dx
  ...[0xb0, ELCR >>> 8], // mov al, ELCR bits 15:8
  0xee, // out dx, al
  ...[0xea, ...word(0xfff0), ...word(0xf000)], // jmp 0xf000:0xfff0
]);
