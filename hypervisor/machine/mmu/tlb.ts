// The software TLB of one CPU, in its state block: direct-mapped, with a tag per kind of access. The layout is in state.ts; handlers
// probe it inline. A tag is the linear page number with the context number (address space, privilege, mode) in the top 12 bits.

import type { Lin } from '../addresses.ts';
import { linHi, linLo } from '../addresses.ts';
import { HARDWARE, TLB_ENTRIES } from '../state.ts';
import type { Ram } from './ram.ts';

const HASH_SHIFT = Math.log2(TLB_ENTRIES);
/** Word offsets in an entry. */
const READ = 0;
const WRITE = 2;
const EXEC = 4;
const ADDEND = 6;
/** High half of a tag that never matches: context 0 is never used. */
const NEVER = 0;
const NOBODY = 0;
const SEVERAL = -1;

export class Tlb {
  private readonly ram: Ram;
  private readonly base: number;
  private readonly ctx: number;
  /** For each frame of RAM, the one entry that may let writes through to it, NOBODY or SEVERAL: protect() need not look at them all. */
  private readonly writers: Int32Array;

  constructor(ram: Ram, cpuBase: number) {
    this.ram = ram;
    this.base = (cpuBase + HARDWARE.tlb) >>> 2;
    this.ctx = (cpuBase + HARDWARE.ctx) >>> 2;
    this.writers = new Int32Array(ram.codeFrames.length);
  }

  private slot(lin: Lin): number {
    // Higher bits are added in, so that pages a multiple of the TLB's reach apart (a copy from there to here) do not always collide.
    const page = this.tagLo(lin);
    return this.base + ((page + (page >>> HASH_SHIFT)) & (TLB_ENTRIES - 1)) * 8;
  }
  private tagLo(lin: Lin): number {
    return ((linLo(lin) >>> 12) | (linHi(lin) << 20)) >>> 0;
  }
  private tagHi(lin: Lin): number {
    return ((linHi(lin) >>> 12) | this.ram.u32[this.ctx + 1]!) >>> 0;
  }

  /** Enters the translation lin -> host address of the page, for the accesses named. */
  fill(lin: Lin, hostPage: number, read: boolean, write: boolean, exec: boolean): void {
    const { u32 } = this.ram;
    const e = this.slot(lin);
    const lo = this.tagLo(lin);
    const hi = this.tagHi(lin);
    const addend = (hostPage - (linLo(lin) & ~0xfff)) >>> 0;
    const same = u32[e + ADDEND] === addend;
    this.permit(e + READ, lo, hi, read, same);
    this.permit(e + WRITE, lo, hi, write, same);
    this.permit(e + EXEC, lo, hi, exec, same);
    u32[e + ADDEND] = addend;
    if (!write) return;
    const frame = (hostPage - this.ram.base) >>> 12;
    const known = this.writers[frame];
    if (known !== e) this.writers[frame] = known === NOBODY ? e : SEVERAL;
  }
  private permit(at: number, lo: number, hi: number, wanted: boolean, sameAddend: boolean): void {
    const { u32 } = this.ram;
    if (wanted) {
      u32[at] = lo;
      u32[at + 1] = hi;
    } else if (!(sameAddend && u32[at] === lo && u32[at + 1] === hi)) u32[at + 1] = NEVER;
  }

  /** Host address for fetching at lin, or 0 when the TLB does not hold it. */
  exec(lin: Lin): number {
    const { u32 } = this.ram;
    const e = this.slot(lin);
    return u32[e + EXEC] === this.tagLo(lin) && u32[e + EXEC + 1] === this.tagHi(lin) ? (linLo(lin) + u32[e + ADDEND]!) >>> 0 : 0;
  }
  /** Host address for a read or write of the byte at lin, or 0. */
  data(lin: Lin, write: boolean): number {
    const { u32 } = this.ram;
    const e = this.slot(lin) + (write ? WRITE : READ);
    const at = this.slot(lin) + ADDEND;
    return u32[e] === this.tagLo(lin) && u32[e + 1] === this.tagHi(lin) ? (linLo(lin) + u32[at]!) >>> 0 : 0;
  }

  drop(lin: Lin): void {
    const e = this.slot(lin);
    const { u32 } = this.ram;
    u32[e + READ + 1] = NEVER;
    u32[e + WRITE + 1] = NEVER;
    u32[e + EXEC + 1] = NEVER;
  }
  dropAll(): void {
    this.ram.u32.fill(0, this.base, this.base + TLB_ENTRIES * 8);
  }

  /** Makes writes to a frame, given by its host address, come to TypeScript. */
  protect(hostPage: number): void {
    const frame = (hostPage - this.ram.base) >>> 12;
    const writer = this.writers[frame];
    this.writers[frame] = NOBODY;
    if (writer === NOBODY) return;
    if (writer !== SEVERAL && writer !== undefined) this.protectEntry(writer, hostPage);
    else for (let e = this.base; e < this.base + TLB_ENTRIES * 8; e += 8) this.protectEntry(e, hostPage);
  }
  private protectEntry(e: number, hostPage: number): void {
    const { u32 } = this.ram;
    if (u32[e + WRITE + 1] !== NEVER && ((u32[e + WRITE]! << 12) + u32[e + ADDEND]!) >>> 0 === hostPage) u32[e + WRITE + 1] = NEVER;
  }
}
