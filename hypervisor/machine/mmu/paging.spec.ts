// The page walk against the SDM (Vol 3A, chapter 4), in the way of kvm-unit-tests' x86/access.c: every permutation of named bits of the
// entries, the access and the control registers, each compared with an expectation that is written from the manual and not from the walk.

import { describe, expect, it } from 'vitest';
import type { Lin } from '../addresses.ts';
import { PF } from '../cpu-api.ts';
import { STATE } from '../state.ts';
import { PhysicalMap } from './physical.ts';
import { Ram } from './ram.ts';
import { IMPLICIT, type PagingFeatures, type PagingMode, Walker } from './walk.ts';

const ROOT = 0x1000;
const PDPT = 0x2000;
const PD = 0x3000;
const PT = 0x4000;
const PAGE = 0x40_0000;
const MIB2 = 0x20_0000;

const P = 1;
const W = 2;
const U = 4;
const A = 0x20;
const D = 0x40;
const PS = 0x80;
const NX = 0x8000_0000;

const processor = (physicalBits: number, features: string): PagingFeatures => ({ physicalBits, features: new Set(features.split(' ')) });

function setup(mode: PagingMode, cpu = processor(46, 'pse36 pdpe1gb')) {
  const ram = new Ram(8 << 20, 0x10000);
  const walker = new Walker(new PhysicalMap(ram), 0, cpu);
  walker.paging.mode = mode;
  walker.paging.root = ROOT;
  walker.paging.pse = true;
  walker.paging.nxe = true;
  const put = (at: number, lo: number, hi = 0) => {
    const w = (ram.base + at) >>> 2;
    ram.u32[w] = lo;
    ram.u32[w + 1] = hi;
  };
  const get = (at: number): number => ram.u32[(ram.base + at) >>> 2]!;
  const get32 = get;
  const put32 = (at: number, v: number) => {
    ram.u32[(ram.base + at) >>> 2] = v;
  };
  return { ram, walker, put, get, get32, put32 };
}

/** The bits of an entry that the count goes through. */
interface Entry {
  readonly present: boolean;
  readonly writable: boolean;
  readonly user: boolean;
  readonly nx: boolean;
  readonly reserved: boolean;
}
const bit = (n: number, i: number): boolean => ((n >>> i) & 1) === 1;
const entry = (n: number): Entry => ({ present: bit(n, 0), writable: bit(n, 1), user: bit(n, 2), nx: bit(n, 3), reserved: bit(n, 4) });
const low = (e: Entry): number => (e.present ? P : 0) | (e.writable ? W : 0) | (e.user ? U : 0);
/** Bit 51 is above MAXPHYADDR. */
const high = (e: Entry): number => (e.nx ? NX : 0) | (e.reserved ? 1 << 19 : 0);

interface Cpu {
  readonly nxe: boolean;
  readonly wp: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly ac: boolean;
  readonly pke: boolean;
}
const cpuBits = (n: number): Cpu => ({ nxe: bit(n, 0), wp: bit(n, 1), smep: bit(n, 2), smap: bit(n, 3), ac: bit(n, 4), pke: bit(n, 5) });

type What = 'read' | 'write' | 'fetch';
type Who = 'user' | 'supervisor' | 'implicit';

/** Error code that the SDM asks for, -1 for none: 4.6 (access rights), 4.7 (error code), 4.5 and 4.4 (reserved bits). */
function expected(entries: readonly Entry[], c: Cpu, what: What, who: Who, rights: number): number {
  let code = (what === 'write' ? PF.write : 0) | (who === 'user' ? PF.user : 0);
  if (what === 'fetch' && (c.nxe || c.smep)) code |= PF.fetch;
  for (const e of entries) {
    if (!e.present) return code;
    if (e.reserved || (e.nx && !c.nxe)) return code | PF.present | PF.reserved;
  }
  const user = entries.every((e) => e.user);
  const writable = entries.every((e) => e.writable);
  const nx = entries.some((e) => e.nx);
  let ok: boolean;
  if (who === 'user') ok = user && (what !== 'write' || writable) && (what !== 'fetch' || !nx);
  else if (what === 'fetch') ok = !nx && !(user && c.smep);
  else {
    ok = what === 'read' || writable || !c.wp;
    if (user && c.smap && !(c.ac && who === 'supervisor')) ok = false;
  }
  // 4.6.2: data accesses to user-mode addresses.
  const disabled = (rights & 1) !== 0 || ((rights & 2) !== 0 && what === 'write' && (who === 'user' || c.wp));
  const key = c.pke && user && what !== 'fetch' && disabled;
  if (ok && !key) return -1;
  return code | PF.present | (key ? PF.protectionKey : 0);
}

const accessBits = (what: What, who: Who): number =>
  (what === 'write' ? PF.write : what === 'fetch' ? PF.fetch : 0) | (who === 'user' ? PF.user : who === 'implicit' ? IMPLICIT : 0);

const ACCESSES: readonly [What, Who][] = (['read', 'write', 'fetch'] as const).flatMap((what) =>
  (['user', 'supervisor', 'implicit'] as const)
    .filter((who) => !(what === 'fetch' && who === 'implicit'))
    .map((who): [What, Who] => [what, who]),
);

describe('4-level paging', () => {
  const KEY = 5;
  it('gives the fault of every permutation of directory and table entry, access, CR0.WP, CR4, EFER.NXE, AC and PKRU', () => {
    const { walker, put, get } = setup('4level');
    const p = walker.paging;
    put(ROOT, PDPT | P | W | U);
    put(PDPT, PD | P | W | U);
    const lin = (PAGE + 0x123) as Lin;
    let count = 0;
    const wrong: string[] = [];
    for (let directory = 0; directory < 64; directory++) {
      const large = bit(directory, 5);
      const pde = entry(directory);
      // A large page has no table entry: its own permutations then do not matter.
      for (let table = 0; table < (large ? 1 : 32); table++) {
        const pte = entry(table);
        for (let control = 0; control < 64; control++) {
          const c = cpuBits(control);
          p.nxe = c.nxe;
          p.wp = c.wp;
          p.smep = c.smep;
          p.smap = c.smap;
          p.ac = c.ac;
          p.pke = c.pke;
          for (let rights = 0; rights < (c.pke ? 4 : 1); rights++) {
            p.pkru = rights << (2 * KEY);
            for (const [what, who] of ACCESSES) {
              put(PD + (PAGE / MIB2) * 8, low(pde) | (large ? PS | PAGE : PT), high(pde) | (large ? KEY << 27 : 0));
              put(PT, low(pte) | PAGE, high(pte) | (KEY << 27));
              const want = expected(large ? [pde] : [pde, pte], c, what, who, rights);
              const r = walker.walk(lin, accessBits(what, who), true);
              const got = r.ok ? -1 : r.errorCode;
              const leaf = get(large ? PD + (PAGE / MIB2) * 8 : PT) & (A | D);
              const marked = want >= 0 ? 0 : what === 'write' ? A | D : A;
              count++;
              if (got !== want || leaf !== marked || (r.ok && r.maddr !== PAGE + 0x123))
                wrong.push(
                  `pde ${directory} pte ${table} cpu ${control} rights ${rights} ${what} ${who}: ${got} for ${want}, marks ${leaf}`,
                );
            }
          }
        }
      }
    }
    expect(wrong.slice(0, 5)).toEqual([]);
    expect(count).toBe((32 * 32 + 32) * (32 * 1 + 32 * 4) * 8);
  });

  const cases: [string, (s: ReturnType<typeof setup>) => void, number, number][] = [
    // what, how the tables differ, address, error code (-1 for none): a supervisor read
    ['a PML4 entry with PS', (s) => s.put(ROOT, PDPT | 7 | PS), 0, 9],
    ['a root entry with bit 51', (s) => s.put(ROOT, PDPT | 7, 1 << 19), 0, 9],
    ['a root entry with bit 46, the first above MAXPHYADDR', (s) => s.put(ROOT, PDPT | 7, 1 << 14), 0, 9],
    ['a root entry with ignored bits 62:52', (s) => s.put(ROOT, PDPT | 7, 0x7ff0_0000), 0, -1],
    ['a 1 GiB page', (s) => s.put(PDPT, 7 | PS), 0x123456, -1],
    ['a 1 GiB page with bit 29', (s) => s.put(PDPT, 7 | PS | (1 << 29)), 0, 9],
    ['a 1 GiB page with bit 13', (s) => s.put(PDPT, 7 | PS | (1 << 13)), 0, 9],
    ['a 1 GiB page with PAT (bit 12)', (s) => s.put(PDPT, 7 | PS | (1 << 12)), 0, -1],
    ['a 2 MiB page with bit 20', (s) => s.put(PD, 7 | PS | (1 << 20)), 0, 9],
    ['a 2 MiB page with PAT (bit 12)', (s) => s.put(PD, 7 | PS | (1 << 12)), 0, -1],
    ['a 4 KiB page with bit 7, which is PAT', (s) => s.put(PT, PAGE | 7 | PS), 0, -1],
  ];
  for (const [what, change, lin, code] of cases) {
    it(`${what}: ${code < 0 ? 'no fault' : `#PF(${code})`}`, () => {
      const s = setup('4level');
      s.put(ROOT, PDPT | 7);
      s.put(PDPT, PD | 7);
      s.put(PD, PT | 7);
      s.put(PT, PAGE | 7);
      change(s);
      const r = s.walker.walk(lin as Lin, 0, false);
      expect(r.ok ? -1 : r.errorCode).toBe(code);
    });
  }
  it('a 1 GiB page is reserved on a processor without them', () => {
    const s = setup('4level', processor(46, 'pse36'));
    s.put(ROOT, PDPT | 7);
    s.put(PDPT, 7 | PS);
    expect(s.walker.walk(0 as Lin, PF.write, false).errorCode).toBe(PF.present | PF.reserved | PF.write);
  });
  it('MAXPHYADDR decides what is reserved', () => {
    for (const [bits, highest] of [
      [36, 3],
      [40, 7],
      [48, 15],
    ] as const) {
      const s = setup('4level', processor(bits, ''));
      s.put(ROOT, PDPT | 7, 1 << highest);
      expect(s.walker.walk(0 as Lin, 0, false).errorCode).toBe(PF.present | PF.reserved);
      s.put(ROOT, PDPT | 7, 1 << (highest + 1));
      expect(s.walker.walk(0 as Lin, 0, false).errorCode & PF.reserved).toBe(PF.reserved);
    }
  });
});

describe('PAE paging', () => {
  it('takes the page-directory pointers from their registers, not from memory', () => {
    const { ram, walker, put } = setup('pae');
    put(ROOT + 8, PD | P);
    put(PD + 2 * 8, PT | 7);
    put(PT + 3 * 8, PAGE | 7);
    expect(walker.loadPdptes(ROOT)).toBe(true);
    put(ROOT + 8, 0);
    const lin = (0x4000_0000 + 2 * MIB2 + 0x3456) as Lin;
    expect(walker.walk(lin, PF.user, false).maddr).toBe(PAGE + 0x456);
    expect(ram.u32[STATE.pdpte / 4 + 2]).toBe(PD | P);
    // One that is absent is an ordinary fault.
    expect(walker.walk(0 as Lin, PF.user, false).errorCode).toBe(PF.user);
  });
  for (const [what, lo, hi, ok] of [
    ['RW', 2, 0, false],
    ['US', 4, 0, false],
    ['bit 5', 0x20, 0, false],
    ['PS', PS, 0, false],
    ['bit 8', 0x100, 0, false],
    ['PWT and PCD', 0x18, 0, true],
    ['ignored bits 11:9', 0xe00, 0, true],
    ['NX', 0, NX, false],
    ['bit 46', 0, 1 << 14, false],
    ['bit 45', 0, 1 << 13, true],
  ] as const) {
    it(`a pointer with ${what} is ${ok ? 'loaded' : 'refused'}, unless it is not present (4.4.1)`, () => {
      const { walker, put } = setup('pae');
      put(ROOT + 16, PD | P | lo, hi);
      expect(walker.loadPdptes(ROOT)).toBe(ok);
      put(ROOT + 16, (PD | lo) & ~P, hi);
      expect(walker.loadPdptes(ROOT)).toBe(true);
    });
  }
  it('bits 62:52 of entries are reserved, which 4-level paging ignores', () => {
    const { walker, put } = setup('pae');
    put(ROOT, PD | P);
    walker.loadPdptes(ROOT);
    put(PD, PT | 7);
    for (let b = 46 - 32; b < 31; b++) {
      put(PT, PAGE | 7, 1 << b);
      expect(walker.walk(0 as Lin, 0, false).errorCode).toBe(PF.present | PF.reserved);
    }
    put(PT, PAGE | 7, NX);
    expect(walker.walk(0 as Lin, 0, false).ok).toBe(true);
    expect(walker.walk(0 as Lin, PF.fetch, false).errorCode).toBe(PF.present | PF.fetch);
  });
  it('has no protection keys', () => {
    const { walker, put } = setup('pae');
    put(ROOT, PD | P);
    walker.loadPdptes(ROOT);
    put(PD, PT | 7);
    put(PT, PAGE | 7);
    walker.paging.pkru = 0xffff_ffff;
    expect(walker.walk(0 as Lin, PF.user, false).ok).toBe(true);
  });
});

describe('32-bit paging', () => {
  const small = (s: ReturnType<typeof setup>, directory: number, table: number) => {
    s.put32(ROOT + 4, PT | directory);
    s.put32(PT + 8, PAGE | table);
  };
  const LIN = (0x40_0000 + 0x2345) as Lin;
  it('gives the fault of every permutation of the two entries, the access, WP, SMEP, SMAP and AC', () => {
    const s = setup('32bit');
    const p = s.walker.paging;
    const wrong: string[] = [];
    for (let directory = 0; directory < 8; directory++)
      for (let table = 0; table < 8; table++)
        for (let control = 0; control < 32; control++)
          for (const [what, who] of ACCESSES) {
            const c = { ...cpuBits(control), pke: false };
            p.nxe = c.nxe;
            p.wp = c.wp;
            p.smep = c.smep;
            p.smap = c.smap;
            p.ac = c.ac;
            small(s, directory, table);
            const without = (n: number): Entry => ({ ...entry(n), nx: false, reserved: false });
            // I/D is reported with SMEP only: EFER.NXE is for PAE's entries (4.7).
            const want = expected([without(directory), without(table)], { ...c, nxe: false }, what, who, 0);
            const r = s.walker.walk(LIN, accessBits(what, who), false);
            if ((r.ok ? -1 : r.errorCode) !== want) wrong.push(`${directory} ${table} ${control} ${what} ${who}`);
          }
    expect(wrong).toEqual([]);
  });
  it('4 MiB pages need CR4.PSE; bits 20:13 are address bits 39:32 with PSE-36, bit 21 is reserved (Table 4-4)', () => {
    for (const [bits, features, directory, outcome] of [
      [46, 'pse36', 0x80_0000, 0x80_2345],
      [46, 'pse36', 0x80_0000 | (1 << 21), 'reserved'],
      [46, 'pse36', 0x80_0000 | (1 << 13), 0x1_0080_2345],
      [46, 'pse36', 0x80_0000 | (1 << 20), 0x80_0080_2345],
      [36, 'pse36', 0x80_0000 | (1 << 16), 0x8_0080_2345],
      [36, 'pse36', 0x80_0000 | (1 << 17), 'reserved'],
      [32, 'pse', 0x80_0000 | (1 << 13), 'reserved'],
      [36, 'pse', 0x80_0000 | (1 << 13), 'reserved'],
      [32, 'pse', 0x80_0000 | (1 << 12), 0x80_2345],
    ] as const) {
      const s = setup('32bit', processor(bits, features));
      s.put32(ROOT + 4, directory | 7 | PS);
      const r = s.walker.walk(LIN, 0, false);
      expect(r.ok ? r.maddr : r.errorCode === (PF.present | PF.reserved) ? 'reserved' : r.errorCode).toBe(outcome);
    }
  });
  it('PS is ignored without CR4.PSE', () => {
    const s = setup('32bit');
    s.walker.paging.pse = false;
    small(s, 7 | PS, 7);
    expect(s.walker.walk(LIN, 0, false).maddr).toBe(PAGE + 0x345);
  });
});

it('tables that lie where no memory is read as ones: reserved bits', () => {
  const s = setup('4level');
  s.put(ROOT, 0x4000_0000 | 7);
  expect(s.walker.walk(0 as Lin, 0, false).errorCode).toBe(PF.present | PF.reserved);
});
