// The physical address space as the CPUs and DMA see it: which of it is RAM, and who answers for the rest.
//
// Without a map physical addresses are RAM's own, from 0 up: so it is under a hypervisor. A board brings a map with holes, ROMs (real RAM
// frames that writes miss) and RAM that has been moved above 4 GiB. Translations come out of here on the slow path only (a page walk, a
// TLB miss); what the TLB holds is host addresses. Whoever changes the map must flush the TLBs of all CPUs.

import type { Maddr } from '../addresses.ts';
import type { Ram } from './ram.ts';

/** What answers where no RAM is. Sizes are 1, 2 or 4, naturally aligned; values unsigned. `cpu` tells who asks (its own APIC answers). */
export interface Outside {
  read(at: number, size: number, cpu: number): number;
  write(at: number, size: number, value: number, cpu: number): void;
}

/** Nothing: reads as ones. */
const nobody: Outside = { read: (_at, size) => 2 ** (8 * size) - 1, write: () => {} };

const ABSENT = -1;
const READ_ONLY = 0x4000_0000;
const FRAME = READ_ONLY - 1;

export class PhysicalMap {
  readonly ram: Ram;
  outside: Outside = nobody;
  /** For each physical frame the frame of RAM, with READ_ONLY added where writes do not reach it, or ABSENT. */
  private map: Int32Array | undefined;
  /** Frames whose writes go elsewhere than their reads: a chipset that copies its ROM into the RAM below it. */
  private readonly behind = new Map<number, number>();

  constructor(ram: Ram) {
    this.ram = ram;
  }

  /** Begins a map of `bytes` of address space in which nothing is RAM yet. */
  clear(bytes: number): void {
    this.map = new Int32Array(bytes / 4096).fill(ABSENT);
  }
  /** Physical [at, at + length) is RAM from `offset` on; all multiples of 4096. */
  place(at: number, length: number, offset: number, readOnly = false): void {
    const map = this.map!;
    for (let i = 0; i < length / 4096; i++) map[at / 4096 + i] = (offset / 4096 + i) | (readOnly ? READ_ONLY : 0);
  }
  /** Physical [at, at + length) is not RAM. */
  remove(at: number, length: number): void {
    this.map!.fill(ABSENT, at / 4096, (at + length) / 4096);
  }
  /** Writes to read-only [at, at + length) reach RAM from `offset` on, which reads do not see; without an offset they are lost. */
  writeBehind(at: number, length: number, offset: number | undefined): void {
    for (let i = 0; i < length / 4096; i++)
      if (offset === undefined) this.behind.delete(at / 4096 + i);
      else this.behind.set(at / 4096 + i, offset / 4096 + i);
  }

  /** Closed, address line 20 is always zero (a PC's gate A20). The caller flushes TLBs. */
  a20 = true;

  /** Address in RAM of a physical address, or -1. */
  locate(address: number): Maddr | -1 {
    const { map } = this;
    const at = this.a20 || address % 0x20_0000 < 0x10_0000 ? address : address - 0x10_0000;
    if (map === undefined) return at >= 0 && at < this.ram.size ? (at as Maddr) : -1;
    const f = map[Math.floor(at / 4096)] ?? ABSENT;
    return f === ABSENT ? -1 : (((f & FRAME) * 4096 + (at % 4096)) as Maddr);
  }
  /** Where a write to a read-only physical address goes, or -1. */
  locateBehind(at: number): Maddr | -1 {
    const f = this.behind.get(Math.floor(at / 4096));
    return f === undefined ? -1 : ((f * 4096 + (at % 4096)) as Maddr);
  }
  /** Whether writes to a physical address do not reach the RAM that reads see. */
  isReadOnly(at: number): boolean {
    const f = this.map?.[Math.floor(at / 4096)] ?? ABSENT;
    return f !== ABSENT && (f & READ_ONLY) !== 0;
  }
}
