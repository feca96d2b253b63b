// Linear addresses of an HVM guest: its own page tables in every paging mode, as a supervisor's access sees them, then the p2m.
import { XEN_X86_EMU_LAPIC } from '@ringworld/abi';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Domain } from './domain.ts';
import { createDomain, createVcpu } from './domain-create.ts';
import type { HvmPaging } from './hvm-hooks.ts';
import type { Domid, Gfn, Maddr } from './ids.ts';
import { P2M_TYPES } from './p2m.ts';
import { type Bench, createBench, recordingHvm } from './testing.ts';
import type { Vcpu } from './vcpu.ts';

const P = 1;
const W = 2;
const US = 4;
const PS = 0x80;
const AD = 0x60;
const PG = 0x8000_0001 | 0;
const WP = 0x1_0000;
const PAE = 0x20;
const PSE = 0x10;
const SMAP = 0x20_0000;
const LA57 = 0x1000;
const LMA = 0x500;
const AC = 0x4_0000;

let bench: Bench;
let domain: Domain;
let vcpu: Vcpu;
let mode: HvmPaging;

beforeEach(() => {
  mode = { cr0: 0x11, cr3Lo: 0, cr3Hi: 0, cr4: 0, efer: 0, rflags: 2 };
  bench = createBench({ hvm: recordingHvm([], { paging: () => mode }) });
  domain = createDomain(bench.hv, { id: 7 as Domid, maxVcpus: 1, hvm: { isHap: true, emulationFlags: XEN_X86_EMU_LAPIC } })!;
  expect(createVcpu(bench.hv, domain, 0)).toBe(0);
  vcpu = domain.vcpus[0]!;
  // Guest frames are not machine frames: every second machine frame is somebody else's.
  for (let g = 0; g < 64; g++) {
    bench.hv.frames.allocXen();
    domain.p2m.set(g as Gfn, bench.hv.frames.allocForDomain(domain), P2M_TYPES.ram_rw);
  }
});

const maddr = (gpa: number): Maddr => (domain.p2m.mfn((gpa >>> 12) as Gfn) * 4096 + (gpa & 4095)) as Maddr;
const put64 = (table: number, index: number, gpa: number, flags: number): void => {
  bench.hv.ram.write32(maddr(table * 4096 + index * 8), (gpa % 2 ** 32) | flags);
  bench.hv.ram.write32(maddr(table * 4096 + index * 8 + 4), Math.floor(gpa / 2 ** 32));
};
const put32 = (table: number, index: number, value: number): void => bench.hv.ram.write32(maddr(table * 4096 + index * 4), value);
/** Tables at gfns 10, 11, ... for 4 or 5 levels that map the linear address to guest frame 40. */
function mapLong(lin: number, levels: number, flags = P | W | US): void {
  for (let i = 0; i < levels; i++) {
    const level = levels - i;
    const index = ((Math.floor(lin / 2 ** (3 + 9 * level)) % 512) + 512) % 512;
    put64(10 + i, index, (level === 1 ? 40 : 11 + i) * 4096, level === 1 ? flags : P | W | US);
  }
  mode.cr3Lo = 10 * 4096;
}
const reaches = (lin: number, write: boolean, gpa: number | null): void => {
  expect(vcpu.guest.translate(lin, write)).toBe(gpa === null ? -1 : maddr(gpa));
};

describe('a linear address of an HVM guest', () => {
  it('is physical while paging is off, and wraps at 4 GiB', () => {
    reaches(0x5123, true, 0x5123);
    reaches(2 ** 32 + 0x5123, true, 0x5123);
    reaches(64 * 4096, false, null);
  });

  it('goes through two levels of 32-bit paging, with 4 MiB pages where CR4.PSE allows', () => {
    mode.cr0 = PG | WP;
    mode.cr3Lo = 10 * 4096 + 0x18;
    put32(10, 0x300, (11 * 4096) | P | W);
    put32(11, 5, (40 * 4096) | P | W);
    reaches(0xc000_5678, true, 40 * 4096 + 0x678);
    put32(10, 0x301, P | W | PS);
    reaches(0xc040_0000 + 0x3456, false, null);
    mode.cr4 = PSE;
    reaches(0xc040_0000 + 0x3456, true, 0x3456);
  });

  it('goes through PAE\u2019s table of four, whose entries carry no rights', () => {
    mode.cr0 = PG | WP;
    mode.cr4 = PAE;
    mode.cr3Lo = 10 * 4096 + 0x20;
    bench.hv.ram.write32(maddr(10 * 4096 + 0x20 + 3 * 8), (11 * 4096) | P);
    put64(11, 0, 12 * 4096, P | W);
    put64(12, 7, 40 * 4096, P | W);
    reaches(0xc000_7abc, true, 40 * 4096 + 0xabc);
    put64(11, 1, 0, P | W | PS);
    reaches(0xc020_5000, true, 0x5000);
  });

  it.each([4, 5])('goes through %i levels of long mode, both halves, and refuses what is not canonical', (levels) => {
    Object.assign(mode, { cr0: PG | WP, cr4: PAE | (levels === 5 ? LA57 : 0), efer: LMA });
    for (const lin of [0x7000_1234_5000, -0x7700_0000_0000, -0x1000]) {
      mapLong(lin, levels);
      reaches(lin + 0x10, true, 40 * 4096 + 0x10);
    }
    reaches(levels === 5 ? 2 ** 56 : 2 ** 47, false, null);
    // A 1 GiB page.
    put64(10 + levels - 3, 3, 0, P | W | PS);
    const top = levels === 5 ? 2 : 1;
    for (let i = 0; i < top; i++) put64(10 + i, 0, (11 + i) * 4096, P | W);
    reaches(3 * 2 ** 30 + 0x4321, true, 0x4321);
  });

  // Flags of the page, CR0.WP, CR4.SMAP, RFLAGS.AC; may be read, may be written.
  it.each<[number, number, number, number, boolean, boolean]>([
    [P | W | US, WP, 0, 0, true, true],
    [P | US, WP, 0, 0, true, false],
    [P | US, 0, 0, 0, true, true],
    [P | W | US, WP, SMAP, 0, false, false],
    [P | W | US, WP, SMAP, AC, true, true],
    [P | W, WP, SMAP, 0, true, true],
    [W, WP, 0, 0, false, false],
  ])('flags %i under WP %i, SMAP %i and AC %i: read %s, write %s', (flags, wp, smap, ac, read, write) => {
    Object.assign(mode, { cr0: PG | wp, cr4: PAE | smap, efer: LMA, rflags: 2 | ac });
    mapLong(0x1000, 4, flags);
    reaches(0x1000, false, read ? 40 * 4096 : null);
    reaches(0x1000, true, write ? 40 * 4096 : null);
  });

  it('is accessed, and dirty when written; what the p2m forbids stays forbidden', () => {
    Object.assign(mode, { cr0: PG | WP, cr4: PAE, efer: LMA });
    mapLong(0x1000, 4);
    const entry = () => bench.hv.ram.read32(maddr(13 * 4096 + 8)) & AD;
    reaches(0x1000, false, 40 * 4096);
    expect(entry()).toBe(0x20);
    reaches(0x1000, true, 40 * 4096);
    expect(entry()).toBe(0x60);
    domain.p2m.set(40 as Gfn, domain.p2m.mfn(40 as Gfn), P2M_TYPES.ram_ro);
    reaches(0x1000, true, null);
    domain.p2m.remove(12 as Gfn);
    reaches(0x1000, false, null);
  });

  it('layouts follow the mode of the call, and between calls the domain', () => {
    expect(vcpu.guest.abi).toBe('x86_64');
    vcpu.hvm!.callAbi = 'x86_32';
    expect(vcpu.guest.abi).toBe('x86_32');
    vcpu.hvm!.callAbi = null;
    domain.is32bit = true;
    expect(vcpu.guest.abi).toBe('x86_32');
  });
});
