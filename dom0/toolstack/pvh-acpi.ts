// ACPI tables of a PVH domain: RSDP, XSDT, FADT, MADT and a DSDT that has processors and nothing else, as Xen's libacpi makes them for
// libxl (tools/libacpi/build.c; libxl_x86_acpi.c; ACPI 6.5, chapter 5). There is no hardware to describe: local APICs, no I/O APIC, no timer.

export interface PvhAcpi {
  /** Guest-physical addresses. */
  readonly at: number;
  readonly rsdp: number;
  readonly bytes: Uint8Array;
}

const HEADER = 36;
const LAPIC_BASE = 0xfee0_0000;
/** libacpi leaves every other APIC ID out, as the hypervisor does. */
const lapicId = (vcpu: number): number => vcpu * 2;
const SCI = 9;
/** ACPI_PM1A_EVT_BLK_ADDRESS_V1 and its fellows (public/hvm/ioreq.h); nothing answers there, and reads of ones mean that ACPI is on. */
const PM1A_EVT = 0xb000;
const PM1A_CNT = 0xb004;

/** FADT flags (5.2.9): no buttons as fixed hardware, no RTC wake. */
const FADT_FLAGS = { wbinvd: 1 << 0, procC1: 1 << 2, powerButton: 1 << 4, sleepButton: 1 << 5, fixRtc: 1 << 6 } as const;
/** IA-PC boot architecture (5.2.9.3). */
const NO_VGA = 1 << 2;
const NO_CMOS_RTC = 1 << 5;

const ascii = (text: string): number[] => Array.from(text, (c) => c.charCodeAt(0));
const le = (value: number, size: number): number[] => Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) & 0xff);

/** A table of `length` bytes with its header, but for the checksum. */
function table(signature: string, revision: number, length: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(length);
  bytes.set([
    ...ascii(signature),
    ...le(length, 4),
    revision,
    0,
    ...ascii('Xen\0\0\0HVM\0\0\0\0\0'),
    ...le(0, 4),
    ...ascii('HVML'),
    ...le(0, 4),
  ]);
  return { bytes, view: new DataView(bytes.buffer) };
}
function seal(bytes: Uint8Array, offset = 9, length = bytes.length): Uint8Array {
  bytes[offset] = 0;
  bytes[offset] = -bytes.subarray(0, length).reduce((sum, b) => sum + b, 0);
  return bytes;
}

function fadt(facs: number, dsdt: number): Uint8Array {
  const { bytes, view } = table('FACP', 5, 268);
  const gas = (at: number, bits: number, address: number): void => bytes.set([1, bits, 0, bits / 8 - 1, ...le(address, 8)], at);
  view.setUint32(36, facs, true);
  view.setUint32(40, dsdt, true);
  view.setUint16(46, SCI, true);
  view.setUint32(56, PM1A_EVT, true);
  view.setUint32(64, PM1A_CNT, true);
  bytes[88] = 4;
  bytes[89] = 2;
  // No C2 nor C3: latencies past their limits.
  view.setUint16(96, 0xfff, true);
  view.setUint16(98, 0xfff, true);
  view.setUint16(109, NO_VGA | NO_CMOS_RTC, true);
  view.setUint32(112, FADT_FLAGS.wbinvd | FADT_FLAGS.procC1 | FADT_FLAGS.powerButton | FADT_FLAGS.sleepButton | FADT_FLAGS.fixRtc, true);
  view.setUint32(140, dsdt, true);
  gas(148, 32, PM1A_EVT);
  gas(172, 16, PM1A_CNT);
  return seal(bytes);
}

function facs(): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set([...ascii('FACS'), ...le(64, 4)]);
  bytes[32] = 2;
  return bytes;
}

/** `online` of the `vcpus` are enabled. */
function madt(vcpus: number, online: number): Uint8Array {
  const entries = Array.from({ length: vcpus }, (_, i) => [0, 8, i, lapicId(i), ...le(i < online ? 1 : 0, 4)]).flat();
  const { bytes, view } = table('APIC', 3, HEADER + 8 + entries.length);
  view.setUint32(36, LAPIC_BASE, true);
  // PCAT_COMPAT is clear: there are no 8259s.
  bytes.set(entries, 44);
  return seal(bytes);
}

/** AML: Scope (\_SB) { Device (Cnnn) { Name (_HID, "ACPI0007")  Name (_UID, n) } ... } (20.2). */
function dsdt(vcpus: number): Uint8Array {
  const wrapped = (opcode: readonly number[], content: readonly number[]): number[] => {
    // PkgLength counts itself; two or three bytes hold 12 or 20 bits.
    const n = content.length + 2 < 0x1000 ? 2 : 3;
    const total = content.length + n;
    return [...opcode, ((n - 1) << 6) | (total & 15), ...le(total >>> 4, n - 1), ...content];
  };
  const device = (i: number): number[] =>
    wrapped(
      [0x5b, 0x82],
      [
        ...ascii(`C${i.toString(16).toUpperCase().padStart(3, '0')}`),
        0x08,
        ...ascii('_HID'),
        0x0d,
        ...ascii('ACPI0007'),
        0,
        0x08,
        ...ascii('_UID'),
        0x0a,
        i,
      ],
    );
  const devices = Array.from({ length: vcpus }, (_, i) => device(i)).flat();
  const scope = wrapped([0x10], [0x5c, ...ascii('_SB_'), ...devices]);
  const { bytes } = table('DSDT', 2, HEADER + scope.length);
  bytes.set(scope, HEADER);
  return seal(bytes);
}

/** All tables in one piece for the guest-physical address `at`, which is a page's. `online` vCPUs of `vcpus` are there at start. */
export function pvhAcpi(at: number, vcpus: number, online: number): PvhAcpi {
  const chunks: { at: number; bytes: Uint8Array }[] = [];
  let end = at + 64;
  const place = (bytes: Uint8Array): number => {
    const here = Math.ceil(end / 64) * 64;
    chunks.push({ at: here, bytes });
    end = here + bytes.length;
    return here;
  };
  const fadtAt = place(fadt(place(facs()), place(dsdt(vcpus))));
  const listed = [fadtAt, place(madt(vcpus, online))];
  const xsdt = table('XSDT', 1, HEADER + 8 * listed.length);
  for (const [i, target] of listed.entries()) xsdt.view.setUint32(HEADER + 8 * i, target, true);
  const xsdtAt = place(seal(xsdt.bytes));
  const rsdp = Uint8Array.from([
    ...ascii('RSD PTR '),
    0,
    ...ascii('Xen\0\0\0'),
    2,
    ...le(0, 4),
    ...le(36, 4),
    ...le(xsdtAt, 8),
    0,
    0,
    0,
    0,
  ]);
  seal(rsdp, 8, 20);
  seal(rsdp, 32, 36);
  const bytes = new Uint8Array(end - at);
  bytes.set(rsdp);
  for (const c of chunks) bytes.set(c.bytes, c.at - at);
  return { at, rsdp: at, bytes };
}
