// What the host's CPU cannot be asked about BMI: modes in which VEX does not exist, and processors without the features.

import { describe, expect, it } from 'vitest';
import type { Lin, Maddr } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { flat64 } from '../exec/flat64.ts';
import { createMachine } from '../machine.ts';
import { EFLAGS, RAX, RBX, RCX } from '../state.ts';
import { resetContext } from '../system/reset.ts';

const CODE = 0x10000;
const UD = 6;
const UD2 = [0x0f, 0x0b];
const WITH = 'skylake-sp';
const WITHOUT = 'nehalem';
const ANDN_EAX_ECX_EBX = [0xc4, 0xe2, 0x70, 0xf2, 0xc3];
const TZCNT_EAX_EBX = [0xf3, 0x0f, 0xbc, 0xc3];
const LZCNT_EAX_EBX = [0xf3, 0x0f, 0xbd, 0xc3];

/** Runs code up to a UD2, or to what it raises; RIP from its start. */
function run64(profile: string, code: readonly number[], rbx: bigint) {
  const t = flat64(profile);
  t.cpu.setReg(RAX, 0x1234n);
  t.cpu.setReg(RBX, rbx);
  t.cpu.setReg(RCX, 0xf0n);
  expect(t.run(CODE, [...code, ...UD2])).toBe(RunExit.exception);
  return { rip: t.cpu.rip - CODE, rax: t.cpu.reg(RAX), zf: (t.cpu.rflags & EFLAGS.ZF) !== 0, vector: t.cpu.event.vector };
}

describe('TZCNT and LZCNT', () => {
  it('count where they exist, up to the size for zero', () => {
    expect(run64(WITH, TZCNT_EAX_EBX, 0n)).toMatchObject({ rip: 4, rax: 32n, zf: false });
    expect(run64(WITH, TZCNT_EAX_EBX, 0x50n)).toMatchObject({ rip: 4, rax: 4n, zf: false });
    expect(run64(WITH, LZCNT_EAX_EBX, 0x50n)).toMatchObject({ rip: 4, rax: 25n, zf: false });
  });
  it('are BSF and BSR where they do not: zero leaves the destination alone, and ZF tells of it', () => {
    expect(run64(WITHOUT, TZCNT_EAX_EBX, 0n)).toMatchObject({ rip: 4, rax: 0x1234n, zf: true });
    expect(run64(WITHOUT, TZCNT_EAX_EBX, 0x50n)).toMatchObject({ rip: 4, rax: 4n, zf: false });
    expect(run64(WITHOUT, LZCNT_EAX_EBX, 0x50n)).toMatchObject({ rip: 4, rax: 6n, zf: false });
  });
});

describe('VEX-encoded instructions on general registers', () => {
  it('are undefined without their CPUID feature', () => {
    expect(run64(WITH, ANDN_EAX_ECX_EBX, 0xffn)).toMatchObject({ rip: 5, rax: 0x0fn });
    expect(run64(WITHOUT, ANDN_EAX_ECX_EBX, 0xffn)).toMatchObject({ rip: 0, rax: 0x1234n, vector: UD });
  });

  it('do not exist in real mode, where C4 and C5 are LES and LDS, or with a register undefined', () => {
    const machine = createMachine({ ramBytes: 4 << 20, cpus: 1, profile: WITH });
    const cpu = machine.cpus[0]!;
    const run = (code: readonly number[]) => {
      resetContext(cpu, 0);
      for (let seg = 0; seg < 6; seg++) cpu.setSegment(seg, 0, seg === 1 ? 0x9b : 0x93, 0xffff, 0);
      cpu.delivery = 'host';
      cpu.modeChanged();
      cpu.rip = 0x1000 as Lin;
      cpu.setReg(RBX, 0x2000n);
      machine.ram.writeBytes(0x1000 as Maddr, Uint8Array.from([...code, ...UD2]));
      machine.ram.write32(0x2000 as Maddr, 0x4321_8765);
      cpu.run(cpu.cycles + 100);
      return { rip: cpu.rip - 0x1000, ax: cpu.regLo(RAX) & 0xffff, es: cpu.selector(0), vector: cpu.event.vector };
    };
    expect(run(ANDN_EAX_ECX_EBX)).toEqual({ rip: 0, ax: 0, es: 0, vector: UD });
    // les ax, [bx]
    expect(run([0xc4, 0x07])).toEqual({ rip: 2, ax: 0x8765, es: 0x4321, vector: UD });
    expect(run([0xc4, 0xc7])).toEqual({ rip: 0, ax: 0, es: 0, vector: UD });
  });
});
