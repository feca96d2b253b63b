// Wild VMCBs and wild guests, from a seed: whatever they hold, there is an answer, and nested paging keeps the guest inside.

import { describe, expect, it } from 'vitest';
import type { Lin, Maddr } from '../addresses.ts';
import { CS, DS, ES, RAX, RSP, SS, STATE } from '../state.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import { MSR_AMD } from '../system/msr-vendor.ts';
import { EXIT, exitOf } from './exits.ts';
import { CODE, HSAVE, NPT, type Rig, ROOT, svmRig, VMCB_AT } from './rig.ts';
import { VMCB, type VmcbField } from './vmcb.ts';

/** Marsaglia's xorshift: equal seeds, equal runs. */
function sequence(seed: number): () => number {
  let x = (seed * 0x9e37_79b9) >>> 0 || 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    return x;
  };
}
const FIELDS = Object.keys(VMCB) as VmcbField[];

/** Changes some fields; what a kind of value may break is different for each. */
function mutate(r: Rig, next: () => number, spare: ReadonlySet<VmcbField>): void {
  for (let n = next() % 6; n >= 0; n--) {
    const name = FIELDS[next() % FIELDS.length]!;
    if (spare.has(name)) continue;
    const bits = BigInt(Math.min(VMCB[name][1], 8) * 8);
    const old = r.vmcb.get(name);
    const wild = (BigInt(next()) << 32n) | BigInt(next());
    const values = [0n, wild, old ^ (1n << (BigInt(next()) % bits)), BigInt(next() % 0x40_0000) & ~0xfffn, (1n << 64n) - 1n];
    r.vmcb.set(name, BigInt.asUintN(Number(bits), values[next() % values.length]!));
  }
}
/** Short programs of system instructions among wild bytes. */
function program(next: () => number): number[] {
  const pieces = [
    [0x0f, 0x01],
    [0x0f, 0x20, 0xc0],
    [0x0f, 0x22, 0xc0],
    [0x0f, 0x22, 0xd8],
    [0xf3, 0x90],
    [0xcd],
    [0x0f, 0x30],
    [0x8e],
    [0xfb],
    [0x48, 0xcf],
    [0xe4],
    [0x6c],
  ];
  const code: number[] = [];
  while (code.length < 64) {
    if (next() % 3 === 0) code.push(...pieces[next() % pieces.length]!);
    code.push(next() & 0xff);
  }
  return code;
}
const ENDS = ['vmexit', 'deadline', 'halt', 'shutdown'];

function checkExit(r: Rig): void {
  const code = Number(BigInt.asIntN(64, r.vmcb.get('EXITCODE')));
  if (code === -1) expect(r.svm.violated).toBeDefined();
  else expect(exitOf(code), `exit code ${code}`).toBeDefined();
  expect(r.cpu.nonRoot).toBe(null);
}

describe('wild VMCBs', () => {
  it('end in an exit or in a run that goes on, under a host in TypeScript', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const next = sequence(seed);
      const r = svmRig(seed % 4 === 0 ? 'k8-revf' : 'zen', seed % 2 === 0);
      r.bytes(CODE, program(next));
      mutate(r, next, new Set());
      const end = r.enter(200);
      expect(ENDS, `seed ${seed}`).toContain(end);
      if (end === 'vmexit' && !wroteOver(r)) checkExit(r);
    }
  });
  it('bring a host in code back behind its VMRUN, or keep it out', () => {
    const HOST = 0x2_0000;
    for (let seed = 1; seed <= 20; seed++) {
      const next = sequence(seed + 1000);
      const r = svmRig('zen', seed % 2 === 0);
      r.svm.host = 'code';
      const { cpu } = r;
      cpu.thread.msrs.set(MSR_AMD.VM_HSAVE_PA, BigInt(HSAVE));
      cpu.setU32(STATE.cr0, CR0.PG | CR0.PE | CR0.NE | CR0.ET | CR0.WP);
      cpu.setU32(STATE.cr4, CR4.PAE | CR4.OSFXSR);
      cpu.setU32(STATE.efer, EFER.LME | EFER.LMA | EFER.NXE | EFER.SVME);
      cpu.setLin(STATE.cr3, ROOT);
      cpu.setSegment(CS, 8, 0xa09b, 0xffff_ffff, 0);
      for (const s of [SS, DS, ES]) cpu.setSegment(s, 0x10, 0xc093, 0xffff_ffff, 0);
      cpu.setReg(RAX, BigInt(VMCB_AT));
      cpu.setRegLin(RSP, 0x9_0000);
      cpu.rip = HOST as Lin;
      cpu.rflags = 2;
      cpu.modeChanged();
      r.bytes(HOST, [0x0f, 0x01, 0xd8, 0xf4]);
      // UD2 over and over: a guest that lives ends soon, one that cannot shuts down into an exit.
      r.bytes(CODE, [0x0f, 0x0b]);
      mutate(r, next, new Set(['INTERCEPT_2']));
      r.intercept(EXIT.SHUTDOWN.code);
      const exit = cpu.run(cpu.cycles + 500);
      expect([0, 5, 6], `seed ${seed}`).toContain(exit);
      if (!r.svm.inGuest && exit === 5) expect(cpu.rip, `seed ${seed}`).toBe(HOST + 4);
    }
  });
});

/** The guest has its own VMCB in reach without nested paging: then there is nothing to be said of its fields. */
const wroteOver = (r: Rig): boolean => r.vmcb.get('N_CR3') !== BigInt(NPT) && r.vmcb.get('NESTED_CTL') === 0n;

it('a wild guest changes nothing outside what its nested tables map (but accessed and dirty bits in them)', () => {
  const OUTSIDE = 0x20_0000;
  const TABLES = 0x21_0000;
  const SPARED: ReadonlySet<VmcbField> = new Set(['NESTED_CTL', 'N_CR3', 'IOPM_BASE_PA', 'MSRPM_BASE_PA', 'INTERCEPT_1', 'INTERCEPT_2']);
  const PATTERN = 0x5a5a_5a5a;
  let nestedFaults = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const next = sequence(seed + 5000);
    const r = svmRig('zen', true);
    const { ram } = r;
    const words = ram.u32.subarray((ram.base + OUTSIDE) >>> 2, (ram.base + ram.size) >>> 2);
    words.fill(PATTERN);
    for (let i = 0; i < 4; i++) ram.copy((TABLES + i * 4096) as Maddr, (NPT + i * 4096) as Maddr, 4096);
    for (let i = 0; i < 3; i++) r.put64(TABLES + i * 4096, (TABLES + (i + 1) * 4096) | 7);
    const before = words.slice();
    r.vmcb.set('N_CR3', TABLES);
    // The guest's own tables reach there: 2 MiB to 4 MiB as one page.
    r.put64(0x3008, OUTSIDE | 0x87);
    // What reaches physical memory without going through the tables is the host's to intercept.
    r.intercept(EXIT.VMLOAD.code, EXIT.VMSAVE.code, EXIT.SKINIT.code, EXIT.MSR.code, EXIT.IOIO.code, EXIT.HLT.code);
    for (let round = 0; round < 6; round++) {
      // mov edi, somewhere in 4 MiB; stosd; and whatever comes
      const at = next() % 0x40_0000;
      r.bytes(CODE, [0xbf, at & 255, (at >>> 8) & 255, at >>> 16, 0, 0xab, ...program(next)]);
      mutate(r, next, SPARED);
      if (round < 3) r.vmcb.set('RIP', CODE);
      expect(ENDS, `seed ${seed}`).toContain(r.enter(300));
      if (Number(r.vmcb.get('EXITCODE')) === EXIT.NPF.code) nestedFaults++;
      // A run that has not ended is broken off.
      if (r.svm.inGuest) r.svm.reset();
    }
    let changed = 0;
    for (let i = 0; i < words.length; i++) if (((words[i]! ^ before[i]!) & (before[i] === PATTERN ? -1 : ~0x60)) !== 0) changed++;
    expect(changed, `seed ${seed}`).toBe(0);
  }
  expect(nestedFaults).toBeGreaterThan(10);
});
