// The machine's description in ACPI's words: RSDP, RSDT and XSDT, FADT, FACS, MADT, HPET, and the DSDT of acpi-tables-dsdt.ts.
//
// They are made as two files without an address ("tables" and "rsdp"), with a list of what must be patched when they get one: either by SeaBIOS,
// which follows a script (acpi-tables-loader.ts), or by us, when a kernel is booted without firmware. Source: ACPI 6.5, chapter 5.

import { ACPI_DISABLE, ACPI_ENABLE, APM_CNT, GPE0_BASE, GPE0_LENGTH, PM_BASE } from './acpi-power.ts';
import { type AcpiConfig, dsdtTerms } from './acpi-tables-dsdt.ts';
import { HPET_BASE } from './hpet.ts';
import { RESET_PORT, RESET_VALUE } from './reset-control.ts';
import { RTC } from './rtc-calendar.ts';

export type AcpiFile = 'tables' | 'rsdp';
export interface AcpiTables {
  tables: Uint8Array;
  rsdp: Uint8Array;
  /** Fields that hold an offset into `tables` and want its address added. */
  pointers: { file: AcpiFile; offset: number; size: 4 | 8 }[];
  /** Bytes that make their range sum up to zero. */
  checksums: { file: AcpiFile; offset: number; start: number; length: number }[];
}

const HEADER = 36;
const LAPIC_BASE = 0xfee0_0000;
const IOAPIC_BASE = 0xfec0_0000;
const SCI = 9;

const ascii = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

/** A table under construction: its bytes, and little-endian stores by offset. */
function table(signature: string, revision: number, length: number) {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  bytes.set(ascii(signature));
  view.setUint32(4, length, true);
  bytes[8] = revision;
  bytes.set(ascii('RINGWDRINGWRLD'), 10);
  view.setUint32(24, 1, true);
  bytes.set(ascii('RNGW'), 28);
  view.setUint32(32, 1, true);
  return {
    bytes,
    u8: (at: number, v: number) => view.setUint8(at, v),
    u16: (at: number, v: number) => view.setUint16(at, v, true),
    u32: (at: number, v: number) => view.setUint32(at, v, true),
    /** A generic address structure (5.2.3.2): I/O space is 1, memory 0. */
    gas(at: number, space: 0 | 1, bits: number, access: number, address: number) {
      view.setUint8(at, space);
      view.setUint8(at + 1, bits);
      view.setUint8(at + 3, access);
      view.setUint32(at + 4, address, true);
    },
  };
}

/** Access sizes of a generic address. */
const BYTE = 1;
const WORD = 2;
const DWORD = 3;

const FADT_FLAGS = {
  WBINVD: 1 << 0,
  PROC_C1: 1 << 2,
  /** No sleep button as fixed hardware; the power button is (its bit is clear). */
  SLP_BUTTON: 1 << 5,
  /** Waking by RTC is not offered as fixed hardware. */
  FIX_RTC: 1 << 6,
  TMR_VAL_EXT: 1 << 8,
  RESET_REG_SUP: 1 << 10,
} as const;
const LEGACY_DEVICES = 1 << 0;
const HAS_8042 = 1 << 1;

/** FADT revision 3 (ACPI 2.0, table 5-5; 6.5, 5.2.9). FIRMWARE_CTRL is at 36, DSDT at 40, their 64-bit twins at 132 and 140. */
function fadt(config: AcpiConfig): Uint8Array {
  const t = table('FACP', 3, 244);
  t.u8(45, 1);
  t.u16(46, SCI);
  t.u32(48, APM_CNT);
  t.u8(52, ACPI_ENABLE);
  t.u8(53, ACPI_DISABLE);
  const pm = config.pmBase ?? PM_BASE;
  t.u32(56, pm);
  t.u32(64, pm + 4);
  t.u32(76, pm + 8);
  t.u32(80, GPE0_BASE);
  t.u8(88, 4);
  t.u8(89, 2);
  t.u8(91, 4);
  t.u8(92, GPE0_LENGTH);
  // Latencies beyond 100 and 1000 us: no C2, no C3.
  t.u16(96, 0xfff);
  t.u16(98, 0xfff);
  t.u8(108, RTC.century);
  t.u16(109, LEGACY_DEVICES | HAS_8042);
  const extended = config.pmTimerBits === 32 ? FADT_FLAGS.TMR_VAL_EXT : 0;
  t.u32(112, FADT_FLAGS.WBINVD | FADT_FLAGS.PROC_C1 | FADT_FLAGS.SLP_BUTTON | FADT_FLAGS.FIX_RTC | FADT_FLAGS.RESET_REG_SUP | extended);
  t.gas(116, 1, 8, BYTE, RESET_PORT);
  t.u8(128, RESET_VALUE);
  t.gas(148, 1, 32, WORD, pm);
  t.gas(172, 1, 16, WORD, pm + 4);
  t.gas(208, 1, 32, DWORD, pm + 8);
  t.gas(220, 1, 8 * GPE0_LENGTH, BYTE, GPE0_BASE);
  return t.bytes;
}

/** MPS INTI flags: level-triggered, active high. */
const LEVEL_HIGH = 0x0d;
/** Interrupts that are level-triggered and active high although they are ISA's: the SCI, and those that PIRQs go to. */
const LEVEL_IRQS = [5, SCI, 10, 11];

function madt(config: AcpiConfig): Uint8Array {
  const u16 = (v: number) => [v & 0xff, v >> 8];
  const u32 = (v: number) => [...u16(v & 0xffff), ...u16(v >>> 16)];
  const override = (source: number, gsi: number, flags: number) => [2, 10, 0, source, ...u32(gsi), ...u16(flags)];
  const entries: number[][] = config.apicIds.map((id, uid) =>
    // Identifiers from 255 on need the x2APIC's structure (5.2.12.12).
    id < 255 ? [0, 8, uid, id, ...u32(1)] : [9, 16, 0, 0, ...u32(id), ...u32(1), ...u32(uid)],
  );
  entries.push([1, 12, config.ioapicId, 0, ...u32(IOAPIC_BASE), ...u32(0)]);
  entries.push(override(0, 2, 0), ...LEVEL_IRQS.map((irq) => override(irq, irq, LEVEL_HIGH)));
  // NMI on LINT1 of every processor.
  entries.push([4, 6, 0xff, ...u16(0), 1]);
  if (config.apicIds.some((id) => id >= 255)) entries.push([10, 12, ...u16(0), ...u32(0xffff_ffff), 1, 0, 0, 0]);
  const body = entries.flat();
  const t = table('APIC', 3, HEADER + 8 + body.length);
  t.u32(36, LAPIC_BASE);
  // PCAT_COMPAT: there are 8259s as well.
  t.u32(40, 1);
  t.bytes.set(body, 44);
  return t.bytes;
}

function hpet(): Uint8Array {
  const t = table('HPET', 1, 56);
  t.u32(36, 0x8086_a201);
  t.gas(40, 0, 64, 0, HPET_BASE);
  return t.bytes;
}

function dsdt(config: AcpiConfig): Uint8Array {
  const terms = dsdtTerms(config);
  const t = table('DSDT', 2, HEADER + terms.length);
  t.bytes.set(terms, HEADER);
  return t.bytes;
}

function facs(): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set(ascii('FACS'));
  bytes[4] = 64;
  bytes[32] = 1;
  return bytes;
}

/** Makes the tables for a machine. */
export function createAcpiTables(config: AcpiConfig): AcpiTables {
  const chunks: { at: number; bytes: Uint8Array }[] = [];
  const pointers: AcpiTables['pointers'] = [];
  const checksums: AcpiTables['checksums'] = [];
  let end = 0;
  const place = (bytes: Uint8Array, sums = true): number => {
    const at = Math.ceil(end / 64) * 64;
    chunks.push({ at, bytes });
    end = at + bytes.length;
    if (sums) checksums.push({ file: 'tables', offset: at + 9, start: at, length: bytes.length });
    return at;
  };
  const point = (file: AcpiFile, bytes: Uint8Array, base: number, field: number, size: 4 | 8, target: number): void => {
    new DataView(bytes.buffer).setUint32(field, target, true);
    pointers.push({ file, offset: base + field, size });
  };
  // FACS has no checksum, and must be aligned to 64 bytes: it comes first.
  const facsAt = place(facs(), false);
  const dsdtAt = place(dsdt(config));
  const fadtBytes = fadt(config);
  const fadtAt = place(fadtBytes);
  point('tables', fadtBytes, fadtAt, 36, 4, facsAt);
  point('tables', fadtBytes, fadtAt, 40, 4, dsdtAt);
  // Before ACPI 5.0 both fields name the FACS, and Xen complains of a difference.
  point('tables', fadtBytes, fadtAt, 132, 8, facsAt);
  point('tables', fadtBytes, fadtAt, 140, 8, dsdtAt);
  const listed = [fadtAt, place(madt(config)), ...(config.withoutHpet ? [] : [place(hpet())])];
  const list = (signature: string, size: 4 | 8): number => {
    const bytes = table(signature, 1, HEADER + size * listed.length).bytes;
    const at = place(bytes);
    for (const [i, target] of listed.entries()) point('tables', bytes, at, HEADER + size * i, size, target);
    return at;
  };
  const [rsdt, xsdt] = [list('RSDT', 4), list('XSDT', 8)];
  const rsdp = new Uint8Array(36);
  rsdp.set(ascii('RSD PTR '));
  rsdp.set(ascii('RINGWD'), 9);
  rsdp[15] = 2;
  rsdp[20] = 36;
  point('rsdp', rsdp, 0, 16, 4, rsdt);
  point('rsdp', rsdp, 0, 24, 8, xsdt);
  checksums.push({ file: 'rsdp', offset: 8, start: 0, length: 20 }, { file: 'rsdp', offset: 32, start: 0, length: 36 });
  const tables = new Uint8Array(end);
  for (const { at, bytes } of chunks) tables.set(bytes, at);
  return { tables, rsdp, pointers, checksums };
}
