// The answer of a disk to IDENTIFY DEVICE, and of a CD drive to IDENTIFY PACKET DEVICE (ATA/ATAPI-6, T13/1410D, 8.15 and 8.16).

/** Identity strings of a drive. */
export interface DriveNames {
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
}

/** What a disk has set at the moment. */
export interface DiskSettings {
  /** Logical geometry (INITIALIZE DEVICE PARAMETERS). */
  readonly heads: number;
  readonly sectorsPerTrack: number;
  /** Sectors per block of READ and WRITE MULTIPLE; 0: not set. */
  readonly multiple: number;
  readonly writeCache: boolean;
  readonly lookAhead: boolean;
  /** Transfer mode of SET FEATURES: 0x20 + n multiword DMA, 0x40 + n ultra DMA. */
  readonly transferMode: number;
}

export const MAX_MULTIPLE = 16;
/** Sectors that 28 bits can address. */
export const MAX_LBA28 = 0x0fff_ffff;
export const DEFAULT_HEADS = 16;
export const DEFAULT_SECTORS = 63;

/** Cylinders of a translation with this geometry; at most 16383 are told (annex B). */
export const cylinders = (sectors: number, heads: number, perTrack: number): number =>
  Math.min(16383, Math.floor(sectors / (heads * perTrack)));

class Words {
  readonly bytes = new Uint8Array(512);
  private readonly view = new DataView(this.bytes.buffer);
  set(word: number, value: number): void {
    this.view.setUint16(word * 2, value, true);
  }
  set32(word: number, value: number): void {
    this.view.setUint32(word * 2, value, true);
  }
  /** Two characters in a word, the first one in the high byte. */
  text(word: number, length: number, text: string): void {
    const padded = text.padEnd(length).slice(0, length);
    for (let i = 0; i < length; i++) this.bytes[word * 2 + (i ^ 1)] = padded.charCodeAt(i);
  }
  names(n: DriveNames): void {
    this.text(10, 20, n.serial);
    this.text(23, 8, n.firmware);
    this.text(27, 40, n.model);
  }
  /** DMA and PIO modes: multiword DMA 0-2 at cycle times of 120 ns, PIO 3 and 4, ultra DMA 0-5. */
  modes(selected: number): void {
    const chosen = (kind: number): number => (selected >>> 3 === kind ? 0x100 << (selected & 7) : 0);
    this.set(63, 0x07 | chosen(4));
    this.set(64, 3);
    for (const w of [65, 66, 67, 68]) this.set(w, 120);
    this.set(88, 0x3f | chosen(8));
  }
}

export function identifyDisk(names: DriveNames, sectors: number, now: DiskSettings): Uint8Array {
  const w = new Words();
  const lba28 = Math.min(sectors, MAX_LBA28);
  w.set(0, 0x0040);
  w.set(1, cylinders(sectors, DEFAULT_HEADS, DEFAULT_SECTORS));
  w.set(3, DEFAULT_HEADS);
  w.set(6, DEFAULT_SECTORS);
  w.names(names);
  w.set(47, 0x8000 | MAX_MULTIPLE);
  // LBA, DMA, IORDY.
  w.set(49, 0x0b00);
  w.set(50, 0x4000);
  // Words 54-58, 64-70 and 88 are valid.
  w.set(53, 7);
  const c = cylinders(sectors, now.heads, now.sectorsPerTrack);
  w.set(54, c);
  w.set(55, now.heads);
  w.set(56, now.sectorsPerTrack);
  w.set32(57, c * now.heads * now.sectorsPerTrack);
  w.set(59, now.multiple ? 0x100 | now.multiple : 0);
  w.set32(60, lba28);
  w.modes(now.transferMode);
  // ATA-4 to ATA-6.
  w.set(80, 0x0070);
  // Write cache, look-ahead, power management; FLUSH CACHE (EXT) and 48-bit addresses.
  w.set(82, 0x4068);
  w.set(83, 0x7400);
  w.set(84, 0x4000);
  w.set(85, 0x4008 | (now.writeCache ? 0x20 : 0) | (now.lookAhead ? 0x40 : 0));
  w.set(86, 0x3400);
  w.set(87, 0x4000);
  // The result of the hardware reset: device 0 passed, an 80-wire cable.
  w.set(93, 0x6001);
  w.set32(100, sectors % 2 ** 32);
  w.set32(102, Math.floor(sectors / 2 ** 32));
  return w.bytes;
}

export function identifyCdrom(names: DriveNames, transferMode: number): Uint8Array {
  const w = new Words();
  // An ATAPI CD-ROM with removable medium, DRQ within 50 us, 12-byte packets.
  w.set(0, 0x85c0);
  w.names(names);
  w.set(49, 0x0b00);
  w.set(50, 0x4000);
  w.set(53, 7);
  w.modes(transferMode);
  w.set(80, 0x0070);
  // PACKET, DEVICE RESET, power management.
  w.set(82, 0x4218);
  w.set(83, 0x4000);
  w.set(84, 0x4000);
  w.set(85, 0x4218);
  w.set(87, 0x4000);
  w.set(93, 0x6001);
  return w.bytes;
}
