import { describe, expect, it } from 'vitest';
import { RAX, RBX, RCX, RDI, RDX, STATE } from '../state.ts';
import { CR4 } from './bits.ts';
import { withFeatures } from './cpuid.ts';
import type { FakeCpu } from './fake-cpu.ts';
import { DATA, longCpu } from './fake-cpu.ts';

function withXsave(): FakeCpu {
  const c = longCpu(0);
  c.profile = withFeatures(c.profile, ['xsave']);
  c.setHalves(STATE.cr4, c.lo(STATE.cr4) | CR4.OSXSAVE, 0);
  c.setBig(STATE.xcr0, 3n);
  c.setReg(RBX, BigInt(DATA));
  c.setReg(RAX, 3n);
  c.setReg(RDX, 0n);
  return c;
}
const XSAVE64 = [0x48, 0x0f, 0xae, 0x23];
const XRSTOR64 = [0x48, 0x0f, 0xae, 0x2b];

describe('XSAVE and XRSTOR (SDM Vol 1, 13.4, 13.7, 13.8)', () => {
  it('save and restore what EDX:EAX and XCR0 name', () => {
    const c = withXsave();
    c.setBig(STATE.xmm, 0x1234n);
    expect(c.outcome(...XSAVE64)).toBe('ok');
    expect([c.read(DATA + 512, 8), c.read(DATA + 160, 8)]).toEqual([3n, 0x1234n]);
    c.setBig(STATE.xmm, 0n);
    expect(c.outcome(...XRSTOR64)).toBe('ok');
    expect(c.big(STATE.xmm)).toBe(0x1234n);
  });
  it('a component absent from XSTATE_BV is initialized', () => {
    const c = withXsave();
    c.execute(...XSAVE64);
    c.write(DATA + 512, 8, 1);
    c.setBig(STATE.xmm, 7n);
    expect(c.outcome(...XRSTOR64)).toBe('ok');
    expect(c.big(STATE.xmm)).toBe(0n);
  });
  it('refuse a bad header, a misaligned area, and to run without CR4.OSXSAVE', () => {
    const c = withXsave();
    c.execute(...XSAVE64);
    c.write(DATA + 520, 8, 1);
    expect(c.outcome(...XRSTOR64)).toBe('#GP(0)');
    c.write(DATA + 520, 8, 0);
    c.write(DATA + 512, 8, 4);
    expect(c.outcome(...XRSTOR64)).toBe('#GP(0)');
    c.setReg(RBX, BigInt(DATA + 16));
    expect(c.outcome(...XSAVE64)).toBe('#GP(0)');
    c.setHalves(STATE.cr4, c.lo(STATE.cr4) & ~CR4.OSXSAVE, 0);
    expect(c.outcome(...XSAVE64)).toBe('#UD');
  });
  it('are #UD on a processor that does not offer them', () => {
    const c = longCpu(0);
    c.profile = withFeatures(c.profile, ['-xsave']);
    expect(c.outcome(...XSAVE64)).toBe('#UD');
  });
  it('XSETBV takes x87 alone or with SSE, at level 0', () => {
    const c = withXsave();
    c.setReg(RCX, 0n);
    for (const [v, outcome] of [
      [1n, 'ok'],
      [3n, 'ok'],
      [2n, '#GP(0)'],
      [7n, '#GP(0)'],
    ] as const) {
      c.setReg(RAX, v);
      expect(c.outcome(0x0f, 0x01, 0xd1)).toBe(outcome);
    }
    expect(c.outcome(0x0f, 0x01, 0xd0)).toBe('ok');
    expect(c.reg(RAX)).toBe(3n);
  });
});

it('MASKMOVDQU stores the bytes whose mask byte is negative', () => {
  const c = longCpu(3);
  c.setReg(RDI, BigInt(DATA));
  c.write(DATA, 8, 0);
  c.setBig(STATE.xmm, 0x8877_6655_4433_2211n);
  c.setBig(STATE.xmm + 16, 0x80ff_0000_007f_0080n);
  expect(c.outcome(0x66, 0x0f, 0xf7, 0xc1)).toBe('ok');
  expect(c.read(DATA, 8)).toBe(0x8877_0000_0000_0011n);
});
