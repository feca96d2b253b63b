// The Bochs DISPI interface at ports 0x1CE and 0x1CF (0x1D0 too, on x86): how vgabios and operating systems set graphics modes beyond the
// VGA's. Behaviour after QEMU's docs/specs/standard-vga and Bochs' description of the interface, version 0xB0C5.

import type { Bus, PortDevice } from './bus.ts';
import type { VgaMemory } from './vga-memory.ts';
import { isVbe, VBE, VBE_ENABLE, VBE_REGISTERS, type VgaState } from './vga-state.ts';

const INDEX_PORT = 0x1ce;
const ID0 = 0xb0c0;
const ID5 = 0xb0c5;
const MAX_X = 16000;
const MAX_Y = 12000;
const MAX_BPP = 32;
const DEPTHS = [4, 8, 15, 16, 24, 32];

export class Vbe {
  private readonly s: VgaState;
  private readonly video: Uint8Array;
  private readonly memory: VgaMemory;

  constructor(state: VgaState, video: Uint8Array, memory: VgaMemory) {
    this.s = state;
    this.video = video;
    this.memory = memory;
    this.reset();
  }
  reset(): void {
    this.s.vbe.fill(0);
    this.s.vbe[VBE.id] = ID5;
    this.memory.bankOffset = 0;
  }
  attach(bus: Bus): void {
    bus.attachPorts(INDEX_PORT, 3, this.ports);
  }

  get dac8bit(): boolean {
    return (this.s.vbe[VBE.enable]! & VBE_ENABLE.dac8bit) !== 0;
  }

  /** Word accesses; the index register is the first port, both others are the data register. */
  private readonly ports: PortDevice = {
    in: (port, size) => {
      const v = port === INDEX_PORT ? this.s.vbeIndex : this.read(this.s.vbeIndex);
      return size === 1 ? v & 0xff : v;
    },
    out: (port, size, value) => {
      if (size === 1) return;
      if (port === INDEX_PORT) this.s.vbeIndex = value & 0xffff;
      else this.write(this.s.vbeIndex, value & 0xffff);
    },
  };

  read(index: number): number {
    if (index === VBE.memory64k) return this.video.length / 65536;
    if (index >= VBE_REGISTERS) return 0;
    if (this.s.vbe[VBE.enable]! & VBE_ENABLE.getCaps) {
      if (index === VBE.xres) return MAX_X;
      if (index === VBE.yres) return MAX_Y;
      if (index === VBE.bpp) return MAX_BPP;
    }
    return this.s.vbe[index]!;
  }

  write(index: number, value: number): void {
    const { vbe } = this.s;
    switch (index) {
      case VBE.id:
        if (value >= ID0 && value <= ID5) vbe[VBE.id] = value;
        return;
      case VBE.xres:
      case VBE.yres:
      case VBE.bpp:
        vbe[index] = value;
        if (isVbe(this.s)) this.settle();
        return;
      case VBE.virtWidth:
      case VBE.xOffset:
      case VBE.yOffset:
        vbe[index] = value;
        this.settle();
        return;
      case VBE.bank:
        vbe[VBE.bank] = value % (this.video.length / 65536 / (vbe[VBE.bpp] === 4 ? 4 : 1));
        this.memory.bankOffset = vbe[VBE.bank]! * 65536;
        return;
      case VBE.enable:
        this.enable(value);
    }
  }

  private enable(value: number): void {
    const { s } = this;
    const { vbe } = s;
    const was = isVbe(s);
    vbe[VBE.enable] = value;
    if (!(value & VBE_ENABLE.enabled)) {
      this.memory.bankOffset = 0;
      return;
    }
    if (was) return;
    vbe[VBE.virtWidth] = 0;
    vbe[VBE.xOffset] = 0;
    vbe[VBE.yOffset] = 0;
    this.settle();
    this.setVgaRegisters();
    if (!(value & VBE_ENABLE.noClear)) {
      const bytes = Math.ceil((vbe[VBE.yres]! * vbe[VBE.virtWidth]! * vbe[VBE.bpp]!) / 8);
      this.video.fill(0, 0, Math.min(bytes, this.video.length));
    }
  }

  /** Makes the mode one that the memory holds, and derives the virtual height. */
  private settle(): void {
    const { vbe } = this.s;
    if (!DEPTHS.includes(vbe[VBE.bpp]!)) vbe[VBE.bpp] = 8;
    const bits = vbe[VBE.bpp] === 15 ? 16 : vbe[VBE.bpp]!;
    const x = Math.min(Math.max(vbe[VBE.xres]! & ~7, 8), MAX_X);
    vbe[VBE.xres] = x;
    vbe[VBE.virtWidth] = Math.max(vbe[VBE.virtWidth]! & ~7, x);
    const stride = (vbe[VBE.virtWidth]! * bits) / 8;
    const y = Math.min(Math.max(vbe[VBE.yres]!, 1), MAX_Y, Math.floor(this.video.length / stride));
    vbe[VBE.yres] = y;
    vbe[VBE.virtHeight] = Math.min(0xffff, Math.floor(this.video.length / stride));
    const start = (vbe[VBE.xOffset]! * bits) / 8 + vbe[VBE.yOffset]! * stride;
    if (start + y * stride > this.video.length) {
      vbe[VBE.xOffset] = 0;
      vbe[VBE.yOffset] = 0;
    }
  }

  /** The VGA behind the mode: the whole window at 0xA0000 shows one bank, chained unless the mode has 16 colours. */
  private setVgaRegisters(): void {
    const { sequencer, graphics, crtc, vbe } = this.s;
    const planar = vbe[VBE.bpp] === 4;
    graphics[6] = (graphics[6]! & ~0x0c) | 0x05;
    graphics[5] = (graphics[5]! & ~0x70) | (planar ? 0x00 : 0x40);
    sequencer[4] = planar ? sequencer[4]! & ~8 : sequencer[4]! | 8;
    sequencer[2] = sequencer[2]! | 0x0f;
    const lines = vbe[VBE.yres]! - 1;
    crtc[0x01] = vbe[VBE.xres]! / 8 - 1;
    crtc[0x12] = lines;
    crtc[0x07] = (crtc[0x07]! & ~0x42) | ((lines >>> 7) & 2) | ((lines >>> 3) & 0x40) | 0x10;
    crtc[0x09] = (crtc[0x09]! & ~0x9f) | 0x40;
    crtc[0x13] = (vbe[VBE.virtWidth]! * (planar ? 4 : vbe[VBE.bpp]!)) >>> 6;
    crtc[0x17] = crtc[0x17]! | 3;
    crtc[0x18] = 0xff;
    crtc[0x0c] = 0;
    crtc[0x0d] = 0;
  }
}
