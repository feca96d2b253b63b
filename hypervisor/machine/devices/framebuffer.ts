// What a monitor on the VGA shows: as an RGBA image, pixel for pixel as the mode has them (no doubling), from registers and memory alone.

import { type DisplayMode, displayMode, lineCompare, rowAddresses, startAddress, type VgaState, vbeBits, vbeLayout } from './vga-state.ts';

export interface Image {
  readonly width: number;
  readonly height: number;
  /** Four bytes a pixel: red, green, blue, 255. */
  readonly rgba: Uint8Array;
}
type Of<K extends DisplayMode['kind']> = Extract<DisplayMode, { kind: K }>;

/** Colours as words of RGBA in little-endian order. */
export function palette(s: VgaState, dac8bit: boolean): Uint32Array {
  const colours = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const part = (c: number): number => {
      const v = s.palette[i * 3 + c]!;
      return dac8bit ? v : (v << 2) | (v >>> 4);
    };
    colours[i] = rgb(part(0), part(1), part(2));
  }
  return colours;
}
const rgb = (r: number, g: number, b: number): number => (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;

/** The 16 colours of text and planar modes, through the attribute controller (registers 0-F, 10 bit 7, and 14). */
export function sixteen(s: VgaState, colours: Uint32Array): Uint32Array {
  const a = s.attribute;
  return Uint32Array.from({ length: 16 }, (_, i) => {
    const p = a[i]! & 0x3f;
    const high = (a[0x14]! & 12) << 4;
    const index = a[0x10]! & 0x80 ? (p & 15) | ((a[0x14]! & 3) << 4) | high : p | high;
    return colours[index & s.pelMask]!;
  });
}

export function renderImage(s: VgaState, video: Uint8Array): Image {
  const mode = displayMode(s);
  const dac8bit = (s.vbe[4]! & 0x20) !== 0;
  const colours = palette(s, dac8bit);
  const [width, height] = mode.kind === 'text' ? [mode.columns * mode.cellWidth, mode.rows * mode.cellHeight] : [mode.width, mode.height];
  const pixels = new Uint32Array(width * height);
  if (mode.kind === 'text') drawText(s, video, mode, sixteen(s, colours), pixels);
  else if (mode.kind === 'vbe') drawVbe(s, video, mode, colours, pixels);
  else drawGraphics(s, video, mode, colours, pixels);
  return { width, height, rgba: new Uint8Array(pixels.buffer) };
}

function drawText(s: VgaState, video: Uint8Array, mode: Of<'text'>, colours: Uint32Array, to: Uint32Array): void {
  const { columns, rows, cellWidth, cellHeight } = mode;
  const width = columns * cellWidth;
  const cursorAt = (s.crtc[0x0e]! << 8) | s.crtc[0x0f]!;
  const cursorOn = !(s.crtc[0x0a]! & 0x20);
  const [top, bottom] = [s.crtc[0x0a]! & 0x1f, s.crtc[0x0b]! & 0x1f];
  const blink = (s.attribute[0x10]! & 8) !== 0;
  const wide = (s.attribute[0x10]! & 4) !== 0;
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const at = (startAddress(s) + row * rowAddresses(s) + column) & 0xffff;
      const character = video[at * 4]!;
      const attribute = video[at * 4 + 1]!;
      const font = fontBase(s, attribute);
      const ink = colours[attribute & 15]!;
      const paper = colours[(attribute >>> 4) & (blink ? 7 : 15)]!;
      for (let y = 0; y < cellHeight; y++) {
        let bits = video[(font + character * 32 + y) * 4 + 2]! << 1;
        // The ninth column of line graphics repeats the eighth.
        if (wide && character >= 0xc0 && character < 0xe0) bits |= (bits >>> 1) & 1;
        if (cursorOn && at === cursorAt && y >= top && y <= bottom) bits = 0x1ff;
        const out = (row * cellHeight + y) * width + column * cellWidth;
        for (let x = 0; x < cellWidth; x++) to[out + x] = bits & (0x100 >>> x) ? ink : paper;
      }
    }
}
/** Where in plane 2 a character's font lies: sequencer register 3 names one of eight for attribute bit 3 set, one for it clear. */
function fontBase(s: VgaState, attribute: number): number {
  const map = s.sequencer[3]!;
  const n = attribute & 8 ? ((map >>> 2) & 3) | ((map >>> 3) & 4) : (map & 3) | ((map >>> 2) & 4);
  return (n & 3) * 0x4000 + (n >>> 2) * 0x2000;
}

function drawGraphics(
  s: VgaState,
  video: Uint8Array,
  mode: Of<'planar' | 'cga2' | 'cga4' | 'linear256'>,
  colours: Uint32Array,
  to: Uint32Array,
): void {
  const { width, height } = mode;
  const few = sixteen(s, colours);
  const planes = s.attribute[0x12]! & 15;
  const step = rowAddresses(s);
  const repeat = ((s.crtc[9]! & 0x1f) + 1) * (s.crtc[9]! & 0x80 ? 2 : 1);
  const split = lineCompare(s);
  const banked = mode.kind === 'cga2' || mode.kind === 'cga4';
  let from = startAddress(s);
  let row = 0;
  for (let y = 0; y < height; y++, row++) {
    if (!banked && y * repeat === split + 1) [from, row] = [0, 0];
    // CGA modes keep odd lines 8 KiB above even ones.
    const line = from + (banked ? (row >>> 1) * step + (row & 1) * 0x2000 : row * step);
    for (let x = 0; x < width; x++) to[y * width + x] = pixel(mode.kind, video, line, x, planes, few, colours, s.pelMask);
  }
}
function pixel(
  kind: 'planar' | 'cga2' | 'cga4' | 'linear256',
  video: Uint8Array,
  line: number,
  x: number,
  planes: number,
  few: Uint32Array,
  colours: Uint32Array,
  mask: number,
): number {
  switch (kind) {
    case 'linear256':
      return colours[video[((line * 4) & 0x3ffff) + x]! & mask]!;
    case 'cga4': {
      // Two bits a pixel, from planes 0 and 1 in turn (odd/even addresses).
      const byte = video[((line + (x >>> 3)) & 0xffff) * 4 + ((x >>> 2) & 1)]!;
      return few[(byte >>> (6 - 2 * (x & 3))) & 3 & planes]!;
    }
    default: {
      const at = ((line + (x >>> 3)) & 0xffff) * 4;
      const bit = 7 - (x & 7);
      let colour = 0;
      for (let p = 0; p < 4; p++) colour |= ((video[at + p]! >>> bit) & 1) << p;
      return few[colour & planes]!;
    }
  }
}

function drawVbe(s: VgaState, video: Uint8Array, mode: Of<'vbe'>, colours: Uint32Array, to: Uint32Array): void {
  const { width, height, bpp } = mode;
  const { stride, start } = vbeLayout(s);
  const few = sixteen(s, colours);
  const view = new DataView(video.buffer, video.byteOffset, video.length);
  const bytes = vbeBits(s) / 8;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const line = start + y * stride;
      const at = line + x * bytes;
      let c: number;
      if (bpp === 4) {
        const cell = (line + (x >>> 3)) * 4;
        let n = 0;
        for (let p = 0; p < 4; p++) n |= ((video[cell + p]! >>> (7 - (x & 7))) & 1) << p;
        c = few[n]!;
      } else if (bpp === 8) c = colours[video[at]! & s.pelMask]!;
      else if (bpp >= 24) c = rgb(video[at + 2]!, video[at + 1]!, video[at]!);
      else {
        const v = view.getUint16(at, true);
        const [g, gBits] = bpp === 15 ? [(v >>> 5) & 31, 5] : [(v >>> 5) & 63, 6];
        c = rgb(widen(v >>> (bpp === 15 ? 10 : 11), 5), widen(g, gBits), widen(v, 5));
      }
      to[y * width + x] = c;
    }
}
/** A colour component of n bits as one of 8. */
function widen(v: number, bits: number): number {
  const c = v & ((1 << bits) - 1);
  return (c << (8 - bits)) | (c >>> (2 * bits - 8));
}
