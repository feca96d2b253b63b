// The VGA's registers: miscellaneous output, sequencer, graphics controller, CRTC, attribute controller and DAC at ports 0x3B0 to 0x3DF.

import type { Bus, Timeline } from './bus.ts';
import { type ByteDevice, bytePorts } from './byte-ports.ts';
import { Vbe } from './vbe.ts';
import { VgaMemory, WINDOW_BASE, WINDOW_SIZE } from './vga-memory.ts';
import { createVgaState, type VgaState } from './vga-state.ts';

/** Bits that exist, by register. */
const SEQUENCER_BITS = [0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0x00, 0x00, 0xff];
const GRAPHICS_BITS = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
const attributeBits = (index: number): number => (index < 0x10 ? 0x3f : ([0xef, 0xff, 0x3f, 0x0f, 0x0f][index - 0x10] ?? 0));

/** Miscellaneous output: bit 0 puts the CRTC at 0x3D4 instead of 0x3B4; bits 7:6 tell the number of lines by sync polarity. */
const MISC_COLOUR = 1;
const CRTC_PROTECT = 0x80;
/** Attribute index: bit 5 lets the picture through (and keeps the palette from the CPU). */
const PALETTE_SOURCE = 0x20;
/** Input status 1: display not enabled, vertical retrace. */
const NOT_DISPLAYING = 1;
const VERTICAL_RETRACE = 8;
/** One line of all standard modes: 31.78 us (25.175 MHz / 800 dots). */
const LINE_NS = 31_778;
/** The shown part of a line. */
const LINE_SHOWN_NS = 25_422;

export class Vga implements ByteDevice {
  readonly state: VgaState = createVgaState();
  readonly memory: VgaMemory;
  readonly vbe: Vbe;
  /** The video memory: planes, and the linear frame buffer. */
  readonly video: Uint8Array;
  private readonly timeline: Timeline;

  constructor(timeline: Timeline, video: Uint8Array) {
    this.timeline = timeline;
    this.video = video;
    this.memory = new VgaMemory(this.state, video);
    this.vbe = new Vbe(this.state, video, this.memory);
  }

  attach(bus: Bus): void {
    bus.attachPorts(0x3b0, 0x30, bytePorts(this));
    this.vbe.attach(bus);
    bus.attachMemory(WINDOW_BASE, WINDOW_SIZE, this.memory);
  }

  /** Monochrome and colour ports: only one set answers. */
  private answers(port: number): boolean {
    const colour = (this.state.misc & MISC_COLOUR) !== 0;
    return port >= 0x3c0 && port < 0x3d0 ? true : port >= 0x3d0 ? colour : !colour;
  }

  readByte(port: number): number {
    const s = this.state;
    if (!this.answers(port)) return 0xff;
    switch (port) {
      case 0x3c0:
        return s.attributeData ? 0 : s.attributeIndex;
      case 0x3c1:
        return s.attribute[s.attributeIndex & 0x1f] ?? 0;
      case 0x3c2:
        // The monitor sense line: a colour monitor.
        return 0x10;
      case 0x3c4:
        return s.sequencerIndex;
      case 0x3c5:
        return s.sequencer[s.sequencerIndex]!;
      case 0x3c6:
        return s.pelMask;
      case 0x3c7:
        return s.dacReading ? 3 : 0;
      case 0x3c8:
        return s.dacWrite;
      case 0x3c9:
        return this.readPalette();
      case 0x3ca:
        return 0;
      case 0x3cc:
        return s.misc;
      case 0x3ce:
        return s.graphicsIndex;
      case 0x3cf:
        return s.graphics[s.graphicsIndex]!;
      case 0x3b4:
      case 0x3d4:
        return s.crtcIndex;
      case 0x3b5:
      case 0x3d5:
        return s.crtc[s.crtcIndex]!;
      case 0x3ba:
      case 0x3da:
        s.attributeData = false;
        return this.retrace();
      default:
        return 0;
    }
  }

  writeByte(port: number, value: number): void {
    const s = this.state;
    if (!this.answers(port)) return;
    switch (port) {
      case 0x3c0:
        this.writeAttribute(value);
        return;
      case 0x3c2:
        s.misc = value & ~0x10;
        return;
      case 0x3c4:
        s.sequencerIndex = value & 7;
        return;
      case 0x3c5:
        s.sequencer[s.sequencerIndex] = value & SEQUENCER_BITS[s.sequencerIndex]!;
        return;
      case 0x3c6:
        s.pelMask = value;
        return;
      case 0x3c7:
        s.dacRead = value;
        s.dacComponent = 0;
        s.dacReading = true;
        return;
      case 0x3c8:
        s.dacWrite = value;
        s.dacComponent = 0;
        s.dacReading = false;
        return;
      case 0x3c9:
        this.writePalette(value);
        return;
      case 0x3ce:
        s.graphicsIndex = value & 15;
        return;
      case 0x3cf:
        s.graphics[s.graphicsIndex] = value & (GRAPHICS_BITS[s.graphicsIndex] ?? 0);
        return;
      case 0x3b4:
      case 0x3d4:
        s.crtcIndex = value;
        return;
      case 0x3b5:
      case 0x3d5:
        this.writeCrtc(value);
    }
  }

  private writeAttribute(value: number): void {
    const s = this.state;
    if (!s.attributeData) s.attributeIndex = value & 0x3f;
    else {
      const index = s.attributeIndex & 0x1f;
      const locked = index < 0x10 && (s.attributeIndex & PALETTE_SOURCE) !== 0;
      if (index < s.attribute.length && !locked) s.attribute[index] = value & attributeBits(index);
    }
    s.attributeData = !s.attributeData;
  }
  private writeCrtc(value: number): void {
    const s = this.state;
    const { crtc, crtcIndex: index } = s;
    if (crtc[0x11]! & CRTC_PROTECT && index <= 7) {
      // Registers 0 to 7 are protected, but for the line compare bit in the overflow register.
      if (index === 7) crtc[7] = (crtc[7]! & ~0x10) | (value & 0x10);
      return;
    }
    crtc[index] = value;
  }
  private readPalette(): number {
    const s = this.state;
    const v = s.palette[s.dacRead * 3 + s.dacComponent]!;
    s.dacComponent = (s.dacComponent + 1) % 3;
    if (s.dacComponent === 0) s.dacRead = (s.dacRead + 1) & 0xff;
    return v;
  }
  private writePalette(value: number): void {
    const s = this.state;
    s.palette[s.dacWrite * 3 + s.dacComponent] = this.vbe.dac8bit ? value : value & 0x3f;
    s.dacComponent = (s.dacComponent + 1) % 3;
    if (s.dacComponent === 0) s.dacWrite = (s.dacWrite + 1) & 0xff;
  }

  /** Where the beam is, by the clock: 449 lines at 70 Hz, or 525 at 60 Hz when both syncs are negative. */
  private retrace(): number {
    const tall = (this.state.misc & 0xc0) === 0xc0;
    const lines = tall ? 525 : 449;
    const shown = tall ? 480 : 400;
    const { now } = this.timeline;
    const line = Math.floor(now / LINE_NS) % lines;
    const displaying = line < shown && now % LINE_NS < LINE_SHOWN_NS;
    const retrace = line >= shown + 10 && line < shown + 12;
    return (displaying ? 0 : NOT_DISPLAYING) | (retrace ? VERTICAL_RETRACE : 0);
  }

  /** Power-on. The memory keeps what it has. */
  reset(): void {
    const { sequencer, graphics, crtc, attribute, palette, vbe } = this.state;
    for (const a of [sequencer, graphics, crtc, attribute, palette, vbe]) a.fill(0);
    Object.assign(this.state, { ...createVgaState(), sequencer, graphics, crtc, attribute, palette, vbe });
    this.vbe.reset();
  }
}
