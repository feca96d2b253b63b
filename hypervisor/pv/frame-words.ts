// A bounce frame while it is put together: words from the top of the stack down, stored in one go.

import type { Vcpu } from '../core/vcpu.ts';
import type { Maddr } from '../machine/addresses.ts';

const MAX = 16;
const lo = new Int32Array(MAX);
const hi = new Int32Array(MAX);
let count = 0;

export function beginFrame(): void {
  count = 0;
}
/** The word below the ones pushed before; `high` is ignored for frames of 32-bit words. */
export function pushWord(low: number, high: number): void {
  lo[count] = low;
  hi[count] = high;
  count++;
}

/** Stores the words below `top`; the new stack pointer, or NaN when any of them cannot be written. */
export function storeFrame(vcpu: Vcpu, top: number, wordSize: 4 | 8): number {
  const { guest, context } = vcpu;
  const bottom = top - count * wordSize;
  if (Math.floor(bottom / 4096) === Math.floor((top - 1) / 4096)) {
    const at = guest.translate(bottom, true);
    if (at === -1) return Number.NaN;
    const { ram } = context;
    for (let i = 0, p = at + (count - 1) * wordSize; i < count; i++, p -= wordSize) {
      ram.write32(p as Maddr, lo[i]!);
      if (wordSize === 8) ram.write32((p + 4) as Maddr, hi[i]!);
    }
    return bottom;
  }
  for (let i = 0, p = top - wordSize; i < count; i++, p -= wordSize) {
    const ok = wordSize === 8 ? guest.write64(p, lo[i]!, hi[i]!) : guest.write32(p, lo[i]!);
    if (!ok) return Number.NaN;
  }
  return bottom;
}
