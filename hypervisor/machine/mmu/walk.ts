// The page walk, in all paging modes (SDM Vol 3A, chapter 4), on the tables as they stand in RAM.
//
// One Walker belongs to one CPU; the result is an object reused by every walk. Entries are read as two halves: no BigInt here.

import type { Lin, Maddr } from '../addresses.ts';
import { linHi, linLo } from '../addresses.ts';
import { PF, type WalkResult } from '../cpu-api.ts';
import type { PhysicalMap } from './physical.ts';
import type { Ram } from './ram.ts';

const P = 1;
const RW = 2;
const US = 4;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const PS = 0x80;
const GLOBAL = 0x100;
/** Bits 51:46 of an entry, and 62:52 in PAE: this machine has 46 physical address bits. */
const HIGH_RESERVED = 0x000fc000;
const HIGH_RESERVED_PAE = 0x7ffffc00;

export type PagingMode = 'none' | '32bit' | 'pae' | '4level';

/** What the walk depends on beside the tables. */
export interface PagingState {
  mode: PagingMode;
  /** Root table, in bytes. */
  root: number;
  wp: boolean;
  nxe: boolean;
  pse: boolean;
  smep: boolean;
  smap: boolean;
  /** EFLAGS.AC, which lifts SMAP for explicit accesses. */
  ac: boolean;
}

export class Walker {
  private readonly ram: Ram;
  private readonly physical: PhysicalMap;
  readonly paging: PagingState = { mode: 'none', root: 0, wp: false, nxe: false, pse: false, smep: false, smap: false, ac: false };
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
  private readonly path = new Int32Array(4);
  private depth = 0;

  constructor(physical: PhysicalMap) {
    this.ram = physical.ram;
    this.physical = physical;
  }

  /**
   * Translates `lin` for an access (PF.write, PF.user, PF.fetch). `update` sets accessed and dirty bits, as an access does; without it
   * the tables are left alone.
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
        return r;
      case '4level':
        return this.walkLong(lin, access, update, 39, this.paging.root);
      case 'pae':
        return this.walkLong(lin, access, update, 30, this.paging.root);
      case '32bit':
        return this.walk32(lin, access, update);
    }
  }

  private walkLong(lin: Lin, access: number, update: boolean, top: 39 | 30, root: number): WalkResult {
    const { ram } = this;
    const r = this.result;
    const lo = linLo(lin);
    const hi = linHi(lin);
    const pae = top === 30;
    let table = root;
    for (let shift = top as number; ; shift -= 9) {
      const index =
        shift === 39 ? (hi >>> 7) & 511 : shift === 30 ? (pae ? (lo >>> 30) & 3 : ((hi << 2) | (lo >>> 30)) & 511) : (lo >>> shift) & 511;
      const at = this.physical.locate(table + index * 8);
      if (at < 0) return this.fail(access, PF.present | PF.reserved);
      const w = (ram.base + at) >>> 2;
      const eLo = ram.u32[w]!;
      const eHi = ram.u32[w + 1]!;
      if (!(eLo & P)) return this.fail(access, 0);
      const pdpteOfPae = pae && shift === 30;
      const nx = eHi >>> 31;
      if (eHi & (pae ? HIGH_RESERVED_PAE | HIGH_RESERVED : HIGH_RESERVED) || (nx && !this.paging.nxe)) {
        return this.fail(access, PF.present | PF.reserved);
      }
      if (!pdpteOfPae) {
        if (nx) r.nx = true;
        if (!(eLo & RW)) r.writable = false;
        if (!(eLo & US)) r.user = false;
        this.path[this.depth++] = w;
      }
      const leaf = shift === 12 || (shift !== 39 && !pdpteOfPae && (eLo & PS) !== 0);
      if (shift === 39 && eLo & PS) return this.fail(access, PF.present | PF.reserved);
      const frame = (eHi & 0x3fff) * 0x1_0000_0000 + ((eLo & ~0xfff) >>> 0);
      if (!leaf) {
        table = frame;
        continue;
      }
      r.shift = shift;
      r.global = (eLo & GLOBAL) !== 0;
      if (shift === 12) r.maddr = (frame + (lo & 0xfff)) as Maddr;
      else {
        const size = shift === 21 ? 0x20_0000 : 0x4000_0000;
        if ((eLo & (size - 1) & ~0x1fff) !== 0) /* bit 12 is PAT */ return this.fail(access, PF.present | PF.reserved);
        r.maddr = (frame - (frame % size) + ((lo >>> 0) & (size - 1))) as Maddr;
      }
      return this.finish(access, eLo, w, update);
    }
  }

  private walk32(lin: Lin, access: number, update: boolean): WalkResult {
    const { ram } = this;
    const r = this.result;
    const lo = linLo(lin);
    let table = this.paging.root;
    for (let shift = 22; ; shift -= 10) {
      const at = this.physical.locate(table + ((lo >>> shift) & 1023) * 4);
      if (at < 0) return this.fail(access, PF.present | PF.reserved);
      const w = (ram.base + at) >>> 2;
      const e = ram.u32[w]!;
      if (!(e & P)) return this.fail(access, 0);
      if (!(e & RW)) r.writable = false;
      if (!(e & US)) r.user = false;
      this.path[this.depth++] = w;
      const large = shift === 22 && (e & PS) !== 0 && this.paging.pse;
      if (shift === 22 && !large) {
        table = (e & ~0xfff) >>> 0;
        continue;
      }
      r.shift = shift;
      r.global = (e & GLOBAL) !== 0;
      // PSE-36: bits 20:13 of a 4 MiB entry are address bits 39:32.
      r.maddr = (
        large ? ((e >>> 13) & 0xff) * 0x1_0000_0000 + ((e & 0xffc00000) >>> 0) + (lo & 0x3fffff) : ((e & ~0xfff) >>> 0) + (lo & 0xfff)
      ) as Maddr;
      return this.finish(access, e, w, update);
    }
  }

  private fail(access: number, bits: number): WalkResult {
    const r = this.result;
    r.ok = false;
    const fetch = access & PF.fetch && (this.paging.nxe || this.paging.smep) ? PF.fetch : 0;
    r.errorCode = bits | (access & (PF.write | PF.user)) | fetch;
    return r;
  }

  /** Rights (SDM Vol 3A, 4.6), then the accessed and dirty bits. */
  private finish(access: number, leaf: number, leafAt: number, update: boolean): WalkResult {
    const r = this.result;
    const p = this.paging;
    let refused = false;
    if (access & PF.user) {
      refused = !r.user || (!!(access & PF.write) && !r.writable);
    } else {
      refused = !!(access & PF.write) && !r.writable && p.wp;
      if (r.user) refused ||= access & PF.fetch ? p.smep : p.smap && !p.ac;
    }
    if (access & PF.fetch && r.nx) refused = true;
    if (refused) return this.fail(access, PF.present);
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

  /** Whether the last successful walk's leaf has its dirty bit set (so that writes need no walk). */
  get leafDirty(): boolean {
    return this.depth === 0 || (this.ram.u32[this.path[this.depth - 1]!]! & DIRTY) !== 0;
  }
}
