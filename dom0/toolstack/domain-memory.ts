// A new domain's memory seen from the builder: getting it from the hypervisor, and writing the start-of-day image into it
// through foreign mappings. Only what must be written is ever mapped, a window at a time.
import type { Domid } from '@ringworld/abi';
import type { Privcmd } from '../kernel/privcmd.ts';
import { DomainBuildError } from './errors.ts';
import type { PageRange } from './pv-layout.ts';
import { PAGE_SIZE } from './virtual.ts';

const SUPERPAGE_ORDER = 9;
const SUPERPAGE_PAGES = 1 << SUPERPAGE_ORDER;
/** Pages mapped at once. */
const WINDOW = 2048;

/**
 * Allocates frames 0 to pages - 1 of the domain, in 2 MiB extents as far as they can be had; returns the p2m. 2 MiB extents cost
 * 512 times fewer allocations, and leave machine memory unfragmented.
 */
export function populate(privcmd: Privcmd, domid: Domid, pages: number): Uint32Array {
  const p2m = new Uint32Array(pages);
  const wanted = Array.from({ length: Math.floor(pages / SUPERPAGE_PAGES) }, (_, i) => i * SUPERPAGE_PAGES);
  const extents = wanted.length === 0 ? [] : privcmd.populatePhysmap(domid, wanted, SUPERPAGE_ORDER);
  extents.forEach((frame, i) => {
    for (let k = 0; k < SUPERPAGE_PAGES; k++) p2m[i * SUPERPAGE_PAGES + k] = frame + k;
  });
  const done = extents.length * SUPERPAGE_PAGES;
  const rest = Array.from({ length: pages - done }, (_, i) => done + i);
  const singles = rest.length === 0 ? [] : privcmd.populatePhysmap(domid, rest, 0);
  p2m.set(singles, done);
  const got = done + singles.length;
  if (got < pages)
    throw new DomainBuildError(
      'memory',
      `the machine has only ${Math.floor(got / 256)} MiB free of the ${Math.ceil(pages / 256)} MiB asked for`,
    );
  return p2m;
}

/** First frame above 4 GiB. */
const FRAMES_4G = 0x100000;

/**
 * A 32-bit kernel that does not know the extended cr3 format needs its L3 table below 4 GiB: exchanges the frame behind `pfn`
 * if it lies higher (xg_dom_x86.c, move_l3_below_4G). What the old frame held is lost.
 */
export function moveBelow4G(privcmd: Privcmd, domid: Domid, p2m: Uint32Array, pfn: number): void {
  if (p2m[pfn]! < FRAMES_4G) return;
  privcmd.decreaseReservation(domid, [p2m[pfn]!]);
  const [frame] = privcmd.populatePhysmap(domid, [pfn], 0, 32);
  if (frame === undefined || frame >= FRAMES_4G)
    throw new DomainBuildError('memory', 'no page below 4 GiB is left for the page tables of a PAE kernel');
  p2m[pfn] = frame;
}

export interface Piece {
  /** Bytes from the start of the range. */
  readonly offset: number;
  readonly data: Uint8Array;
}

/** Fills a range of the domain's frames: the pieces where they lie, zeros everywhere else. */
export function fillRange(privcmd: Privcmd, domid: Domid, p2m: Uint32Array, range: PageRange, pieces: readonly Piece[]): void {
  const mixed = new Uint8Array(PAGE_SIZE);
  for (let first = 0; first < range.pages; first += WINDOW) {
    const count = Math.min(WINDOW, range.pages - first);
    const window = privcmd.mapForeign(domid, p2m.subarray(range.pfn + first, range.pfn + first + count));
    try {
      for (let i = 0; i < count; i++) {
        const from = (first + i) * PAGE_SIZE;
        const to = from + PAGE_SIZE;
        const touching = pieces.filter((p) => p.offset < to && p.offset + p.data.length > from);
        const only = touching.length === 1 ? touching[0] : undefined;
        if (only !== undefined && only.offset <= from && only.offset + only.data.length >= to) {
          window.page(i).writeBytes(0, only.data.subarray(from - only.offset, to - only.offset));
          continue;
        }
        mixed.fill(0);
        for (const p of touching) {
          const low = Math.max(from, p.offset);
          mixed.set(p.data.subarray(low - p.offset, Math.min(to, p.offset + p.data.length) - p.offset), low - from);
        }
        window.page(i).writeBytes(0, mixed);
      }
    } finally {
      window.unmap();
    }
  }
}
