// Nested paging (APM Vol 2, 15.25): guest-physical addresses go through tables in the format of the host's paging mode at VMRUN.
//
// Every access of the guest is a user access here, so the tables' U/S bits must be set; accesses to the guest's own page tables are user
// writes, whatever the guest is about to do (15.25.5 and 15.25.6).

import type { Lin } from '../addresses.ts';
import { PF } from '../cpu-api.ts';
import type { PhysicalMap } from '../mmu/physical.ts';
import type { PagingMode } from '../mmu/walk.ts';
import type { SecondLevel } from '../virt/non-root.ts';

const P = 1;
const RW = 2;
const US = 4;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const PS = 0x80;

/** What the tables are read with: the host's control registers. */
export interface NestedMode {
  readonly mode: Exclude<PagingMode, 'none'>;
  readonly nxe: boolean;
  readonly pse: boolean;
}
/** What a host in TypeScript has. */
export const LONG_MODE_TABLES: NestedMode = { mode: '4level', nxe: true, pse: true };

export class NestedPaging implements SecondLevel {
  writable = false;
  executable = false;
  shift = 12;
  /** Of the translation that was refused last: the page-fault error code, the address, and whether a table of the guest's was read. */
  errorCode = 0;
  faultAddress = 0;
  faultIsTable = false;
  /** Table entries that were read, since the beginning. */
  references = 0;

  private readonly physical: PhysicalMap;
  private readonly frameHigh: number;
  private readonly has1g: boolean;
  private mode: NestedMode = LONG_MODE_TABLES;
  private root = 0;
  private reserved = 0;
  /** Word indices of the entries on the way, to be marked accessed. */
  private readonly path = new Int32Array(4);
  private depth = 0;

  constructor(physical: PhysicalMap, physicalBits: number, has1g: boolean) {
    this.physical = physical;
    this.frameHigh = (1 << (physicalBits - 32)) - 1;
    this.has1g = has1g;
  }

  /** From VMRUN on: tables at `nCr3` (bytes; the low 12 bits are attributes), in the host's mode. */
  load(nCr3: number, mode: NestedMode): void {
    this.mode = mode;
    this.root = mode.mode === 'pae' ? nCr3 - (nCr3 % 32) : nCr3 - (nCr3 % 4096);
    this.reserved = (0xfffff & ~this.frameHigh) | (mode.nxe ? 0 : 0x8000_0000);
  }

  translate(gpa: number, access: number, _lin: Lin | undefined, isTable: boolean, update: boolean): number {
    this.depth = 0;
    const wanted = isTable ? PF.write : access & (PF.write | PF.fetch);
    const { mode } = this.mode;
    if (mode === '32bit') return this.walk32(gpa, wanted, isTable, update);
    return this.walkLong(gpa, wanted, isTable, update, mode === '4level' ? 39 : 30);
  }

  private refuse(gpa: number, wanted: number, isTable: boolean, update: boolean, bits: number): -1 {
    if (update) {
      const fetch = wanted & PF.fetch && this.mode.nxe && this.mode.mode !== '32bit' ? PF.fetch : 0;
      this.errorCode = bits | PF.user | (wanted & PF.write) | fetch;
      this.faultAddress = gpa;
      this.faultIsTable = isTable;
    }
    return -1;
  }

  /** Long-mode tables, or (top 30) the PDPEs of PAE, which are read from memory at each walk and hold no rights (15.25.10). */
  private walkLong(gpa: number, wanted: number, isTable: boolean, update: boolean, top: 39 | 30): number {
    const { ram } = this.physical;
    const hi = Math.floor(gpa / 0x1_0000_0000);
    const lo = gpa >>> 0;
    if (top === 30 ? hi !== 0 : hi >>> 16 !== 0) return this.refuse(gpa, wanted, isTable, update, 0);
    let table = this.root;
    let rights = RW | US;
    let nx = false;
    for (let shift: number = top; ; shift -= 9) {
      const index = shift === 39 ? (hi >>> 7) & 511 : shift === 30 ? ((hi << 2) | (lo >>> 30)) & 511 : (lo >>> shift) & 511;
      this.references++;
      const at = this.physical.locate(table + index * 8);
      if (at < 0) return this.refuse(gpa, wanted, isTable, update, PF.present | PF.reserved);
      const w = (ram.base + at) >>> 2;
      const eLo = ram.u32[w]!;
      const eHi = ram.u32[w + 1]!;
      if (!(eLo & P)) return this.refuse(gpa, wanted, isTable, update, 0);
      const isPdpe = top === 30 && shift === 30;
      const large = shift !== 12 && !isPdpe && (eLo & PS) !== 0;
      if (eHi & this.reserved || (isPdpe && eLo & 0x1e6) || (large && (shift === 39 || (shift === 30 && !this.has1g))))
        return this.refuse(gpa, wanted, isTable, update, PF.present | PF.reserved);
      if (!isPdpe) {
        rights &= eLo;
        nx ||= eHi >>> 31 !== 0;
        this.path[this.depth++] = w;
      }
      const frame = (eHi & this.frameHigh) * 0x1_0000_0000 + ((eLo & ~0xfff) >>> 0);
      if (shift !== 12 && !large) {
        table = frame;
        continue;
      }
      const size = large ? (shift === 21 ? 0x20_0000 : 0x4000_0000) : 4096;
      // Bit 12 of a large page is PAT.
      if (large && (eLo & (size - 1) & ~0x1fff) !== 0) return this.refuse(gpa, wanted, isTable, update, PF.present | PF.reserved);
      return this.finish(gpa, frame - (frame % size) + (lo & (size - 1)), wanted, isTable, update, rights, nx, shift);
    }
  }

  /** 32-bit tables: addresses of 32 bits; PSE-36 as the processor has it. */
  private walk32(gpa: number, wanted: number, isTable: boolean, update: boolean): number {
    const { ram } = this.physical;
    if (gpa >= 0x1_0000_0000) return this.refuse(gpa, wanted, isTable, update, 0);
    let table = this.root;
    let rights = RW | US;
    for (let shift = 22; ; shift -= 10) {
      this.references++;
      const at = this.physical.locate(table + ((gpa >>> shift) & 1023) * 4);
      if (at < 0) return this.refuse(gpa, wanted, isTable, update, PF.present | PF.reserved);
      const w = (ram.base + at) >>> 2;
      const e = ram.u32[w]!;
      if (!(e & P)) return this.refuse(gpa, wanted, isTable, update, 0);
      rights &= e;
      this.path[this.depth++] = w;
      const large = shift === 22 && (e & PS) !== 0 && this.mode.pse;
      if (shift === 22 && !large) {
        table = (e & ~0xfff) >>> 0;
        continue;
      }
      const page = large
        ? ((e >>> 13) & 0xff) * 0x1_0000_0000 + ((e & 0xffc0_0000) >>> 0) + (gpa & 0x3f_ffff)
        : ((e & ~0xfff) >>> 0) + (gpa & 0xfff);
      return this.finish(gpa, page, wanted, isTable, update, rights, false, shift);
    }
  }

  /** Rights, then accessed and dirty bits. */
  private finish(
    gpa: number,
    physical: number,
    wanted: number,
    isTable: boolean,
    update: boolean,
    rights: number,
    nx: boolean,
    shift: number,
  ): number {
    const refused = !(rights & US) || (wanted & PF.write && !(rights & RW)) || (wanted & PF.fetch && nx);
    if (refused) return this.refuse(gpa, wanted, isTable, update, PF.present);
    const { u32 } = this.physical.ram;
    const leaf = this.path[this.depth - 1]!;
    if (update) {
      for (let i = 0; i < this.depth; i++) {
        const w = this.path[i]!;
        if (!(u32[w]! & ACCESSED)) u32[w] = u32[w]! | ACCESSED;
      }
      if (wanted & PF.write && !(u32[leaf]! & DIRTY)) u32[leaf] = u32[leaf]! | DIRTY;
    }
    this.writable = (rights & RW) !== 0 && (u32[leaf]! & DIRTY) !== 0;
    this.executable = !nx;
    this.shift = shift;
    return physical;
  }
}
