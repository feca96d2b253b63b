// The host bridge of the i440FX (Intel 82441FX PMC, order 290549): PAM registers, which put RAM over the ROMs between 0xC0000 and 0xFFFFF,
// and the SMRAM register. Register values at power-on are those of QEMU's `pc` machine.

import { PciFunction } from './pci-function.ts';

/** PAM0 to PAM6 (290549, 3.2.17). Each nibble: bit 0 reads come from RAM, bit 1 writes go to RAM. */
const PAM0 = 0x59;
const PAM_READ = 1;
const PAM_WRITE = 2;
/** SMRAM control (290549, 3.2.20). D_OPEN shows the RAM under the VGA window to everybody. */
const SMRAM = 0x72;
const SMRAM_LOCK = 0x10;
const SMRAM_OPEN = 0x40;
/** D_OPEN, D_CLS, D_LCK and G_SMRAME. */
const SMRAM_BITS = 0x78;
/** C_BASE_SEG: 0xA0000; always reads 2. */
const SMRAM_BASE = 2;

/** What the bridge asks of the board's address map. */
export interface ShadowMap {
  /**
   * Physical [base, base + size), between 0xC0000 and 0x100000: whether reads come from RAM (or from the ROM and the PCI bus), and
   * whether writes reach RAM (or are lost).
   */
  setShadow(base: number, size: number, readRam: boolean, writeRam: boolean): void;
  /** Physical [0xA0000, 0xC0000) is RAM while open, and the VGA's window otherwise. */
  setSmram(open: boolean): void;
}

/** One nibble of a PAM register: where, and which half of which register. */
interface PamRegion {
  readonly base: number;
  readonly size: number;
  readonly register: number;
  readonly shift: number;
}
/** 290549, table 3-2: PAM0 has only the BIOS area in its high half; the others have two 16 KiB segments each, from 0xC0000 up. */
const REGIONS: readonly PamRegion[] = [
  ...Array.from({ length: 12 }, (_, i) => ({
    base: 0xc0000 + i * 0x4000,
    size: 0x4000,
    register: PAM0 + 1 + (i >>> 1),
    shift: (i & 1) * 4,
  })),
  { base: 0xf0000, size: 0x10000, register: PAM0, shift: 4 },
];

export class I440fx extends PciFunction {
  private readonly map: ShadowMap;
  /** What the board was told last, by region. */
  private readonly told: number[] = REGIONS.map(() => 0);
  private toldOpen = false;

  constructor(map: ShadowMap) {
    super({ vendor: 0x8086, device: 0x1237, revision: 2, classCode: 0x060000, subsystemVendor: 0x1af4, subsystem: 0x1100 });
    this.map = map;
    this.config[SMRAM] = SMRAM_BASE;
    for (let at = 0x40; at < 0x100; at++) this.writable[at] = 0xff;
    // Half of PAM0 is reserved.
    this.writable[PAM0] = 0xf0;
    this.writable[SMRAM] = SMRAM_BITS;
    this.rememberInitial();
  }

  protected override written(at: number, size: number): void {
    if (at <= PAM0 + 6 && at + size > PAM0) this.applyPam();
    if (at <= SMRAM && at + size > SMRAM) {
      // Once locked, D_OPEN stays clear and nothing changes until the next reset.
      const locked = (this.config[SMRAM]! & SMRAM_LOCK) !== 0;
      if (locked) this.config[SMRAM] = this.config[SMRAM]! & ~SMRAM_OPEN;
      this.writable[SMRAM] = locked ? 0 : SMRAM_BITS;
      const open = (this.config[SMRAM]! & SMRAM_OPEN) !== 0;
      if (open !== this.toldOpen) this.map.setSmram(open);
      this.toldOpen = open;
    }
  }
  private applyPam(): void {
    REGIONS.forEach((r, i) => {
      const bits = (this.config[r.register]! >>> r.shift) & (PAM_READ | PAM_WRITE);
      if (bits === this.told[i]) return;
      this.told[i] = bits;
      this.map.setShadow(r.base, r.size, (bits & PAM_READ) !== 0, (bits & PAM_WRITE) !== 0);
    });
  }
}
