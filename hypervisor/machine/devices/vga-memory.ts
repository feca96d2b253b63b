// The VGA's memory as the CPU reaches it through the window at 0xA0000: four planes with write modes, chained and odd/even access.
//
// Byte n of plane p lies at video memory n * 4 + p. So chained (mode 13h) and VBE pixels are linear, and the frame buffer BAR and the
// planes are one memory, as on QEMU's and Bochs' cards.

import type { MemoryDevice } from './bus.ts';
import type { VgaState } from './vga-state.ts';

export const WINDOW_BASE = 0xa0000;
export const WINDOW_SIZE = 0x20000;

/** Four bits to four bytes: bit p set makes byte p 0xff. */
const SPREAD = Int32Array.from(
  { length: 16 },
  (_, n) => (n & 1 ? 0xff : 0) | (n & 2 ? 0xff00 : 0) | (n & 4 ? 0xff0000 : 0) | (n & 8 ? 0xff000000 : 0),
);

export class VgaMemory implements MemoryDevice {
  private readonly s: VgaState;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  /** Set by VBE's bank register. */
  bankOffset = 0;

  constructor(state: VgaState, bytes: Uint8Array) {
    this.s = state;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** The place in the memory that an address of the window leads to, or -1 when the card does not answer there (graphics register 6). */
  private locate(offset: number): number {
    switch ((this.s.graphics[6]! >>> 2) & 3) {
      case 0:
        return offset;
      case 1:
        return offset < 0x10000 ? offset + this.bankOffset : -1;
      case 2:
        return offset >= 0x10000 && offset < 0x18000 ? offset - 0x10000 : -1;
      default:
        return offset >= 0x18000 ? offset - 0x18000 : -1;
    }
  }

  read(offset: number, size: number): number {
    let v = 0;
    for (let i = 0; i < size; i++) v += this.readByte(offset + i) * 2 ** (8 * i);
    return v;
  }
  write(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) this.writeByte(offset + i, (value >>> (8 * i)) & 0xff);
  }

  private readByte(offset: number): number {
    const { sequencer, graphics } = this.s;
    const at = this.locate(offset);
    if (at < 0) return 0xff;
    if (sequencer[4]! & 8) return this.bytes[at] ?? 0xff;
    if (graphics[5]! & 0x10) return this.bytes[((at & ~1) << 1) | (graphics[4]! & 2) | (at & 1)] ?? 0xff;
    if (at * 4 >= this.bytes.length) return 0xff;
    const latch = this.view.getInt32(at * 4, true);
    this.s.latch = latch;
    if (!(graphics[5]! & 8)) return (latch >>> (8 * (graphics[4]! & 3))) & 0xff;
    // Read mode 1: a bit for each pixel whose colour agrees in the planes that are looked at.
    let differ = (latch ^ SPREAD[graphics[2]! & 15]!) & SPREAD[graphics[7]! & 15]!;
    differ |= differ >>> 16;
    differ |= differ >>> 8;
    return ~differ & 0xff;
  }

  private writeByte(offset: number, value: number): void {
    const { sequencer, graphics } = this.s;
    const at = this.locate(offset);
    if (at < 0) return;
    const planes = sequencer[2]! & 15;
    if (sequencer[4]! & 8) {
      if (planes & (1 << (at & 3)) && at < this.bytes.length) this.bytes[at] = value;
    } else if (graphics[5]! & 0x10) {
      const plane = (graphics[4]! & 2) | (at & 1);
      if (planes & (1 << plane)) this.bytes[((at & ~1) << 1) | plane] = value;
    } else if (at * 4 < this.bytes.length) {
      const keep = ~SPREAD[planes]!;
      this.view.setInt32(at * 4, (this.view.getInt32(at * 4, true) & keep) | (this.planar(value) & ~keep), true);
    }
  }

  /** The four bytes that one byte from the CPU becomes (write modes 0 to 3, with rotation, set/reset, function and bit mask). */
  private planar(value: number): number {
    const g = this.s.graphics;
    const { latch } = this.s;
    const mode = g[5]! & 3;
    if (mode === 1) return latch;
    const turn = g[3]! & 7;
    const rotated = ((value >>> turn) | (value << (8 - turn))) & 0xff;
    let bitMask = g[8]!;
    let v: number;
    if (mode === 0) {
      const set = SPREAD[g[1]! & 15]!;
      v = (Math.imul(rotated, 0x01010101) & ~set) | (SPREAD[g[0]! & 15]! & set);
    } else if (mode === 2) v = SPREAD[value & 15]!;
    else {
      bitMask &= rotated;
      v = SPREAD[g[0]! & 15]!;
    }
    const fn = (g[3]! >>> 3) & 3;
    if (fn === 1) v &= latch;
    else if (fn === 2) v |= latch;
    else if (fn === 3) v ^= latch;
    const mask = Math.imul(bitMask, 0x01010101);
    return (v & mask) | (latch & ~mask);
  }
}
