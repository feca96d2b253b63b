// The registers of a VGA (IBM VGA reference; FreeVGA's notes) and of the Bochs DISPI extension, as plain data, and what follows from them.

export interface VgaState {
  misc: number;
  sequencerIndex: number;
  sequencer: Uint8Array;
  graphicsIndex: number;
  graphics: Uint8Array;
  crtcIndex: number;
  crtc: Uint8Array;
  attributeIndex: number;
  /** The next write to 0x3C0 is data. */
  attributeData: boolean;
  attribute: Uint8Array;
  pelMask: number;
  /** 256 colours of three components, 6 bits each (8 in VBE's 8-bit DAC mode). */
  palette: Uint8Array;
  dacRead: number;
  dacWrite: number;
  /** Which component comes next. */
  dacComponent: number;
  dacReading: boolean;
  /** The colours read last, one byte for each plane. */
  latch: number;
  vbeIndex: number;
  vbe: Uint16Array;
}

/** Registers of the DISPI interface (Bochs, VBE DISPI documentation; QEMU docs/specs/standard-vga). */
export const VBE = {
  id: 0,
  xres: 1,
  yres: 2,
  bpp: 3,
  enable: 4,
  bank: 5,
  virtWidth: 6,
  virtHeight: 7,
  xOffset: 8,
  yOffset: 9,
  memory64k: 10,
} as const;
export const VBE_REGISTERS = 11;
export const VBE_ENABLE = { enabled: 0x01, getCaps: 0x02, dac8bit: 0x20, linear: 0x40, noClear: 0x80 } as const;

export const createVgaState = (): VgaState => ({
  misc: 0,
  sequencerIndex: 0,
  sequencer: new Uint8Array(8),
  graphicsIndex: 0,
  graphics: new Uint8Array(16),
  crtcIndex: 0,
  crtc: new Uint8Array(256),
  attributeIndex: 0,
  attributeData: false,
  attribute: new Uint8Array(21),
  pelMask: 0xff,
  palette: new Uint8Array(768),
  dacRead: 0,
  dacWrite: 0,
  dacComponent: 0,
  dacReading: false,
  latch: 0,
  vbeIndex: 0,
  vbe: new Uint16Array(VBE_REGISTERS),
});

/** What the picture is made of. Sizes are in pixels as they lie in memory, not in scan lines. */
export type DisplayMode =
  | { readonly kind: 'text'; readonly columns: number; readonly rows: number; readonly cellWidth: 8 | 9; readonly cellHeight: number }
  | { readonly kind: 'planar' | 'cga2' | 'cga4' | 'linear256'; readonly width: number; readonly height: number }
  | { readonly kind: 'vbe'; readonly width: number; readonly height: number; readonly bpp: number };

export const isVbe = (s: VgaState): boolean => (s.vbe[VBE.enable]! & VBE_ENABLE.enabled) !== 0;

/** Scan lines that are shown: the vertical display end, whose high bits lie in the overflow register. */
const scanLines = (crtc: Uint8Array): number => (crtc[0x12]! | ((crtc[7]! & 2) << 7) | ((crtc[7]! & 0x40) << 3)) + 1;

export function displayMode(s: VgaState): DisplayMode {
  if (isVbe(s)) return { kind: 'vbe', width: s.vbe[VBE.xres]!, height: s.vbe[VBE.yres]!, bpp: s.vbe[VBE.bpp]! };
  const { crtc, graphics } = s;
  const lines = scanLines(crtc);
  const characters = crtc[1]! + 1;
  const perRow = (crtc[9]! & 0x1f) + 1;
  if (!(graphics[6]! & 1)) {
    const rows = Math.floor(lines / perRow);
    return { kind: 'text', columns: characters, rows, cellWidth: s.sequencer[1]! & 1 ? 8 : 9, cellHeight: perRow };
  }
  // Doubled scan lines show the same pixels again. In CGA modes the second line of a row comes from another bank instead.
  const doubled = crtc[9]! & 0x80 ? 2 : 1;
  const cgaBanks = !(crtc[0x17]! & 1);
  const height = Math.floor(lines / (doubled * (cgaBanks ? 1 : perRow)));
  const shift = (graphics[5]! >>> 5) & 3;
  if (shift >= 2) return { kind: 'linear256', width: characters * 4, height };
  if (shift === 1) return { kind: 'cga4', width: characters * 8, height };
  return { kind: cgaBanks ? 'cga2' : 'planar', width: characters * 8, height };
}

/** Where the picture begins, in units of one address of all four planes. */
export const startAddress = (s: VgaState): number => (s.crtc[0x0c]! << 8) | s.crtc[0x0d]!;
/** From one row of the picture to the next, in addresses of the planes. */
export const rowAddresses = (s: VgaState): number => s.crtc[0x13]! * 2;
/** The scan line at which the picture goes on at address 0 (split screen). */
export const lineCompare = (s: VgaState): number => s.crtc[0x18]! | ((s.crtc[7]! & 0x10) << 4) | ((s.crtc[9]! & 0x40) << 3);
/** Bytes from one line of a VBE picture to the next, and where it begins. */
export function vbeLayout(s: VgaState): { stride: number; start: number } {
  const bytes = (pixels: number): number => Math.floor((pixels * vbeBits(s)) / 8);
  const stride = bytes(s.vbe[VBE.virtWidth]!);
  return { stride, start: bytes(s.vbe[VBE.xOffset]!) + s.vbe[VBE.yOffset]! * stride };
}
/** Bits that a pixel takes: 15-bit colours lie in 16. */
export const vbeBits = (s: VgaState): number => (s.vbe[VBE.bpp] === 15 ? 16 : s.vbe[VBE.bpp]!);
