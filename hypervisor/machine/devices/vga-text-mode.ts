// Mode 3, 80x25 in 16 colours, as a video BIOS leaves it at power-on: for kernels that are started without one. Register values are the IBM
// VGA's; there is no font, so the screen can be read (vga-text.ts), but not drawn.

import type { VgaState } from './vga-state.ts';

const SEQUENCER = [0x03, 0x00, 0x03, 0x00, 0x02];
const CRTC = [
  ...[0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00],
  ...[0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff],
];
const GRAPHICS = [0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x0f, 0xff];
const ATTRIBUTE = [
  ...[0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f],
  ...[0x0c, 0x00, 0x0f, 0x08, 0x00],
];
/** Ports at 0x3Dx, memory on, the 28.322 MHz clock, the sync polarity of 400 lines. */
const MISC = 0x67;
/** A blank in light grey on black. */
const BLANK = [0x20, 0x07];

/** The 64 colours of an EGA: two thirds of the brightness from bits 2:0, one third from 5:3; red, green, blue. */
function egaColour(i: number): [number, number, number] {
  const part = (bit: number): number => (i & (1 << bit) ? 0x2a : 0) + (i & (8 << bit) ? 0x15 : 0);
  return [part(2), part(1), part(0)];
}

export function enterTextMode(s: VgaState, video: Uint8Array): void {
  s.misc = MISC;
  s.sequencer.set(SEQUENCER);
  s.crtc.set(CRTC);
  s.graphics.set(GRAPHICS);
  s.attribute.set(ATTRIBUTE);
  s.attributeIndex = 0x20;
  for (let i = 0; i < 64; i++) s.palette.set(egaColour(i), i * 3);
  for (let cell = 0; cell < 0x4000; cell++) video.set(BLANK, cell * 4);
}
