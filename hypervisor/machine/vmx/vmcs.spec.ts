// The VMCS region: what is written is read, in every width, and nothing else changes.

import { describe, expect, it } from 'vitest';
import type { Maddr } from '../addresses.ts';
import { Ram } from '../mmu/ram.ts';
import { ALL_FIELDS, fieldOf, type Narrow, VMCS, type Wide } from './fields.ts';
import { Vmcs } from './vmcs.ts';

const AT = 0x3000 as Maddr;
const create = (): Vmcs => new Vmcs(new Ram(0x10000, 0), AT);

describe('a VMCS region', () => {
  it('keeps every field apart from every other', () => {
    const v = create();
    for (const f of ALL_FIELDS) v.setField(f, f.encoding * 0x10001, f.encoding ^ 0x5555);
    for (const f of ALL_FIELDS) {
      const lo = (f.encoding * 0x10001) >>> 0;
      // The high half came after the whole.
      const hi = f.width === 64 ? (f.isHigh ? 0 : ((f.encoding + 1) * 0x10001) >>> 0) : f.width === 'natural' ? f.encoding ^ 0x5555 : 0;
      expect([f.name, v.fieldLo(f), v.fieldHi(f)]).toEqual([f.name, f.width === 16 ? lo & 0xffff : lo, hi]);
    }
  });
  it('stays within its page', () => {
    const v = create();
    for (const f of ALL_FIELDS) v.setField(f, -1, -1);
    expect(v.ram.readBytes(0x2000 as Maddr, 4096).every((b) => b === 0)).toBe(true);
    expect(v.ram.readBytes(0x4000 as Maddr, 4096).every((b) => b === 0)).toBe(true);
  });
  it('has revision, shadow indicator, abort indicator and launch state beside the data', () => {
    const v = create();
    v.format(0x1234, true);
    v.abort = 4;
    v.launched = true;
    expect([v.revision, v.isShadow, v.abort, v.launched]).toEqual([0x1234, true, 4, true]);
    expect(v.ram.read32(AT)).toBe(0x8000_1234);
    for (const f of ALL_FIELDS) expect([f.name, v.fieldLo(f), v.fieldHi(f)]).toEqual([f.name, 0, 0]);
    v.format(0x1235);
    v.launched = false;
    expect([v.revision, v.isShadow, v.abort, v.launched]).toEqual([0x1235, false, 4, false]);
  });
  it('gives addresses as signed numbers, halves unsigned', () => {
    const v = create();
    for (const [n, big] of [
      [0, 0n],
      [0x7fff_ffff_ffff, 0x7fff_ffff_ffffn],
      [-0x8000_0000_0000, 0xffff_8000_0000_0000n],
      [-1, 0xffff_ffff_ffff_ffffn],
      [0xffff_ffff, 0xffff_ffffn],
    ] as const) {
      v.writeLin(VMCS.GUEST_RIP, n);
      expect(v.big(VMCS.GUEST_RIP)).toBe(big);
      expect(v.readLin(VMCS.GUEST_RIP)).toBe(n);
      v.setBig(VMCS.EPT_POINTER, big);
      expect(v.readLin(VMCS.EPT_POINTER)).toBe(n);
      expect([v.lo(VMCS.EPT_POINTER), v.hi(VMCS.EPT_POINTER)]).toEqual([Number(big & 0xffff_ffffn), Number(big >> 32n)]);
    }
    v.setBig(VMCS.GUEST_RSP, 0x8000_0000_0000n);
    expect(v.readLin(VMCS.GUEST_RSP)).toBe(0x8000_0000_0000);
    v.write32(VMCS.EXCEPTION_BITMAP, -1);
    expect(v.read32(VMCS.EXCEPTION_BITMAP)).toBe(0xffff_ffff);
  });
  it('is the same by encoding as by field', () => {
    const v = create();
    for (const f of ALL_FIELDS.filter((x) => !x.isHigh)) {
      const e = f.encoding;
      if (f.width === 16 || f.width === 32) {
        v.write32(e as Narrow, 0x1234);
        expect(v.fieldLo(fieldOf(e)!)).toBe(0x1234);
      } else {
        v.setHalves(e as Wide, 0x89ab_cdef, 0x0123_4567);
        expect([v.fieldLo(f), v.fieldHi(f)]).toEqual([0x89ab_cdef, 0x0123_4567]);
      }
    }
  });
});
