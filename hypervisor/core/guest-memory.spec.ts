import { xen_feature_info } from '@ringworld/abi';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Gfn, Maddr, Mfn } from './ids.ts';
import { P2M_TYPES } from './p2m.ts';
import { type Bench, createBench, createScriptedDomain, createTestDomain } from './testing.ts';
import type { Vcpu } from './vcpu.ts';

const P = 1;
const RW = 2;
const US = 4;
const PSE = 0x80;
let bench: Bench;
let vcpu: Vcpu;
let tables: Mfn[];

const set = (table: number, index: number, mfn: number, flags: number) => {
  bench.hv.ram.write32((table * 4096 + index * 8) as Maddr, mfn * 4096 + flags);
  bench.hv.ram.write32((table * 4096 + index * 8 + 4) as Maddr, 0);
};
const entry = (table: number, index: number) => bench.hv.ram.read32((table * 4096 + index * 8) as Maddr);
const frame = (): Mfn => bench.hv.frames.allocXen();

beforeEach(() => {
  bench = createBench();
  vcpu = createScriptedDomain(bench.hv).vcpus[0]!;
  tables = [frame(), frame(), frame(), frame()];
});

/** Maps lin (below 2^47, or negative) in a 64-bit guest. */
function map(lin: number, mfn: number, flags: number): void {
  const [l1, l2, l3, l4] = tables as [Mfn, Mfn, Mfn, Mfn];
  const index = (shift: number) => ((Math.floor(lin / 2 ** shift) % 512) + 512) % 512;
  set(l4, index(39), l3, P | RW | US);
  set(l3, index(30), l2, P | RW | US);
  set(l2, index(21), l1, P | RW | US);
  set(l1, index(12), mfn, flags);
  vcpu.pv.guestTable = l4;
}

describe('memory of a PV guest', () => {
  it('copies over page boundaries, in the upper half too', () => {
    for (const base of [0x1000, -0x7700_0000_0000, -0x1000 * 4]) {
      const pages = [frame(), frame()] as const;
      map(base, pages[0], P | RW);
      map(base + 4096, pages[1], P | RW);
      const bytes = Uint8Array.from({ length: 300 }, (_, i) => i & 255);
      expect(vcpu.guest.copyTo(base + 4000, bytes)).toBe(true);
      expect(vcpu.guest.copyFrom(base + 4000, 300)).toEqual(bytes);
      expect(bench.hv.ram.read8((pages[1] * 4096) as Maddr)).toBe(96);
      expect(vcpu.guest.read32(base + 4094)).toBe(0x61605f5e);
      expect(vcpu.guest.write64(base + 4092, 1, -1)).toBe(true);
      expect(vcpu.guest.read64(base + 4092)).toBe(true);
      expect([vcpu.guest.lo, vcpu.guest.hi]).toEqual([1, -1]);
    }
  });

  it('checks presence and the writable bit of every level, not the user bit', () => {
    map(0x5000, frame(), P);
    expect(vcpu.guest.read32(0x5000)).toBe(0);
    expect(vcpu.guest.write32(0x5000, 1)).toBe(false);
    map(0x5000, frame(), P | RW);
    expect(vcpu.guest.write32(0x5000, 1)).toBe(true);
    set(tables[2]!, 0, tables[1]!, P | US);
    expect(vcpu.guest.write32(0x5000, 1)).toBe(false);
    expect(vcpu.guest.read32(0x5000)).toBe(1);
    expect(vcpu.guest.copyFrom(0x5ff0, 17)).toBeNull();
    expect(vcpu.guest.copyTo(0x5ff0, new Uint8Array(17))).toBe(false);
  });

  it('sets accessed and dirty bits as the CPU would', () => {
    map(0x5000, frame(), P | RW);
    vcpu.guest.read32(0x5000);
    expect(entry(tables[0]!, 5) & 0x60).toBe(0x20);
    vcpu.guest.write32(0x5000, 1);
    expect(entry(tables[0]!, 5) & 0x60).toBe(0x60);
  });

  it('refuses the hypervisor\u2019s own area, what is not canonical, and frames that are no RAM', () => {
    map(-0x8000_0000_0000, frame(), P | RW);
    expect(vcpu.guest.read32(-0x8000_0000_0000)).toBe(-1);
    expect(vcpu.guest.read32(-0x7800_0000_0000 - 8)).toBe(-1);
    expect(vcpu.guest.read32(2 ** 47)).toBe(-1);
    expect(vcpu.guest.read32(2 ** 53)).toBe(-1);
    map(0x5000, 0xfffff, P | RW);
    expect(vcpu.guest.read32(0x5000)).toBe(-1);
  });

  it('reads superpages that the hypervisor mapped', () => {
    map(0x5000, frame(), P | RW);
    set(tables[1]!, 1, 512, P | RW | PSE);
    bench.hv.ram.write32((512 * 4096 + 0x1234) as Maddr, 77);
    expect(vcpu.guest.read32(0x20_1234)).toBe(77);
  });

  it('walks the three levels of a 32-bit guest, whose L3 entries have no writable bit', () => {
    const [l1, l2, l3] = tables as [Mfn, Mfn, Mfn];
    vcpu.domain.is32bit = true;
    vcpu.pv.guestTable = l3;
    set(l3, 3, l2, P);
    set(l2, 0, l1, P | RW | US);
    set(l1, 2, frame(), P | RW | US);
    expect(vcpu.guest.write32(0xc000_2000, 5)).toBe(true);
    expect(vcpu.guest.read32(0xc000_2000)).toBe(5);
    expect(vcpu.guest.read32(0xf580_0000)).toBe(-1);
    expect(vcpu.guest.abi).toBe('x86_32');
  });

  it('is private: a structure that was read does not change with the guest\u2019s', () => {
    map(0x5000, frame(), P | RW);
    vcpu.guest.write32(0x5000, 3);
    const s = vcpu.guest.readStruct(xen_feature_info, 0x5000)!;
    vcpu.guest.write32(0x5000, 4);
    expect(s.submap_idx).toBe(3);
    expect(vcpu.guest.readStruct(xen_feature_info, 0x9000)).toBeNull();
  });
});

describe('memory of a domain with a TypeScript kernel', () => {
  it('throws when a page that is no longer mapped is touched, or a read-only one written', () => {
    const { domain, port } = createTestDomain(bench.hv);
    const page = port.page(500 as Gfn);
    expect(() => page.u32(0)).toThrow('not mapped');
    domain.p2m.set(500 as Gfn, domain.p2m.mfn(1 as Gfn), P2M_TYPES.grant_map_ro);
    expect(page.u32(0)).toBe(0);
    expect(() => page.setU32(0, 1)).toThrow('read-only');
    expect(() => page.u32(4094)).toThrow('within a page');
    domain.p2m.remove(500 as Gfn);
    expect(() => page.u32(0)).toThrow('not mapped');
  });
});
