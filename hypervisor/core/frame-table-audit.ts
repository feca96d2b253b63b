// The audit: counts again, from the page tables, pins and holders that exist, what the frame table says it has counted.
//
// Every reference in the frame table is someone's: an entry of a validated page table, a pin, the allocation itself, a vCPU's state, a
// p2m or grant mapping. A discrepancy is a bug of ours, whatever a guest did to bring it about. Slow (it reads all tables): for tests.

import { DOMID_IO, DOMID_XEN } from '@ringworld/abi';
import type { Maddr, Mfn } from '../machine/addresses.ts';
import type { FrameTable } from './frame-table.ts';
import {
  NO_OWNER,
  PAGE_TYPE_NAMES,
  PGC_allocated,
  PGC_xen_heap,
  PGT_l1_page_table,
  PGT_l2_page_table,
  PGT_l4_page_table,
  PGT_none,
  PGT_pae_xen_l2,
  PGT_pinned,
  PGT_validated,
  PGT_writable_page,
} from './frame-types.ts';

/** Names the references that some part of the hypervisor holds: `type` is PGT_none for one without a type. */
export type Holder = (hold: (mfn: Mfn, type: number, why: string) => void) => void;

const PRESENT = 1;
const RW = 2;
const SUPERPAGE = 0x80;

/** One line per discrepancy; empty when the frame table is true. */
export function auditFrames(frames: FrameTable, holders: Iterable<Holder>): string[] {
  const audit = new Audit(frames);
  for (const holder of holders) holder((mfn, type, why) => audit.hold(mfn, type, why));
  for (let f = 0; f < frames.size; f++) audit.scan(f as Mfn);
  return audit.compare();
}

class Audit {
  private readonly frames: FrameTable;
  private readonly refs: Uint32Array;
  private readonly typeCount: Uint32Array;
  private readonly lines: string[] = [];

  constructor(frames: FrameTable) {
    this.frames = frames;
    this.refs = new Uint32Array(frames.size);
    this.typeCount = new Uint32Array(frames.size);
  }

  hold(mfn: Mfn, type: number, why: string): void {
    const { frames } = this;
    if (!frames.isValid(mfn)) {
      this.lines.push(`${why}: frame ${mfn.toString(16)} is not RAM`);
      return;
    }
    this.refs[mfn]!++;
    if (type === PGT_none) return;
    this.typeCount[mfn]!++;
    if (frames.type[mfn] !== type) {
      this.lines.push(`${why}: frame ${mfn.toString(16)} is ${PAGE_TYPE_NAMES[frames.type[mfn]!]}, used as ${PAGE_TYPE_NAMES[type]}`);
    }
  }

  scan(mfn: Mfn): void {
    const { frames } = this;
    const flags = frames.typeFlags[mfn]!;
    const type = frames.type[mfn]!;
    if (frames.owner[mfn] === DOMID_IO) {
      this.refs[mfn] = frames.refs[mfn]!;
      this.typeCount[mfn] = frames.typeCount[mfn]!;
      return;
    }
    if (frames.refFlags[mfn]! & PGC_allocated) this.refs[mfn]!++;
    if (frames.refFlags[mfn]! & PGC_xen_heap) this.typeCount[mfn]!++;
    if (flags & PGT_pinned) this.hold(mfn, type, `pin of ${mfn.toString(16)}`);
    if (type < PGT_l1_page_table || type > PGT_l4_page_table || frames.typeCount[mfn] === 0) return;
    if (!(flags & PGT_validated)) this.lines.push(`frame ${mfn.toString(16)}: in use as ${PAGE_TYPE_NAMES[type]} but not validated`);
    else this.scanTable(mfn, type, flags);
  }

  private scanTable(table: Mfn, type: number, flags: number): void {
    const { frames } = this;
    const owner = frames.domain(frames.owner[table]!);
    for (let i = 0; i < 512; i++) {
      if (type === PGT_l4_page_table && i >= 256 && i <= 271) continue;
      if (type === PGT_l2_page_table && flags & PGT_pae_xen_l2 && i >= 428) continue;
      const lo = frames.ram.read32((table * 4096 + i * 8) as Maddr);
      if (!(lo & PRESENT)) continue;
      const hi = frames.ram.read32((table * 4096 + i * 8 + 4) as Maddr);
      const mfn = ((hi & 0xf_ffff) * 0x10_0000 + (lo >>> 12)) as Mfn;
      const why = `${PAGE_TYPE_NAMES[type]} ${table.toString(16)}[${i}]`;
      if (type === PGT_l1_page_table) {
        if (!frames.isValid(mfn) || frames.owner[mfn] === DOMID_IO) {
          if (!owner?.ioMemPermitted?.(mfn)) this.lines.push(`${why}: maps I/O frame ${mfn.toString(16)}`);
          continue;
        }
        const target = frames.owner[mfn]!;
        const foreignExternal = target !== owner?.id && frames.domain(target)?.isTranslated;
        this.hold(mfn, lo & RW && !foreignExternal ? PGT_writable_page : PGT_none, why);
        if (target === NO_OWNER || (target === DOMID_XEN && lo & RW)) this.lines.push(`${why}: maps hypervisor frame ${mfn.toString(16)}`);
        continue;
      }
      if (lo & SUPERPAGE) this.lines.push(`${why}: superpage`);
      if (mfn === table) continue;
      const linear = frames.type[mfn] === type && !(lo & RW);
      this.hold(mfn, linear ? type : type - 1, why);
      if (frames.owner[mfn] !== frames.owner[table]) this.lines.push(`${why}: table ${mfn.toString(16)} is another domain's`);
    }
  }

  compare(): string[] {
    const { frames, lines } = this;
    const owned = new Map<number, number>();
    for (let f = 0; f < frames.size; f++) {
      const name = `frame ${f.toString(16)} (d${frames.owner[f]}, ${PAGE_TYPE_NAMES[frames.type[f]!]})`;
      if (frames.refs[f] !== this.refs[f]) lines.push(`${name}: refs ${frames.refs[f]}, found ${this.refs[f]}`);
      if (frames.typeCount[f] !== this.typeCount[f]) lines.push(`${name}: type count ${frames.typeCount[f]}, found ${this.typeCount[f]}`);
      if (frames.heap.isFree(f) && frames.owner[f] !== NO_OWNER) lines.push(`${name}: free but owned`);
      const domain = frames.domain(frames.owner[f]!);
      if (domain && !frames.isXenHeap(f as Mfn)) {
        owned.set(domain.id, (owned.get(domain.id) ?? 0) + 1);
        if (!domain.pageList.has(f as Mfn)) lines.push(`${name}: not on its owner's list`);
      }
    }
    for (const d of frames.registered()) {
      const n = owned.get(d.id) ?? 0;
      if (d.pageList.size !== n) lines.push(`d${d.id}: ${d.pageList.size} pages listed, ${n} owned`);
      if (d.totPages !== n) lines.push(`d${d.id}: totPages ${d.totPages}, ${n} owned`);
    }
    return lines;
  }
}
