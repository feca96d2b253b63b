// Which frames are free. Guests get the lowest free frames, the hypervisor the highest: the same requests always get the same frames.

import type { Mfn } from '../machine/addresses.ts';
import { INVALID_MFN } from './ids.ts';

/** The largest order that a request may have (MAX_ORDER, xen/arch/x86/include/asm/config.h). */
export const MAX_ORDER = 20;

export class FrameAllocator {
  private readonly used: Uint8Array;
  /** Per order: no block below this frame is free. */
  private readonly hint = new Float64Array(MAX_ORDER + 1);
  private top: number;
  freeFrames: number;

  constructor(frames: number) {
    this.used = new Uint8Array(frames);
    this.top = frames;
    this.freeFrames = frames;
  }

  isFree(mfn: number): boolean {
    return this.used[mfn] === 0;
  }

  reserve(mfn: number): void {
    if (this.used[mfn]) return;
    this.used[mfn] = 1;
    this.freeFrames--;
  }

  alloc(order: number, below: number): Mfn {
    if (order < 0 || order > MAX_ORDER) return INVALID_MFN;
    const size = 1 << order;
    const end = Math.min(below, this.used.length) - size;
    for (let b = this.hint[order]!; b <= end; b += size) {
      if (this.isFreeBlock(b, size)) {
        this.hint[order] = b + size;
        return this.take(b, size);
      }
    }
    // Only a search of all memory says that nothing lies below the hint.
    if (below >= this.used.length) this.hint[order] = Math.max(this.hint[order]!, end + 1 - ((end + 1) % size));
    return INVALID_MFN;
  }

  allocTop(order: number): Mfn {
    const size = 1 << order;
    let b = Math.floor(this.top / size) * size;
    if (order === 0) while (this.top > 0 && this.used[this.top - 1]) b = --this.top;
    for (b -= size; b >= 0; b -= size) if (this.isFreeBlock(b, size)) return this.take(b, size);
    return INVALID_MFN;
  }

  free(mfn: number): void {
    this.used[mfn] = 0;
    this.freeFrames++;
    if (mfn >= this.top) this.top = mfn + 1;
    for (let order = 0; order <= MAX_ORDER; order++) {
      const block = mfn - (mfn % 2 ** order);
      if (block < this.hint[order]!) this.hint[order] = block;
    }
  }

  private isFreeBlock(at: number, size: number): boolean {
    const { used } = this;
    for (let i = at + size - 1; i >= at; i--) if (used[i]) return false;
    return true;
  }

  private take(at: number, size: number): Mfn {
    this.used.fill(1, at, at + size);
    this.freeFrames -= size;
    return at as Mfn;
  }
}
