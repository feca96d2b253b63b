// Guest memory of a translated domain whose kernel gives guest-physical addresses as handles: our TypeScript dom0.

import type { Ram } from '../machine/mmu/ram.ts';
import { GuestMemoryBase } from './guest-memory-base.ts';
import { type Abi, type Gfn, INVALID_MFN, type Maddr } from './ids.ts';
import type { P2m } from './p2m.ts';

export class TranslatedGuestMemory extends GuestMemoryBase {
  readonly abi: Abi = 'x86_64';
  private readonly p2m: P2m;

  constructor(ram: Ram, p2m: P2m) {
    super(ram);
    this.p2m = p2m;
  }

  translate(handle: number, write: boolean): Maddr | -1 {
    const gfn = Math.floor(handle / 4096) as Gfn;
    if (gfn < 0) return -1;
    const mfn = this.p2m.mfn(gfn);
    if (mfn === INVALID_MFN || (write && !this.p2m.isWritable(gfn))) return -1;
    return (mfn * 4096 + (handle % 4096)) as Maddr;
  }
}
