// MMX beside x87 and under CR0: what the comparison with the host's CPU (host-cpu/) cannot set up or does not run. MASKMOVQ too, which is
// TypeScript.

import { describe, expect, it } from 'vitest';
import type { Maddr } from '../addresses.ts';
import { flat64 } from '../exec/flat64.ts';
import { RBX, RDI, STATE } from '../state.ts';

const CODE = 0x10000;
const DATA = 0x30000;
const UD2 = [0x0f, 0x0b];
const MOVQ_MM2_MM1 = [0x0f, 0x6f, 0xd1];
const PADDB_MM2_RBX = [0x0f, 0xfc, 0x13];
const CVTPI2PD_XMM0_MM1 = [0x66, 0x0f, 0x2a, 0xc1];
const CVTPI2PD_XMM0_RBX = [0x66, 0x0f, 0x2a, 0x03];
const MASKMOVQ_MM2_MM1 = [0x0f, 0xf7, 0xd1];
const FNSTENV_RBX = [0xd9, 0x33];

const VECTORS: Readonly<Record<number, string>> = { 6: '#UD', 7: '#NM', 14: '#PF', 16: '#MF' };
const EM = 4;
const TS = 8;
const NE = 0x20;
const ES = 0x8081;

/** Runs one instruction; 'ok' when the UD2 after it was reached. x87 has TOP 3 and empty registers. */
function machine() {
  const t = flat64();
  const { cpu } = t;
  cpu.setU16(STATE.fsw, 3 << 11);
  cpu.setU16(STATE.ftw, 0xffff);
  cpu.setBig(STATE.fpr + 16, 0x1122_3344_5566_7788n);
  cpu.setReg(RBX, BigInt(DATA));
  const control = (set: number, clear: number): void => {
    cpu.setU32(STATE.cr0, (cpu.u32(STATE.cr0) & ~(EM | TS | NE | clear)) | set);
    cpu.modeChanged();
  };
  const run = (...code: number[]): string => {
    t.run(CODE, [...code, ...UD2]);
    return cpu.rip === CODE + code.length ? 'ok' : (VECTORS[cpu.event.vector] ?? String(cpu.event.vector));
  };
  return { t, cpu, control, run, x87: () => [cpu.u16(STATE.fsw), cpu.u16(STATE.ftw)] };
}

describe('MMX and x87 share their registers (SDM Vol 3A, 12.2)', () => {
  it('an MMX instruction sets TOP to 0, all tags to valid, and the sign and exponent of what it writes to ones', () => {
    const { cpu, run, x87 } = machine();
    expect(run(...MOVQ_MM2_MM1)).toBe('ok');
    expect(x87()).toEqual([0, 0]);
    expect([cpu.big(STATE.fpr + 32), cpu.u16(STATE.fpr + 40)]).toEqual([0x1122_3344_5566_7788n, 0xffff]);
  });
  it('one that faults leaves x87 alone', () => {
    const { t, run, x87 } = machine();
    t.map(DATA, 0, 0);
    expect(run(...PADDB_MM2_RBX)).toBe('#PF');
    expect(x87()).toEqual([3 << 11, 0xffff]);
  });
  it('a conversion from memory leaves x87 alone, from a register it does not', () => {
    const { run, x87 } = machine();
    expect(run(...CVTPI2PD_XMM0_RBX)).toBe('ok');
    expect(x87()).toEqual([3 << 11, 0xffff]);
    expect(run(...CVTPI2PD_XMM0_MM1)).toBe('ok');
    expect(x87()).toEqual([0, 0]);
  });
  it('FNSTENV finds tags by the contents', () => {
    const { t, run } = machine();
    expect(run(...MOVQ_MM2_MM1, ...FNSTENV_RBX)).toBe('ok');
    // Register 2 is special now, 1 has an unnormal, the others are zero.
    expect(t.machine.ram.read32((DATA + 8) as Maddr) & 0xffff).toBe(0x5569);
  });
});

describe.each([
  ['staged', MOVQ_MM2_MM1, 'mmx'],
  ['with an XMM register', CVTPI2PD_XMM0_MM1, 'xmm'],
  ['in TypeScript', MASKMOVQ_MM2_MM1, 'mmx'],
] as const)('an MMX instruction, %s', (_, code, kind) => {
  it('is #UD with CR0.EM, #NM with CR0.TS, #UD with both', () => {
    const { control, run } = machine();
    const got = [EM, TS, EM | TS].map((bits) => {
      control(bits | NE, 0);
      return run(...code);
    });
    expect(got).toEqual(['#UD', '#NM', '#UD']);
  });
  it('reports a pending x87 exception first, if CR0.NE asks for that', () => {
    const { cpu, control, run } = machine();
    cpu.setU16(STATE.fsw, ES);
    cpu.setU16(STATE.fcw, 0x37e);
    control(NE, 0);
    expect(run(...code)).toBe('#MF');
    control(0, NE);
    expect(run(...code)).toBe('ok');
  });
  it('needs CR4.OSFXSR only for XMM registers', () => {
    const { cpu, run } = machine();
    cpu.setU32(STATE.cr4, cpu.u32(STATE.cr4) & ~0x200);
    cpu.modeChanged();
    expect(run(...code)).toBe(kind === 'xmm' ? '#UD' : 'ok');
  });
});

it('MASKMOVQ stores the bytes whose mask byte is negative, and is an MMX instruction', () => {
  const { t, cpu, run, x87 } = machine();
  cpu.setReg(RDI, BigInt(DATA));
  cpu.setBig(STATE.fpr + 16, 0x8000_0000_0000_00ffn);
  cpu.setBig(STATE.fpr + 32, 0x8877_6655_4433_2211n);
  expect(run(...MASKMOVQ_MM2_MM1)).toBe('ok');
  expect([t.machine.ram.read32(DATA as Maddr), t.machine.ram.read32((DATA + 4) as Maddr) >>> 0]).toEqual([0x11, 0x8800_0000]);
  expect(x87()).toEqual([0, 0]);
});
