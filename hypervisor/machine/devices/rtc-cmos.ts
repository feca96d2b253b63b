// What a PC's firmware finds in the battery-backed bytes of the clock: memory sizes, boot order, number of CPUs. The places are those of the
// IBM AT below 0x30, and of QEMU and Bochs above, as SeaBIOS reads them (src/hw/rtc.h).

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB4 = 2 ** 32;

export type BootDevice = 'floppy' | 'disk' | 'cdrom' | 'network';
const BOOT_CODE: Record<BootDevice, number> = { floppy: 1, disk: 2, cdrom: 3, network: 4 };

export interface CmosConfig {
  /** RAM from address 0 up to the PCI hole, in bytes. */
  ramBelow4G: number;
  ramAbove4G?: number;
  cpus?: number;
  /** First, second, third. */
  bootOrder?: readonly BootDevice[];
  /** IDE disks present as primary master and slave; the type byte then says 47, "look elsewhere". */
  disks?: readonly { cylinders: number; heads: number; sectors: number }[];
}

const at = (bytes: Map<number, number>, index: number, value: number, count = 1): void => {
  for (let i = 0; i < count; i++) bytes.set(index + i, Math.floor(value / 256 ** i) & 0xff);
};

/** Register numbers and their bytes. */
export function cmosBytes(config: CmosConfig): Map<number, number> {
  const bytes = new Map<number, number>();
  const { ramBelow4G: low, ramAbove4G: high = 0, cpus = 1, bootOrder = ['disk', 'cdrom', 'floppy'], disks = [] } = config;
  at(bytes, 0x0f, 0);
  at(bytes, 0x10, 0);
  // Equipment: FPU, PS/2 mouse; video type 0 (EGA or later); no floppy.
  at(bytes, 0x14, 0x06);
  at(bytes, 0x15, 640, 2);
  const above1M = Math.min(Math.max(0, low / KIB - 1024), 0xffff);
  at(bytes, 0x17, above1M, 2);
  at(bytes, 0x30, above1M, 2);
  at(bytes, 0x34, Math.min(Math.max(0, (low - 16 * MIB) / (64 * KIB)), 0xffff), 2);
  at(bytes, 0x5b, Math.min(high, 0xff_ffff * 64 * KIB) / (64 * KIB), 3);
  at(bytes, 0x5f, cpus - 1);
  const code = (i: number): number => (bootOrder[i] ? BOOT_CODE[bootOrder[i]] : 0);
  // Bit 0 of the flag byte: do not insist on a floppy's boot signature.
  at(bytes, 0x38, (code(2) << 4) | 1);
  at(bytes, 0x3d, (code(1) << 4) | code(0));
  at(bytes, 0x12, (disks[0] ? 0xf0 : 0) | (disks[1] ? 0x0f : 0));
  at(bytes, 0x39, 0);
  for (const [i, disk] of disks.slice(0, 2).entries()) {
    at(bytes, 0x19 + i, 47);
    const table = i === 0 ? 0x1b : 0x24;
    const cylinders = Math.min(disk.cylinders, 0xffff);
    at(bytes, table, cylinders, 2);
    at(bytes, table + 2, disk.heads);
    at(bytes, table + 3, 0xffff, 2);
    at(bytes, table + 5, disk.heads > 8 ? 0xc8 : 0xc0);
    at(bytes, table + 6, cylinders, 2);
    at(bytes, table + 8, disk.sectors);
    // Translation, two bits for each disk: none, or LBA where the BIOS's 1024 cylinders do not reach.
    const translation = cylinders <= 1024 ? 0 : 1;
    at(bytes, 0x39, bytes.get(0x39)! | (translation << (2 * i)));
  }
  let sum = 0;
  for (let i = 0x10; i <= 0x2d; i++) sum += bytes.get(i) ?? 0;
  // The checksum is the one word of CMOS with its high byte first.
  at(bytes, 0x2e, sum >> 8);
  at(bytes, 0x2f, sum & 0xff);
  return bytes;
}

/** RAM above 4 GiB for a machine of this much, with a hole below 4 GiB of `hole` bytes. */
export function splitRam(bytes: number, hole: number): { ramBelow4G: number; ramAbove4G: number } {
  const below = Math.min(bytes, GIB4 - hole);
  return { ramBelow4G: below, ramAbove4G: bytes - below };
}
