// The BIOS data area at 0x400 and the extended one below 640 KiB, as a BIOS leaves them: hypervisors and boot code look there for the end of
// base memory even when their loader told them (Xen places its trampoline by it). Layout: IBM PS/2 and PC BIOS Interface Technical Reference.

import type { Dma } from '../devices/bus.ts';

const BDA = 0x400;
/** One KiB, at the end of base memory. */
export const EBDA = 0x9_fc00;

/** FPU, PS/2 mouse, 80 x 25 in colour, one serial port. */
const EQUIPMENT = 0x0226;
/** Offset in the area, size, value. */
const FIELDS: readonly (readonly [offset: number, size: 1 | 2, value: number])[] = [
  [0x00, 2, 0x3f8],
  [0x0e, 2, EBDA >> 4],
  [0x10, 2, EQUIPMENT],
  [0x13, 2, EBDA >> 10],
  // The keyboard's ring: empty, from 0x41e to 0x43e.
  [0x1a, 2, 0x1e],
  [0x1c, 2, 0x1e],
  [0x80, 2, 0x1e],
  [0x82, 2, 0x3e],
  // Text mode 3: columns, bytes of a page, the cursor's shape, CRTC, rows less one, height of a character.
  [0x49, 1, 3],
  [0x4a, 2, 80],
  [0x4c, 2, 0x1000],
  [0x60, 2, 0x0607],
  [0x63, 2, 0x3d4],
  [0x84, 1, 24],
  [0x85, 1, 16],
];

export function placeBiosData(dma: Dma): void {
  const bytes = new Uint8Array(0x100);
  for (const [offset, size, value] of FIELDS) for (let i = 0; i < size; i++) bytes[offset + i] = (value >> (8 * i)) & 0xff;
  dma.write(BDA, bytes);
  dma.write(EBDA, Uint8Array.of(1));
}
