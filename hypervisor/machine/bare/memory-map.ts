// The physical address map of the PC (82441FX data sheet, 3.2.18 and chapter 4): RAM with the hole for video memory and ROMs below 1 MiB,
// the hole for devices below 4 GiB, the rest of RAM above it. Beside the guest's RAM lie frames that devices bring: ROMs, video memory.

import type { PhysicalMap } from '../mmu/physical.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
export const VIDEO_HOLE = 640 * KIB;
export const UPPER_MEMORY = 768 * KIB;
/** Devices have [3 GiB, 4 GiB), as on QEMU's pc when there is more RAM than that. */
export const PCI_HOLE = 3 * GIB;
const TOP = 4 * GIB;

export interface MemoryRange {
  readonly base: number;
  readonly size: number;
}

export class MemoryMap {
  readonly physical: PhysicalMap;
  /** RAM below 4 GiB ends here. */
  readonly lowEnd: number;
  /** RAM above 4 GiB ends here; 4 GiB when there is none. */
  readonly highEnd: number;
  private nextExtra: number;
  /** ROM below 1 MiB: physical page to offset in RAM. */
  private readonly roms = new Map<number, number>();
  private readonly onChange: () => void;

  /** The first `guestBytes` of RAM are the guest's; what is left is for reserve(). `onChange` must flush the CPUs' TLBs. */
  constructor(physical: PhysicalMap, guestBytes: number, onChange: () => void) {
    this.physical = physical;
    this.lowEnd = Math.min(guestBytes, PCI_HOLE);
    this.highEnd = TOP + guestBytes - this.lowEnd;
    this.nextExtra = guestBytes;
    this.onChange = onChange;
    physical.clear(this.highEnd);
    physical.place(0, this.lowEnd, 0);
    physical.place(TOP, this.highEnd - TOP, this.lowEnd);
    physical.remove(VIDEO_HOLE, Math.min(UPPER_MEMORY, this.lowEnd) - VIDEO_HOLE);
  }

  /** Guest RAM above the hole under 1 MiB. Firmware decides what of [768 KiB, 1 MiB) a guest may use. */
  get ranges(): readonly MemoryRange[] {
    const all = [
      { base: 0, size: VIDEO_HOLE },
      { base: MIB, size: this.lowEnd - MIB },
      { base: TOP, size: this.highEnd - TOP },
    ];
    return all.filter((r) => r.size > 0);
  }

  /** Frames of their own for a ROM or for video memory, zeroed: their offset in RAM. */
  reserve(bytes: number): number {
    const at = this.nextExtra;
    if (at + bytes > this.physical.ram.size)
      throw new RangeError(`the board has no room for another ${bytes} bytes of ROM or video memory`);
    this.nextExtra += bytes;
    return at;
  }
  /** A view of such frames, for a device that writes them itself. Code that was decoded from there would not be noticed: no ROMs. */
  bytes(offset: number, length: number): Uint8Array {
    const { ram } = this.physical;
    return ram.u8.subarray(ram.base + offset, ram.base + offset + length);
  }
  /** Zeroes physical memory: RAM, below or above the hole. */
  zero(at: number, length: number): void {
    const { ram } = this.physical;
    for (let done = 0; done < length; ) {
      const n = Math.min(length - done, 4096 - ((at + done) % 4096));
      const to = this.physical.locate(at + done);
      if (to >= 0) ram.fill(to as Parameters<typeof ram.fill>[0], 0, n);
      done += n;
    }
  }
  /** Bytes of such frames. */
  fill(offset: number, bytes: Uint8Array): void {
    const { ram } = this.physical;
    ram.writeBytes(offset as Parameters<typeof ram.writeBytes>[0], bytes);
  }

  /**
   * A BIOS image: its last byte is at 4 GiB - 1, and its last 128 KiB (or less) are seen below 1 MiB too, until they are shadowed. Sizes are
   * multiples of 4 KiB, 16 MiB at most.
   */
  installFirmware(image: Uint8Array): void {
    if (image.length === 0 || image.length % 4096 !== 0 || image.length > 16 * MIB)
      throw new RangeError(`a BIOS image of ${image.length} bytes: its size must be a multiple of 4096, and 16 MiB at most`);
    const offset = this.reserve(image.length);
    this.fill(offset, image);
    this.show(TOP - image.length, image.length, offset, 'ro');
    const low = Math.min(image.length, 128 * KIB);
    this.installRom(MIB - low, low, offset + image.length - low);
  }
  /** Frames from reserve() as a ROM in [768 KiB, 1 MiB). */
  installRom(at: number, length: number, offset: number): void {
    for (let i = 0; i < length; i += 4096) this.roms.set(at + i, offset + i);
    this.setShadow(at, length, false, false);
  }

  /**
   * What the chipset's PAM registers say of [base, base + size) in [768 KiB, 1 MiB): whether reads come from RAM or from ROM (the bus,
   * where there is none), and whether writes reach RAM.
   */
  setShadow(base: number, size: number, readRam: boolean, writeRam: boolean): void {
    for (let at = base; at < base + size; at += 4096) {
      const rom = this.roms.get(at);
      if (readRam) this.physical.place(at, 4096, at, !writeRam);
      else if (rom !== undefined) this.physical.place(at, 4096, rom, true);
      else this.physical.remove(at, 4096);
      this.physical.writeBehind(at, 4096, !readRam && writeRam ? at : undefined);
    }
    this.onChange();
  }
  /** Whether [640 KiB, 768 KiB) is RAM, or the video card's. */
  setSmram(open: boolean): void {
    if (open) this.physical.place(VIDEO_HOLE, UPPER_MEMORY - VIDEO_HOLE, VIDEO_HOLE);
    else this.physical.remove(VIDEO_HOLE, UPPER_MEMORY - VIDEO_HOLE);
    this.onChange();
  }
  setA20(open: boolean): void {
    if (this.physical.a20 === open) return;
    this.physical.a20 = open;
    this.onChange();
  }
  /** The map as at RESET: ROMs unshadowed; RAM where there is none, for kernels that are loaded without firmware. */
  reset(): void {
    const hasRoms = this.roms.size > 0;
    this.setShadow(UPPER_MEMORY, MIB - UPPER_MEMORY, !hasRoms, !hasRoms);
    this.setSmram(false);
  }

  /** Physical [at, at + length) shows RAM from an offset on: what reserve() gave, or the guest's own (shadow RAM lies at its own address). */
  show(at: number, length: number, offset: number, access: 'rw' | 'ro'): void {
    this.physical.place(at, length, offset, access === 'ro');
    this.onChange();
  }
  /** Physical [at, at + length) belongs to devices. */
  hide(at: number, length: number): void {
    this.physical.remove(at, length);
    this.onChange();
  }
}
