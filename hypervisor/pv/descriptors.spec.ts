import { XEN_EINVAL } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { PGT_seg_desc_page } from '../core/frame-types.ts';
import type { Lin } from '../machine/addresses.ts';
import { CS, FS, RAX, RSP, SS } from '../machine/state.ts';
import { checkDescriptor } from './check-descriptor.ts';
import { setGdt } from './gdt.ts';
import { iret64 } from './iret.ts';
import { setLdt } from './ldt.ts';
import { createTestGuest, type TestGuest } from './testing.ts';

const check = (is32bit: boolean, lo: number, hi: number) => {
  const r = checkDescriptor(is32bit, lo, hi);
  return r && [r.lo >>> 0, r.hi >>> 0];
};

describe('a descriptor of a guest', () => {
  it('that is not present may say anything', () => {
    expect(check(false, 0x1234, 0x0000_0900)).toEqual([0x1234, 0x900]);
  });
  it("is raised to the ring of the guest's kernel", () => {
    expect(check(false, 0xffff, 0x00af_9a00)).toEqual([0xffff, 0x00af_fa00]);
    expect(check(true, 0xffff, 0x008f_9200)).toEqual([0xffff, 0x008f_b200]);
    expect(check(true, 0xffff, 0x008f_f200)).toEqual([0xffff, 0x008f_f200]);
  });
  it('may not be 64-bit code in a 32-bit guest, nor a TSS or an LDT in any', () => {
    expect(check(true, 0xffff, 0x00af_9a00)).toBeNull();
    expect(check(false, 0x67, 0x0000_8900)).toBeNull();
    expect(check(false, 0x67, 0x0000_8200)).toBeNull();
  });
  it('that stops short of the 32-on-64 M2P is stretched to 4 GiB', () => {
    expect(check(true, 0x67ff, 0x00cf_9a00)).toEqual([0xffff, 0x00cf_ba00]);
    expect(check(true, 0x57ff, 0x00cf_9a00)).toEqual([0x57ff, 0x00cf_ba00]);
  });
  it('that is a call gate faults always, and remembers its DPL in the selector', () => {
    expect(check(true, 0x0008_1234, 0x0000_ec00)).toEqual([0x000b_1234, 0x0000_8c00]);
    // A gate into the hypervisor's own segments is refused.
    expect(check(true, 0xe008_1234, 0x0000_ec00)).toBeNull();
    expect(check(true, 0x0008_1234, 0x0000_ece0)).toBeNull();
  });
});

/** A GDT in data page 8: entry 2 is 64-bit code, 3 data, 4 data with base 0x1000. The page must not be mapped writable for that. */
function withGdt(g: TestGuest, words: readonly (readonly [number, number])[], page = 8): number {
  words.forEach(([lo, hi], i) => {
    g.hv.ram.write32(g.maddr(page, i * 8), lo);
    g.hv.ram.write32(g.maddr(page, i * 8 + 4), hi);
  });
  g.hv.ram.write32(l1Entry(g, page), (g.hv.ram.read32(l1Entry(g, page)) & ~2) >>> 0);
  g.hv.frames.putPageAndType(g.frame(page));
  g.hv.frames.getPage(g.frame(page), 1);
  return setGdt(g.hv, g.vcpu, [g.frame(page)], 512);
}
/** The entry that maps a data page: the tables are linear in the test guest. */
function l1Entry(g: TestGuest, page: number) {
  const { ram } = g.hv;
  const entry = (table: number, i: number) => ram.read32((table * 4096 + i * 8) as never) >>> 12;
  const { guestTable } = g.vcpu.pv;
  const l2 = g.vcpu.domain.is32bit ? entry(guestTable, 0) : entry(entry(guestTable, 272), 0);
  const l1 = g.vcpu.domain.is32bit ? entry(l2, 0x1000_0000 >>> 21) : entry(l2, 0);
  return (l1 * 4096 + page * 8) as never;
}

const CODE64 = [0xffff, 0x00af_9a00] as const;
const DATA = [0xffff, 0x00cf_9200] as const;
const BASED = [0x1000_ffff, 0x00cf_9200] as const;
const NULL = [0, 0] as const;

describe('set_gdt', () => {
  it('takes a page of good descriptors, and the CPU loads from it', () => {
    // mov fs,ax; ud2
    const g = createTestGuest({ code: [0x8e, 0xe0, 0x0f, 0x0b] });
    g.vcpu.pv.trapTable[6] = { selector: 0xe033, address: g.lin(1) as Lin, dpl: 0, ifFlag: false };
    expect(withGdt(g, [NULL, NULL, CODE64, DATA, BASED])).toBe(0);
    expect(g.hv.frames.type[g.frame(8)]).toBe(PGT_seg_desc_page);
    g.enter();
    g.cpu.setReg(RAX, 0x23n);
    g.step();
    expect([g.cpu.selector(FS), g.cpu.segBase(FS)]).toEqual([0x23, 0x1000]);
    // The accessed bit is in the guest's page.
    expect(g.hv.ram.read8(g.maddr(8, 4 * 8 + 5)) & 1).toBe(1);
  });

  it('refuses a page that is mapped writable, or holds a TSS', () => {
    const g = createTestGuest();
    expect(setGdt(g.hv, g.vcpu, [g.frame(8)], 512)).toBe(-XEN_EINVAL);
    const h = createTestGuest();
    expect(withGdt(h, [NULL, [0x67, 0x0000_8900]])).toBe(-XEN_EINVAL);
    expect(h.vcpu.pv.gdtFrames).toEqual([]);
  });

  it("an iret to the guest's own code selector runs there", () => {
    const g = createTestGuest();
    expect(withGdt(g, [NULL, NULL, CODE64, DATA])).toBe(0);
    g.enter();
    g.cpu.setRegLin(RSP, g.lin(2));
    const frame = [0, 0, 0, 0, g.lin(5), 0x10, 0x202, g.lin(3), 0x18];
    frame.forEach((w, i) => {
      g.vcpu.guest.write64(g.lin(2, i * 8), w | 0, Math.floor(w / 0x1_0000_0000));
    });
    iret64(g.hv, g.vcpu);
    expect([g.cpu.selector(CS), g.cpu.selector(SS), g.cpu.rip, g.cpu.cpl]).toEqual([0x13, 0x1b, g.lin(5), 3]);
  });
});

describe('the LDT', () => {
  it('is mapped when the CPU first misses it', () => {
    const g = createTestGuest({ code: [0x8e, 0xe0, 0x0f, 0x0b] });
    g.vcpu.pv.trapTable[6] = { selector: 0xe033, address: g.lin(1) as Lin, dpl: 0, ifFlag: false };
    withGdt(g, [NULL, BASED], 9);
    g.enter();
    setLdt(g.hv, g.vcpu, g.lin(9) as Lin, 512);
    g.cpu.setReg(RAX, 0xfn);
    g.step();
    expect(g.cpu.rip).toBe(g.lin(0));
    expect(g.vcpu.domain.statistics.get('LDT page mapped')).toBe(1);
    g.step();
    expect([g.cpu.selector(FS), g.cpu.segBase(FS), g.cpu.rip]).toEqual([0xf, 0x1000, g.lin(1)]);
  });

  it("that the guest's tables do not map is a page fault at its own address", () => {
    const g = createTestGuest({ code: [0x8e, 0xe0] });
    g.vcpu.pv.trapTable[14] = { selector: 0xe033, address: g.lin(1) as Lin, dpl: 0, ifFlag: false };
    g.enter();
    setLdt(g.hv, g.vcpu, 0x40_0000 as Lin, 512);
    g.cpu.setReg(RAX, 0xfn);
    g.step();
    expect(g.cpu.rip).toBe(g.lin(1));
    expect(g.vcpu.pv.ctrlreg[2]).toBe(0x40_0008n);
  });
});

describe('a call gate of a 32-bit guest', () => {
  const CODE1 = [0xffff, 0x00cf_ba00] as const;
  const DATA1 = [0xffff, 0x00cf_b200] as const;
  const CODE3 = [0xffff, 0x00cf_fa00] as const;
  const DATA3 = [0xffff, 0x00cf_f200] as const;

  it('leads from ring 3 to the kernel with the parameters that it names', () => {
    // call far 0x2b:0
    const g = createTestGuest({ is32bit: true, code: [0x9a, 0, 0, 0, 0, 0x2b, 0], regs: { cs: 0xe02b, ss: 0xe033, ds: 0xe033 } });
    const target = g.lin(5);
    const gate = [(0x08 << 16) | (target & 0xffff), (target & 0xffff_0000) | 0xec01] as const;
    expect(withGdt(g, [NULL, CODE1, DATA1, CODE3, DATA3, gate])).toBe(0);
    g.vcpu.pv.kernelSs = 0x11;
    g.enter();
    g.cpu.setRegLin(RSP, g.lin(4, 0x100));
    g.vcpu.guest.write32(g.lin(4, 0x100), 0xabcd);
    g.step();
    expect([g.cpu.selector(CS), g.cpu.cpl, g.cpu.rip, g.cpu.selector(SS)]).toEqual([0x09, 1, target, 0x11]);
    const sp = g.cpu.regLo(RSP) >>> 0;
    expect([0, 1, 2, 3, 4].map((i) => g.read32(sp + i * 4))).toEqual([g.lin(0, 7), 0xe02b, 0xabcd, g.lin(4, 0x100), 0xe033]);
  });

  it("that is not for the caller's ring is #GP with its selector", () => {
    const g = createTestGuest({ is32bit: true, code: [0x9a, 0, 0, 0, 0, 0x2b, 0], regs: { cs: 0xe02b, ss: 0xe033, ds: 0xe033 } });
    const gate = [(0x08 << 16) | 0, 0xac00] as const;
    withGdt(g, [NULL, CODE1, DATA1, CODE3, DATA3, gate]);
    g.vcpu.pv.trapTable[13] = { selector: 0xe019, address: g.lin(1) as Lin, dpl: 0, ifFlag: false };
    g.enter();
    g.step();
    expect([g.cpu.rip, g.read32(g.cpu.regLo(RSP) >>> 0)]).toEqual([g.lin(1), 0x28]);
  });
});
