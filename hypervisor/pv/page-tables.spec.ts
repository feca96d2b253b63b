import { MMU_NORMAL_PT_UPDATE, MMU_PT_UPDATE_PRESERVE_AD, XEN_EBUSY, XEN_EINVAL, XEN_EPERM } from '@ringworld/abi';
import { beforeEach, describe, expect, it } from 'vitest';
import type { FrameTable } from '../core/frame-table.ts';
import { auditFrames } from '../core/frame-table-audit.ts';
import { createTestFrames, createTestOwner, type TestOwner } from '../core/frame-table-testing.ts';
import { PGT_l1_page_table, PGT_l2_page_table, PGT_l3_page_table, PGT_l4_page_table, PGT_writable_page } from '../core/frame-types.ts';
import type { Maddr, Mfn } from '../machine/addresses.ts';
import { updateEntry } from './mm-entries.ts';
import { PageTables } from './page-tables.ts';

const P = 1;
const RW = 2;
const USER = 4;
const PSE = 0x80;

let frames: FrameTable;
let pt: PageTables;
let d: TestOwner;

const alloc = (owner = d): Mfn => frames.allocForDomain(owner);
const put = (table: Mfn, i: number, target: number, flags: number, hi = 0): void => pt.write(table, i, (target << 12) | flags, hi);
const update = (table: Mfn, i: number, target: number, flags: number, cmd = MMU_NORMAL_PT_UPDATE, hi = 0): number =>
  updateEntry(pt, (table * 4096 + i * 8) as Maddr, (target << 12) | flags, hi, cmd, d, d.id);
const audit = (): string[] => auditFrames(frames, []);

interface Tree {
  l4: Mfn;
  l3: Mfn;
  l2: Mfn;
  l1: Mfn;
  data: Mfn;
}
/** L4[0] -> L3[0] -> L2[0] -> L1; L1[0] maps data writable, L1[1..3] the tables read-only. */
function tree(): Tree {
  const [l4, l3, l2, l1, data] = [alloc(), alloc(), alloc(), alloc(), alloc()];
  put(l4, 0, l3, P | RW | USER);
  put(l3, 0, l2, P | RW | USER);
  put(l2, 0, l1, P | RW | USER);
  put(l1, 0, data, P | RW | USER);
  put(l1, 1, l1, P | USER);
  put(l1, 2, l2, P);
  put(l1, 3, l3, P);
  return { l4, l3, l2, l1, data };
}

beforeEach(() => {
  ({ frames } = createTestFrames());
  pt = new PageTables(frames);
  d = createTestOwner(frames, 1);
});

describe('page tables of a 64-bit guest', () => {
  it('are counted when pinned and given back when unpinned', () => {
    const t = tree();
    expect(pt.pin(t.l4, PGT_l4_page_table, 1)).toBe(0);
    expect([t.l4, t.l3, t.l2, t.l1, t.data].map((f) => frames.type[f])).toEqual([4, 3, 2, 1, PGT_writable_page]);
    expect(frames.refs[t.l1]).toBe(3);
    expect(audit()).toEqual([]);
    expect(pt.pin(t.l4, PGT_l4_page_table, 1)).toBe(-XEN_EINVAL);
    expect(pt.unpin(t.l4, 1)).toBe(0);
    expect(pt.unpin(t.l4, 1)).toBe(-XEN_EINVAL);
    expect([t.l4, t.l3, t.l2, t.l1, t.data].map((f) => frames.typeCount[f])).toEqual([0, 0, 0, 0, 0]);
    expect(frames.refs[t.data]).toBe(1);
    expect(audit()).toEqual([]);
  });

  it('get the user bit on all entries; kernel pages are marked by bit 52 and user pages are global', () => {
    const t = tree();
    pt.pin(t.l4, PGT_l4_page_table, 1);
    expect(pt.lo(t.l1, 2) & (USER | 0x100)).toBe(USER);
    expect(pt.hi(t.l1, 2)).toBe(1 << 20);
    expect(pt.lo(t.l1, 0) & (USER | 0x100)).toBe(USER | 0x100);
    expect(pt.hi(t.l1, 0)).toBe(0);
  });

  it('have their hypervisor slots written over, whatever the guest left there', () => {
    const t = tree();
    for (let i = 256; i < 272; i++) put(t.l4, i, t.l3, P | RW | USER);
    pt.pin(t.l4, PGT_l4_page_table, 1);
    for (let i = 256; i < 272; i++) expect(pt.lo(t.l4, i) & P).toBe(0);
    expect(update(t.l4, 256, t.l3, P | RW)).toBe(-XEN_EINVAL);
    expect(audit()).toEqual([]);
  });

  const bad: [string, (t: Tree) => void][] = [
    ["another domain's frame", (t) => put(t.l1, 7, alloc(createTestOwner(frames, 2)), P)],
    ["a frame of the hypervisor's", (t) => put(t.l1, 7, frames.allocXen(), P)],
    ['the machine-to-physical table', (t) => put(t.l1, 7, frames.m2p.native, P)],
    ['a frame outside memory', (t) => put(t.l1, 7, frames.size + 5, P)],
    ['the I/O space below 1 MiB', (t) => put(t.l1, 7, 0xb8, P | RW)],
    ['a frame above 4 GiB', (t) => put(t.l1, 7, t.data, P, 1)],
    ['a page table, writable', (t) => put(t.l1, 7, t.l2, P | RW)],
    ['itself, writable', (t) => put(t.l1, 7, t.l1, P | RW)],
    ['a superpage in L2', (t) => put(t.l2, 7, 0x200, P | PSE)],
    ['a superpage in L3', (t) => put(t.l3, 7, 0x200, P | PSE)],
    ['PCD', (t) => put(t.l1, 7, t.data, P | 0x10)],
    ['PAT', (t) => put(t.l1, 7, t.data, P | 0x80)],
    ['GLOBAL in L2', (t) => put(t.l2, 7, t.l1, P | 0x100)],
    ['a data page as a table', (t) => put(t.l2, 7, t.data, P | RW)],
    ['an L3 as an L1', (t) => put(t.l2, 7, t.l3, P)],
  ];
  it.each(bad)('are refused when they hold %s, and nothing stays counted', (_what, spoil) => {
    const t = tree();
    spoil(t);
    expect(pt.pin(t.l4, PGT_l4_page_table, 1)).toBeLessThan(0);
    expect([t.l4, t.l3, t.l2, t.l1, t.data].map((f) => frames.typeCount[f])).toEqual([0, 0, 0, 0, 0]);
    expect(audit()).toEqual([]);
  });

  it.each(bad)('in use refuse an update to %s', (_what, spoil) => {
    const t = tree();
    pt.pin(t.l4, PGT_l4_page_table, 1);
    const before = frames.ram.readBytes(0 as Maddr, frames.ram.size);
    spoil(t);
    // Takes what was written by hand back, then asks for it properly.
    const table = [t.l1, t.l2, t.l3].find((f) => pt.lo(f, 7) & P)!;
    const [lo, hi] = [pt.lo(table, 7), pt.hi(table, 7)];
    pt.write(table, 7, 0, 0);
    expect(updateEntry(pt, (table * 4096 + 56) as Maddr, lo, hi, MMU_NORMAL_PT_UPDATE, d, 1)).toBeLessThan(0);
    expect(pt.lo(table, 7)).toBe(0);
    expect(Buffer.compare(before.subarray(t.l1 * 4096, t.l1 * 4096 + 4096), frames.ram.readBytes((t.l1 * 4096) as Maddr, 4096))).toBe(0);
    expect(audit()).toEqual([]);
  });

  it('let a page become a table only after its last writable mapping is gone', () => {
    const t = tree();
    pt.pin(t.l4, PGT_l4_page_table, 1);
    expect(pt.pin(t.data, PGT_l1_page_table, 1)).toBe(-XEN_EINVAL);
    expect(update(t.l1, 0, t.data, P | USER)).toBe(0);
    expect(pt.pin(t.data, PGT_l1_page_table, 1)).toBe(0);
    expect(update(t.l1, 0, t.data, P | RW | USER)).toBe(-XEN_EBUSY);
    expect(audit()).toEqual([]);
  });

  it('answer with -EPERM for MMIO and -EBUSY for foreign frames', () => {
    const t = tree();
    pt.pin(t.l4, PGT_l4_page_table, 1);
    expect(update(t.l1, 9, 0xfee00, P | RW)).toBe(-XEN_EPERM);
    expect(update(t.l1, 9, 0xb8, P)).toBe(-XEN_EPERM);
    expect(update(t.l1, 9, alloc(createTestOwner(frames, 2)), P)).toBe(-XEN_EBUSY);
    expect(update(t.l2, 9, 0x200, P | PSE)).toBe(-XEN_EINVAL);
  });

  it('change flags without counting, and keep accessed and dirty bits when asked', () => {
    const t = tree();
    pt.pin(t.l4, PGT_l4_page_table, 1);
    pt.write(t.l1, 0, pt.lo(t.l1, 0) | 0x60, pt.hi(t.l1, 0));
    expect(update(t.l1, 0, t.data, P | RW | USER | 0x200, MMU_PT_UPDATE_PRESERVE_AD)).toBe(0);
    expect(pt.lo(t.l1, 0) & 0xfff).toBe(P | RW | USER | 0x100 | 0x200 | 0x60);
    expect(update(t.l1, 0, t.data, P | RW | USER)).toBe(0);
    expect(pt.lo(t.l1, 0) & 0x60).toBe(0);
    expect(audit()).toEqual([]);
  });

  it('take and drop whole branches', () => {
    const t = tree();
    pt.pin(t.l4, PGT_l4_page_table, 1);
    expect(update(t.l3, 0, 0, 0)).toBe(0);
    expect(frames.typeCount[t.l2]).toBe(0);
    expect(frames.typeCount[t.data]).toBe(0);
    expect(audit()).toEqual([]);
    expect(update(t.l3, 5, t.l2, P | RW | USER)).toBe(0);
    expect(frames.typeCount[t.data]).toBe(1);
    expect(audit()).toEqual([]);
  });

  it('may map themselves, and each other read-only without chains', () => {
    const t = tree();
    const [b, c] = [alloc(), alloc()];
    put(t.l4, 300, t.l4, P);
    expect(pt.pin(t.l4, PGT_l4_page_table, 1)).toBe(0);
    expect(pt.pin(b, PGT_l4_page_table, 1)).toBe(0);
    expect(pt.pin(c, PGT_l4_page_table, 1)).toBe(0);
    expect(update(b, 301, t.l4, P | RW)).toBe(-XEN_EINVAL);
    expect(update(b, 301, t.l4, P)).toBe(0);
    expect(frames.linear[b]).toBe(1);
    expect(frames.linear[t.l4]).toBe(-1);
    expect(audit()).toEqual([]);
    expect(update(c, 301, b, P)).toBe(-XEN_EINVAL);
    expect(update(t.l4, 302, c, P)).toBe(-XEN_EINVAL);
    expect(update(b, 301, 0, 0)).toBe(0);
    expect(frames.linear[b]).toBe(0);
    for (const f of [t.l4, b, c]) expect(pt.unpin(f, 1)).toBe(0);
    expect(audit()).toEqual([]);
  });

  it('are plain memory to mmu_update while they are not in use', () => {
    const t = tree();
    expect(update(t.l1, 9, 0xfee00, P | RW)).toBe(0);
    expect(pt.lo(t.l1, 9) >>> 0).toBe(0xfee00003 >>> 0);
    expect(audit()).toEqual([]);
  });
});

describe('page tables of a 32-bit PAE guest', () => {
  beforeEach(() => {
    d.is32bit = true;
  });
  function paeTree(): Tree & { l2x: Mfn } {
    const [l3, l2, l2x, l1, data] = [alloc(), alloc(), alloc(), alloc(), alloc()];
    put(l3, 0, l2, P);
    put(l3, 3, l2x, P);
    put(l2, 0, l1, P | RW);
    put(l1, 0, data, P | RW);
    return { l4: l3, l3, l2, l2x, l1, data };
  }

  it('get the hypervisor slots in the L2 of slot 3, and no user bits in L1', () => {
    const t = paeTree();
    expect(pt.pin(t.l3, PGT_l3_page_table, 1)).toBe(0);
    expect(pt.lo(t.l2x, 428)).toBe(frames.m2p.compatL2Entry(0) >>> 0);
    expect(pt.lo(t.l1, 0) & 0xfff).toBe(P | RW);
    expect(pt.lo(t.l3, 0) & 0xfff).toBe(P | RW | USER);
    expect(update(t.l2x, 428, t.l1, P | RW)).toBe(-XEN_EPERM);
    expect(update(t.l2x, 427, t.l1, P | RW)).toBe(0);
    expect(update(t.l3, 3, 0, 0)).toBe(-XEN_EINVAL);
    expect(audit()).toEqual([]);
    expect(pt.unpin(t.l3, 1)).toBe(0);
    expect(pt.lo(t.l3, 0) & 0xfff).toBe(P);
    expect(frames.typeFlags[t.l2x]).toBe(0);
    expect(audit()).toEqual([]);
  });

  it('must have that L2, unshared', () => {
    const t = paeTree();
    put(t.l3, 3, 0, 0);
    expect(pt.pin(t.l3, PGT_l3_page_table, 1)).toBe(-XEN_EINVAL);
    put(t.l3, 3, t.l2, P);
    expect(pt.pin(t.l3, PGT_l3_page_table, 1)).toBe(-XEN_EINVAL);
    expect(pt.pin(t.l2x, PGT_l2_page_table, 1)).toBe(0);
    put(t.l3, 3, t.l2x, P);
    expect(pt.pin(t.l3, PGT_l3_page_table, 1)).toBe(-XEN_EINVAL);
    expect(audit()).toEqual([]);
  });

  it('have nothing beyond their four L3 entries', () => {
    const t = paeTree();
    put(t.l3, 4, t.data, P | RW);
    expect(pt.pin(t.l3, PGT_l3_page_table, 1)).toBe(0);
    expect(pt.lo(t.l3, 4)).toBe(0);
    expect(pt.pin(alloc(), PGT_l4_page_table, 1)).toBe(-XEN_EINVAL);
    expect(audit()).toEqual([]);
  });
});
