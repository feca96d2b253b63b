import { DOMID_IO, DOMID_XEN, XEN_E2BIG, XEN_EINVAL } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import type { Maddr, Mfn } from '../machine/addresses.ts';
import { auditFrames } from './frame-table-audit.ts';
import { createTestFrames, createTestOwner } from './frame-table-testing.ts';
import { NO_OWNER, PGT_l1_page_table, PGT_writable_page } from './frame-types.ts';
import { INVALID_MFN } from './ids.ts';

describe('the frame table', () => {
  it('gives guests the lowest frames above the first MiB, in order and zeroed', () => {
    const { frames } = createTestFrames();
    const d = createTestOwner(frames, 1);
    expect(frames.allocForDomain(d)).toBe(0x100);
    expect(frames.allocForDomain(d)).toBe(0x101);
    expect(frames.allocForDomain(d, 9)).toBe(0x200);
    expect(frames.allocForDomain(d)).toBe(0x102);
    expect(d.totPages).toBe(515);
    expect(frames.owner[0]).toBe(DOMID_IO);
    expect(auditFrames(frames, [])).toEqual([]);
  });

  it('finds a freed frame again before higher ones', () => {
    const { frames } = createTestFrames();
    const d = createTestOwner(frames, 1);
    const [a] = [frames.allocForDomain(d), frames.allocForDomain(d), frames.allocForDomain(d)];
    frames.ram.write32((a * 4096) as Maddr, 0x1234);
    frames.putAllocated(a);
    expect(d.totPages).toBe(2);
    expect(frames.owner[a]).toBe(NO_OWNER);
    expect(frames.allocForDomain(d)).toBe(a);
    expect(frames.ram.read32((a * 4096) as Maddr)).toBe(0);
  });

  it('keeps a freed frame until its last reference is gone', () => {
    const { frames } = createTestFrames();
    const d = createTestOwner(frames, 1);
    const f = frames.allocForDomain(d);
    expect(frames.getPage(f, 1)).toBe(true);
    frames.putAllocated(f);
    expect(frames.owner[f]).toBe(1);
    frames.putPage(f);
    expect(frames.owner[f]).toBe(NO_OWNER);
  });

  it('refuses references to frames of others, of the hypervisor, and outside memory', () => {
    const { frames } = createTestFrames();
    createTestOwner(frames, 1);
    const b = createTestOwner(frames, 2);
    expect(frames.getPage(frames.allocForDomain(b), 1)).toBe(false);
    expect(frames.getPage(frames.allocXen(), DOMID_XEN)).toBe(false);
    expect(frames.getPage(frames.size, 1)).toBe(false);
    expect(frames.getPage(-1, 1)).toBe(false);
    expect(frames.getPage(0x900_0000_0000, 1)).toBe(false);
  });

  it('stops a domain at its limit', () => {
    const { frames } = createTestFrames();
    const d = createTestOwner(frames, 1, { maxPages: 2 });
    expect(frames.allocForDomain(d)).not.toBe(INVALID_MFN);
    expect(frames.allocForDomain(d, 1)).toBe(INVALID_MFN);
    const f = frames.alloc(1);
    expect(frames.assign(d, f, 1)).toBe(-XEN_E2BIG);
    frames.giveBack(f);
    frames.giveBack((f + 1) as Mfn);
    expect(auditFrames(frames, [])).toEqual([]);
  });

  it('runs out of memory cleanly, and finds all of it again', () => {
    const { frames } = createTestFrames(4 << 20);
    const d = createTestOwner(frames, 1);
    const free = frames.heap.freeFrames;
    const got: Mfn[] = [];
    for (let f = frames.allocForDomain(d); f !== INVALID_MFN; f = frames.allocForDomain(d)) got.push(f);
    expect(got.length).toBe(free);
    expect(frames.allocXen()).toBe(INVALID_MFN);
    for (const f of got) frames.putAllocated(f);
    expect(frames.heap.freeFrames).toBe(free);
    expect(frames.allocForDomain(d, 8)).toBe(0x100);
  });

  it('counts uses as writable and lets nothing else in meanwhile', () => {
    const { frames } = createTestFrames();
    const d = createTestOwner(frames, 1);
    const f = frames.allocForDomain(d);
    expect(frames.getType(f, PGT_writable_page)).toBe(0);
    expect(frames.getType(f, PGT_writable_page)).toBe(0);
    expect(frames.typeCount[f]).toBe(2);
    expect(frames.getType(f, PGT_l1_page_table)).toBe(-XEN_EINVAL);
    frames.putType(f);
    frames.putType(f);
    expect(frames.typeCount[f]).toBe(0);
  });

  it('flushes the TLBs before a frame with stale writable translations serves another purpose, and not otherwise', () => {
    const { frames, flushes } = createTestFrames();
    const d = createTestOwner(frames, 1);
    const f = frames.allocForDomain(d);
    frames.getType(f, PGT_writable_page);
    expect(flushes()).toBe(0);
    frames.putType(f);
    frames.getType(f, PGT_writable_page);
    frames.putType(f);
    expect(flushes()).toBe(0);
    frames.putAllocated(f);
    frames.allocForDomain(d);
    expect(flushes()).toBe(1);
    const g = frames.allocForDomain(d);
    frames.putAllocated(g);
    frames.noteFlushed();
    expect(frames.allocForDomain(d)).toBe(g);
    expect(flushes()).toBe(1);
  });

  it('keeps the machine-to-physical table in both widths and forgets freed frames', () => {
    const { frames } = createTestFrames();
    const d = createTestOwner(frames, 1);
    const f = frames.allocForDomain(d);
    expect(frames.m2p.pfn(f)).toBe(-1);
    frames.m2p.set(f, 0x1234, 0);
    expect(frames.m2p.pfn(f)).toBe(0x1234);
    expect(frames.ram.read32((frames.m2p.compat * 4096 + f * 4) as Maddr)).toBe(0x1234);
    frames.putAllocated(f);
    expect(frames.m2p.pfn(f)).toBe(-1);
  });

  it('takes a page from a domain only while nothing else refers to it', () => {
    const { frames } = createTestFrames();
    const d = createTestOwner(frames, 1);
    const f = frames.allocForDomain(d);
    frames.getPage(f, 1);
    expect(frames.steal(d, f)).toBe(-XEN_EINVAL);
    frames.putPage(f);
    expect(frames.steal(d, f)).toBe(0);
    expect(d.totPages).toBe(0);
    const e = createTestOwner(frames, 2);
    expect(frames.assign(e, f)).toBe(0);
    expect(auditFrames(frames, [])).toEqual([]);
  });

  it('has an audit that notices a lost reference', () => {
    const { frames } = createTestFrames();
    const d = createTestOwner(frames, 1);
    const f = frames.allocForDomain(d);
    frames.getPage(f, 1);
    expect(auditFrames(frames, [])).toHaveLength(1);
    expect(auditFrames(frames, [(hold) => hold(f, 0, 'test')])).toEqual([]);
  });
});
