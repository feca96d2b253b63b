// Nested page faults and nested tables in each format, met by code that runs (APM Vol 2, 15.25).

import { describe, expect, it } from 'vitest';
import { RBX, STATE } from '../state.ts';
import { EXIT, exitOf, FAMILY } from './exits.ts';
import type { NestedMode } from './nested.ts';
import { CODE, DATA, NESTED_PT, NPT, PT, type Rig, ROOT, svmRig } from './rig.ts';

const entry = (at: number): number => NESTED_PT + (at >>> 12) * 8;
const READ = [0x8b, 0x03];
const WRITE = [0x89, 0x03];
const FINAL = 1n << 32n;
const TABLE = 1n << 33n;
const P = 1n;
const W = 2n;
const US = 4n;
const RSV = 8n;
const ID = 16n;

function run(bytes: readonly number[], setup: (r: Rig) => void): Rig {
  const r = svmRig('zen', true);
  r.bytes(CODE, [...bytes, 0xf4]);
  r.cpu.setReg(RBX, BigInt(DATA));
  r.intercept(EXIT.HLT.code);
  setup(r);
  expect(r.enter()).toBe('vmexit');
  return r;
}
const summary = (r: Rig) => ({
  code: exitOf(Number(r.vmcb.get('EXITCODE')))?.name,
  info1: r.vmcb.get('EXITINFO1'),
  gpa: Number(r.vmcb.get('EXITINFO2')),
  bytes: r.vmcb.u8(0xd0),
});

describe('nested page faults (APM Vol 2, 15.25.6)', () => {
  const cases: [string, readonly number[], (r: Rig) => void, bigint, number, number][] = [
    // what, code, setup, EXITINFO1, EXITINFO2, bytes stored
    ['a read of a page that is not there', READ, (r) => r.put64(entry(DATA), 0), FINAL | US, DATA, 15],
    ['a write to one', WRITE, (r) => r.put64(entry(DATA), 0), FINAL | US | W, DATA, 15],
    ['a write to a page that is read-only', WRITE, (r) => r.put64(entry(DATA), DATA | 5), FINAL | US | W | P, DATA, 15],
    ['a read of a page that is not for users', READ, (r) => r.put64(entry(DATA), DATA | 3), FINAL | US | P, DATA, 15],
    ['a reserved bit', READ, (r) => r.put64(entry(DATA), BigInt(DATA | 7) | (1n << 51n)), FINAL | US | P | RSV, DATA, 15],
    ['a fetch from a page that is not there', [0x90], (r) => r.put64(entry(CODE), 0), FINAL | US | ID, CODE, 0],
    ['a fetch from a no-execute page', [0x90], (r) => r.put64(entry(CODE), BigInt(CODE | 7) | (1n << 63n)), FINAL | US | P | ID, CODE, 0],
    // Accesses to the guest's tables are user writes.
    ['a page table of the guest that is not there', READ, (r) => r.put64(entry(PT), 0), TABLE | US | W, PT + (CODE >> 12) * 8, 15],
    ['a root that is read-only', READ, (r) => r.put64(entry(ROOT), ROOT | 5), TABLE | US | W | P, ROOT, 15],
    [
      'a guest-physical address past the tables',
      READ,
      (r) => r.put64(PT + (DATA >> 12) * 8, 0x1234_5600_0000n | 7n),
      FINAL | US,
      0x1234_5600_0000,
      15,
    ],
  ];
  for (const [name, bytes, setup, info1, gpa, stored] of cases)
    it(name, () => {
      const r = run(bytes, setup);
      const s = summary(r);
      // A fetch that fails before the first instruction stores what could be read: nothing.
      expect({ ...s, bytes: 0 }).toEqual({ code: 'NPF', info1, gpa, bytes: 0 });
      if (info1 & FINAL) expect(s.bytes).toBe(stored);
      expect([r.vmcb.get('RIP'), r.vmcb.get('NRIP'), r.vmcb.get('CR2')]).toEqual([BigInt(CODE), 0n, 0n]);
    });

  it('the instruction bytes are those at RIP', () => {
    const r = run([0x89, 0x4c, 0x8b, 0x10], (t) => {
      t.put64(entry(DATA), 0);
      t.cpu.setReg(1, 0n);
    });
    expect([...r.ram.readBytes((r.vmcb.at + 0xd1) as never, 5)]).toEqual([0x89, 0x4c, 0x8b, 0x10, 0xf4]);
  });
  it('one while an event is delivered names the event', () => {
    const r = run([0x0f, 0x0b], (t) => {
      t.gate(6);
      t.put64(entry(0x7_f000), 0);
    });
    expect(summary(r)).toMatchObject({ code: 'NPF', info1: FINAL | US | W, gpa: 0x7_fff8 });
    expect(r.vmcb.get('EXITINTINFO')).toBe(0x8000_0306n);
  });
  it("the guest's own page fault comes first, and is the guest's", () => {
    const r = run(READ, (t) => {
      t.put64(PT + (DATA >> 12) * 8, 0);
      t.put64(entry(DATA), 0);
      t.intercept(FAMILY.EXCEPTION + 14);
    });
    expect(summary(r)).toMatchObject({ code: 'EXCP_PF', gpa: DATA });
  });
});

describe('nested tables', () => {
  it('get accessed and dirty bits: tables of the guest are written to, data as it is used', () => {
    const read = run(READ, () => {});
    expect(Number(read.ram.read64(entry(DATA) as never)) & 0x60).toBe(0x20);
    expect(Number(read.ram.read64(entry(PT) as never)) & 0x60).toBe(0x60);
    expect(Number(read.ram.read64(NPT as never)) & 0x60).toBe(0x20);
    const written = run(WRITE, () => {});
    expect(Number(written.ram.read64(entry(DATA) as never)) & 0x60).toBe(0x60);
    // A write after a read that has filled the TLB still sets it.
    const both = run([...READ, ...WRITE], () => {});
    expect(Number(both.ram.read64(entry(DATA) as never)) & 0x60).toBe(0x60);
  });
  it('map what they map: the guest reads another frame, and one of a large page', () => {
    const small = run(READ, (t) => {
      t.put64(entry(DATA), (DATA + 0x1000) | 7);
      t.bytes(DATA + 0x1000, [7, 0, 0, 0]);
    });
    expect(small.vmcb.get('RAX')).toBe(7n);
    const large = run(READ, (t) => {
      t.put64(NPT + 0x2000 + 8, 0x20_0000 | 0x87);
      t.put64(PT + (DATA >> 12) * 8, 0x2f_f000 | 7);
      t.bytes(0x2f_f000, [9, 0, 0, 0]);
    });
    expect(large.vmcb.get('RAX')).toBe(9n);
  });
  it("a guest without paging has its linear addresses' pages nested", () => {
    const r = run([0x8b, 0x07, 0xf4], (t) => {
      t.vmcb.set('CR0', 1);
      t.vmcb.set('EFER', 0x1000);
      t.vmcb.setSegment('CS', 8, 0xc09b, 0xffff_ffff, 0);
      t.cpu.setReg(7, BigInt(DATA));
      t.put64(entry(DATA), (DATA + 0x2000) | 7);
      t.bytes(DATA + 0x2000, [5, 0, 0, 0]);
    });
    expect([summary(r).code, r.vmcb.get('RAX')]).toEqual(['HLT', 5n]);
  });

  /** Tables of another host: PAE, and 32-bit with 4 MiB and 4 KiB pages. */
  const hosts: [string, NestedMode, (r: Rig) => void][] = [
    [
      'PAE',
      { mode: 'pae', nxe: true, pse: true },
      (r) => {
        // The same lower tables; PDPEs of a host in legacy mode have no rights.
        r.put64(NPT + 0x4000, (NPT + 0x2000) | 1);
        r.vmcb.set('N_CR3', NPT + 0x4000);
        r.put64(entry(DATA), (DATA + 0x1000) | 7);
      },
    ],
    [
      '32-bit',
      { mode: '32bit', nxe: false, pse: true },
      (r) => {
        const pd = NPT + 0x4000;
        r.put64(pd, (pd + 0x1000) | 7);
        for (let p = 0; p < 1024; p++) r.ram.write32((pd + 0x1000 + p * 4) as never, (p << 12) | 7);
        r.ram.write32((pd + 0x1000 + (DATA >> 12) * 4) as never, (DATA + 0x1000) | 7);
        r.vmcb.set('N_CR3', pd);
      },
    ],
  ];
  for (const [name, mode, setup] of hosts)
    it(`of a ${name} host`, () => {
      const r = run(READ, (t) => {
        t.svm.hostTables = mode;
        setup(t);
        t.bytes(DATA + 0x1000, [3, 0, 0, 0]);
      });
      expect([summary(r).code, r.vmcb.get('RAX')]).toEqual(['HLT', 3n]);
      const past = run(READ, (t) => {
        t.svm.hostTables = mode;
        setup(t);
        t.put64(PT + (DATA >> 12) * 8, 0x1_0000_0000n | 7n);
      });
      expect(summary(past)).toMatchObject({ code: 'NPF', info1: FINAL | US, gpa: 0x1_0000_0000 });
    });

  it('the guest has a PAT of its own', () => {
    // rdmsr 277h; wrmsr with bits 7:0 as 1; hlt
    const r = run([0x0f, 0x32, 0xb0, 0x01, 0x0f, 0x30], (t) => {
      t.cpu.setReg(1, 0x277n);
      t.vmcb.set('G_PAT', 0x0706_0504n);
      t.cpu.setBig(STATE.pat, 0x0007_0406_0007_0406n);
    });
    expect([summary(r).code, r.vmcb.get('G_PAT')]).toEqual(['HLT', 0x0706_0501n]);
  });
});
