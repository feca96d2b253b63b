// The page walk, in all paging modes (SDM Vol 3A, chapter 4), on the tables as they stand in RAM.
//
// One Walker belongs to one CPU; the result is an object reused by every walk. Entries are read as two halves: no BigInt here.

import type { Lin, Maddr } from '../addresses.ts';
import { linHi, linLo } from '../addresses.ts';
import { PF, SECOND_LEVEL, type WalkResult } from '../cpu-api.ts';
import { STATE } from '../state.ts';
import type { SecondLevel } from '../virt/non-root.ts';
import type { PhysicalMap } from './physical.ts';
import type { Ram } from './ram.ts';

const P = 1;
const RW = 2;
const US = 4;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const PS = 0x80;
const GLOBAL = 0x100;

/** Beside the bits of PF in `access`: an implicit supervisor access, which EFLAGS.AC does not exempt from SMAP (SDM Vol 3A, 4.6). */
export const IMPLICIT = 0x100;

/** Walker.table(): the second level of translation refused. */
const REFUSED = -2;

export type PagingMode = 'none' | '32bit' | 'pae' | '4level';

/** What the walk depends on beside the tables. */
export interface PagingState {
  mode: PagingMode;
  /** Root table, in bytes; under PAE the page-directory pointers are in registers (STATE.pdpte) instead. */
  root: number;
  wp: boolean;
  nxe: boolean;
  pse: boolean;
  smep: boolean;
  smap: boolean;
  /** EFLAGS.AC, which lifts SMAP for explicit accesses. */
  ac: boolean;
  /** CR4.PKE in 4-level paging, and PKRU. */
  pke: boolean;
  pkru: number;
}

/** What a processor's paging can do (a CPUID profile). */
export interface PagingFeatures {
  readonly physicalBits: number;
  readonly features: ReadonlySet<string>;
}

export class Walker {
  private readonly ram: Ram;
  private readonly physical: PhysicalMap;
  readonly paging: PagingState = {
    mode: 'none',
    root: 0,
    wp: false,
    nxe: false,
    pse: false,
    smep: false,
    smap: false,
    ac: false,
    pke: false,
    pkru: 0,
  };
  readonly result: WalkResult = {
    errorCode: 0,
    ok: false,
    maddr: 0 as Maddr,
    writable: false,
    user: false,
    nx: false,
    global: false,
    shift: 12,
  };
  /** In force while a guest with a second level of translation runs: the tables hold guest-physical addresses then. */
  second: SecondLevel | undefined = undefined;
  /** The last loadPdptes() failed in the second level. */
  isRefused = false;
  /** Reads of paging structures of the first level, since the beginning. */
  references = 0;
  private readonly path = new Int32Array(4);
  /** With a second level: where the entries lie for the guest. */
  private readonly guestPath = new Float64Array(4);
  private depth = 0;
  /** Index of the first PDPTE register in u32. */
  private readonly pdpte: number;
  // Reserved bits: above MAXPHYADDR in the high half (62:52 too in PAE), and of 4 MiB pages.
  private readonly frameHigh: number;
  private readonly reservedHigh: number;
  private readonly reservedHighPae: number;
  private readonly reserved4m: number;
  private readonly has1g: boolean;

  constructor(physical: PhysicalMap, cpuBase: number, cpu: PagingFeatures) {
    this.ram = physical.ram;
    this.physical = physical;
    this.pdpte = (cpuBase + STATE.pdpte) >>> 2;
    this.frameHigh = (1 << (cpu.physicalBits - 32)) - 1;
    this.reservedHigh = 0xfffff & ~this.frameHigh;
    this.reservedHighPae = 0x7fffffff & ~this.frameHigh;
    // PSE-36: bits 20:13 of a 4 MiB entry are address bits 39:32, as far as there are so many (SDM Vol 3A, Table 4-4).
    const wide = cpu.features.has('pse36') ? Math.min(cpu.physicalBits, 40) : 32;
    this.reserved4m = 0x3fe000 & ~((1 << (wide - 19)) - 1);
    this.has1g = cpu.features.has('pdpe1gb');
  }

  /**
   * Translates `lin` for an access (PF.write, PF.user, PF.fetch, IMPLICIT). `update` sets accessed and dirty bits, as an access does;
   * without it the tables are left alone.
   */
  walk(lin: Lin, access: number, update: boolean): WalkResult {
    const r = this.result;
    r.global = false;
    r.nx = false;
    r.user = true;
    r.writable = true;
    r.errorCode = 0;
    this.depth = 0;
    switch (this.paging.mode) {
      case 'none':
        r.maddr = (linLo(lin) >>> 0) as Maddr;
        r.shift = 12;
        r.ok = true;
        return this.second === undefined || this.throughSecond(lin, access, update) ? r : this.refuseSecond();
      case '4level':
        return this.walkLong(lin, access, update, 39, this.paging.root);
      case 'pae': {
        const w = this.pdpte + ((linLo(lin) >>> 30) & 3) * 2;
        const entry = this.ram.u32[w]!;
        if (!(entry & P)) return this.fail(access, 0);
        return this.walkLong(lin, access, update, 21, (this.ram.u32[w + 1]! & this.frameHigh) * 0x1_0000_0000 + ((entry & ~0xfff) >>> 0));
      }
      case '32bit':
        return this.walk32(lin, access, update);
    }
  }

  /**
   * Reads the four page-directory pointers of PAE paging into their registers, as loads of CR3 and of some bits of CR0 and CR4 do (SDM
   * Vol 3A, 4.4.1). False, and nothing changed, when one that is present has a reserved bit set: #GP(0).
   */
  loadPdptes(cr3: number): boolean {
    const { ram } = this;
    const at = this.table((cr3 & ~31) >>> 0, undefined, true);
    this.isRefused = at === REFUSED;
    if (at < 0) return false;
    const w = (ram.base + at) >>> 2;
    for (let i = 0; i < 8; i += 2) {
      const lo = ram.u32[w + i]!;
      if (lo & P && (lo & 0x1e6 || ram.u32[w + i + 1]! & ~this.frameHigh)) return false;
    }
    ram.u32.copyWithin(this.pdpte, w, w + 8);
    return true;
  }

  /** 4-level paging from its root (top 39), or the two lower levels of PAE (top 21): entries of 64 bits. */
  private walkLong(lin: Lin, access: number, update: boolean, top: 39 | 21, root: number): WalkResult {
    const { ram } = this;
    const r = this.result;
    const lo = linLo(lin);
    const hi = linHi(lin);
    const reserved = (top === 21 ? this.reservedHighPae : this.reservedHigh) | (this.paging.nxe ? 0 : 0x8000_0000);
    let table = root;
    for (let shift = top as number; ; shift -= 9) {
      const index = shift === 39 ? (hi >>> 7) & 511 : shift === 30 ? ((hi << 2) | (lo >>> 30)) & 511 : (lo >>> shift) & 511;
      const at = this.table(table + index * 8, lin, update);
      if (at < 0) return at === REFUSED ? this.refuseSecond() : this.fail(access, PF.present | PF.reserved);
      const w = (ram.base + at) >>> 2;
      const eLo = ram.u32[w]!;
      const eHi = ram.u32[w + 1]!;
      if (!(eLo & P)) return this.fail(access, 0);
      const large = shift !== 12 && (eLo & PS) !== 0;
      if (eHi & reserved || (large && (shift === 39 || (shift === 30 && !this.has1g)))) return this.fail(access, PF.present | PF.reserved);
      if (eHi >>> 31) r.nx = true;
      if (!(eLo & RW)) r.writable = false;
      if (!(eLo & US)) r.user = false;
      this.guestPath[this.depth] = table + index * 8;
      this.path[this.depth++] = w;
      const frame = (eHi & this.frameHigh) * 0x1_0000_0000 + ((eLo & ~0xfff) >>> 0);
      if (shift !== 12 && !large) {
        table = frame;
        continue;
      }
      r.shift = shift;
      r.global = (eLo & GLOBAL) !== 0;
      if (!large) r.maddr = (frame + (lo & 0xfff)) as Maddr;
      else {
        const size = shift === 21 ? 0x20_0000 : 0x4000_0000;
        // Bit 12 is PAT.
        if ((eLo & (size - 1) & ~0x1fff) !== 0) return this.fail(access, PF.present | PF.reserved);
        r.maddr = (frame - (frame % size) + ((lo >>> 0) & (size - 1))) as Maddr;
      }
      return this.finish(lin, access, eLo, w, update, (eHi >>> 27) & 15);
    }
  }

  private walk32(lin: Lin, access: number, update: boolean): WalkResult {
    const { ram } = this;
    const r = this.result;
    const lo = linLo(lin);
    let table = this.paging.root;
    for (let shift = 22; ; shift -= 10) {
      const entryAt = table + ((lo >>> shift) & 1023) * 4;
      const at = this.table(entryAt, lin, update);
      if (at < 0) return at === REFUSED ? this.refuseSecond() : this.fail(access, PF.present | PF.reserved);
      const w = (ram.base + at) >>> 2;
      const e = ram.u32[w]!;
      if (!(e & P)) return this.fail(access, 0);
      const large = shift === 22 && (e & PS) !== 0 && this.paging.pse;
      if (large && e & this.reserved4m) return this.fail(access, PF.present | PF.reserved);
      if (!(e & RW)) r.writable = false;
      if (!(e & US)) r.user = false;
      this.guestPath[this.depth] = entryAt;
      this.path[this.depth++] = w;
      if (shift === 22 && !large) {
        table = (e & ~0xfff) >>> 0;
        continue;
      }
      r.shift = shift;
      r.global = (e & GLOBAL) !== 0;
      r.maddr = (
        large ? ((e >>> 13) & 0xff) * 0x1_0000_0000 + ((e & 0xffc00000) >>> 0) + (lo & 0x3fffff) : ((e & ~0xfff) >>> 0) + (lo & 0xfff)
      ) as Maddr;
      return this.finish(lin, access, e, w, update, 0);
    }
  }

  /** Address in RAM of an entry of a paging structure, -1 where there is no RAM, REFUSED by the second level. */
  private table(at: number, lin: Lin | undefined, update: boolean): number {
    this.references++;
    const { second } = this;
    if (second === undefined) return this.physical.locate(at);
    const physical = second.translate(at, 0, lin, true, update);
    return physical < 0 ? REFUSED : this.physical.locate(physical);
  }
  /** The result's address through the second level; false when that refuses. */
  private throughSecond(lin: Lin, access: number, update: boolean): boolean {
    const r = this.result;
    const second = this.second!;
    const physical = second.translate(r.maddr, access, lin, false, update);
    if (physical < 0) return false;
    r.maddr = physical as Maddr;
    r.writable &&= second.writable;
    r.nx ||= !second.executable;
    r.shift = Math.min(r.shift, second.shift);
    return true;
  }
  /** Whether the accessed and dirty bits that an access is going to set may be written where they lie. */
  private mayMark(lin: Lin, isDirty: boolean): boolean {
    for (let i = 0; i < this.depth; i++) {
      const wanted = ACCESSED | (isDirty && i === this.depth - 1 ? DIRTY : 0);
      if ((this.ram.u32[this.path[i]!]! & wanted) === wanted) continue;
      if (this.second!.translate(this.guestPath[i]!, PF.write, lin, true, true) < 0) return false;
    }
    return true;
  }
  private refuseSecond(): WalkResult {
    this.result.ok = false;
    this.result.errorCode = SECOND_LEVEL;
    return this.result;
  }

  private fail(access: number, bits: number): WalkResult {
    const r = this.result;
    const p = this.paging;
    r.ok = false;
    const fetch = access & PF.fetch && (p.smep || (p.nxe && p.mode !== '32bit')) ? PF.fetch : 0;
    r.errorCode = bits | (access & (PF.write | PF.user)) | fetch;
    return r;
  }

  /** Rights (SDM Vol 3A, 4.6), then the accessed and dirty bits. `key` is the protection key of the leaf. */
  private finish(lin: Lin, access: number, leaf: number, leafAt: number, update: boolean, key: number): WalkResult {
    const r = this.result;
    const p = this.paging;
    let refused = false;
    if (access & PF.user) {
      refused = !r.user || (!!(access & PF.write) && !r.writable);
    } else {
      refused = !!(access & PF.write) && !r.writable && p.wp;
      if (r.user) refused ||= access & PF.fetch ? p.smep : p.smap && (!p.ac || !!(access & IMPLICIT));
    }
    if (access & PF.fetch && r.nx) refused = true;
    const keyed = p.pke && r.user && !(access & PF.fetch) ? this.keyRefuses(access, key) : 0;
    if (refused || keyed) return this.fail(access, PF.present | keyed);
    if (this.second !== undefined) {
      if (update && !this.mayMark(lin, (access & PF.write) !== 0)) return this.refuseSecond();
      if (!this.throughSecond(lin, access, update)) return this.refuseSecond();
    }
    if (update) {
      for (let i = 0; i < this.depth; i++) {
        const w = this.path[i]!;
        if (!(this.ram.u32[w]! & ACCESSED)) this.ram.u32[w] = this.ram.u32[w]! | ACCESSED;
      }
      if (access & PF.write && !(leaf & DIRTY)) this.ram.u32[leafAt] = this.ram.u32[leafAt]! | DIRTY;
    }
    r.ok = true;
    return r;
  }

  /** Protection keys, of data accesses to user-mode addresses (SDM Vol 3A, 4.6.2). Also takes `writable` from the result. */
  private keyRefuses(access: number, key: number): number {
    const p = this.paging;
    const rights = (p.pkru >>> (2 * key)) & 3;
    if (rights & 1) return PF.protectionKey;
    if (!(rights & 2) || !(access & PF.user || p.wp)) return 0;
    this.result.writable = false;
    return access & PF.write ? PF.protectionKey : 0;
  }

  /** Whether the last successful walk's leaf has its dirty bit set (so that writes need no walk). */
  get leafDirty(): boolean {
    return this.depth === 0 || (this.ram.u32[this.path[this.depth - 1]!]! & DIRTY) !== 0;
  }
}
