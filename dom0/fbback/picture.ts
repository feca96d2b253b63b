// The picture in a frame buffer: geometry as a frontend claims it, checked, and pixels as red, green and blue whatever their format.
import { type PageView, ringDistance, XENFB_OUT_EVENT_SIZE, XENFB_OUT_RING_LEN, XENFB_OUT_RING_OFFS, xenfb_page } from '@ringworld/abi';
import { RingError } from '../kernel/back-ring.ts';

const PAGE = 4096;

export interface Geometry {
  readonly width: number;
  readonly height: number;
  /** Bytes from one row to the next, and from the start of memory to the first. */
  readonly stride: number;
  readonly offset: number;
  /** Bits of a pixel. */
  readonly depth: number;
}

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Three bytes a pixel, rows from top to bottom. */
  readonly rgb: Uint8Array;
}

/** What is wrong with a geometry in `memory` bytes; null when nothing is. */
export function geometryFault(g: Geometry, memory: number): string | null {
  if (![8, 16, 24, 32].includes(g.depth)) return `depth ${g.depth}: 8, 16, 24 and 32 bits can be shown`;
  if (g.width < 1 || g.width > 16384 || g.height < 1 || g.height > 16384) return `${g.width}x${g.height} pixels are no picture`;
  const row = (g.width * g.depth) / 8;
  if (g.stride < row || g.stride > memory) return `rows of ${row} bytes are ${g.stride} apart`;
  if (g.offset < 0 || g.offset + g.stride * (g.height - 1) + row > memory) return `the picture ends behind the ${memory} bytes of memory`;
  return null;
}

/** Reads the picture out of the frontend's pages. The geometry has been checked against their number. */
export function readPicture(page: (index: number) => PageView, g: Geometry): Picture {
  const rgb = new Uint8Array(g.width * g.height * 3);
  const row = new Uint8Array((g.width * g.depth) / 8);
  for (let y = 0; y < g.height; y++) {
    const start = g.offset + y * g.stride;
    for (let done = 0; done < row.length; ) {
      const at = start + done;
      const count = Math.min(row.length - done, PAGE - (at % PAGE));
      row.set(page(Math.floor(at / PAGE)).bytes(at % PAGE, count), done);
      done += count;
    }
    rowToRgb(row, g.depth, rgb, y * g.width * 3);
  }
  return { width: g.width, height: g.height, rgb };
}

/** The formats that QEMU's xenfb shows: 332, 565 and 888 with blue lowest. */
function rowToRgb(row: Uint8Array, depth: number, rgb: Uint8Array, start: number): void {
  const bytes = depth / 8;
  for (let i = 0, at = start; i < row.length; i += bytes, at += 3) {
    if (depth >= 24) {
      rgb[at] = row[i + 2]!;
      rgb[at + 1] = row[i + 1]!;
      rgb[at + 2] = row[i]!;
    } else {
      const v = depth === 16 ? row[i]! | (row[i + 1]! << 8) : row[i]!;
      const [red, green, blue] = depth === 16 ? [v >>> 11, (v >>> 5) & 63, v & 31] : [v >>> 5, (v >>> 2) & 7, v & 3];
      const [rMax, gMax, bMax] = depth === 16 ? [31, 63, 31] : [7, 7, 3];
      rgb[at] = Math.round((red * 255) / rMax);
      rgb[at + 1] = Math.round((green * 255) / gMax);
      rgb[at + 2] = Math.round((blue * 255) / bMax);
    }
  }
}

const OUT_CONS = xenfb_page.offset('out_cons', 'x86_64');
const OUT_PROD = xenfb_page.offset('out_prod', 'x86_64');

/** Takes the frontend's events: a private copy of each. Throws RingError. */
export function takeEvents(shared: PageView, event: (bytes: Uint8Array) => void): boolean {
  const cons = shared.u32(OUT_CONS);
  const count = ringDistance(shared.u32(OUT_PROD), cons);
  if (count > XENFB_OUT_RING_LEN) throw new RingError(`out_prod is ${count} ahead of out_cons, the ring has ${XENFB_OUT_RING_LEN} events`);
  for (let i = 0; i < count; i++) {
    const slot = ((cons + i) >>> 0) % XENFB_OUT_RING_LEN;
    event(shared.bytes(XENFB_OUT_RING_OFFS + slot * XENFB_OUT_EVENT_SIZE, XENFB_OUT_EVENT_SIZE));
  }
  shared.setU32(OUT_CONS, (cons + count) >>> 0);
  return count > 0;
}
