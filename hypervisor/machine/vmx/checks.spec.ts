// The checks of a VM entry as a whole, and those on MSRs to be loaded. Each rule by itself: checks-controls, checks-host, checks-guest.

import { describe, expect, it } from 'vitest';
import { DS, ES, FS, GS, LDTR, SS } from '../state.ts';
import { PROFILES } from '../system/cpuid.ts';
import { MSR } from '../system/msr.ts';
import { baseline, p4, skylake } from '../testing/vmx-entry.ts';
import { capabilitiesOf } from './capabilities.ts';
import { failingMsr, MSR_LOAD_CHECKS } from './checks.ts';

describe('VM entry', () => {
  it('passes a sound state on every processor', () => {
    for (const p of Object.values(PROFILES)) {
      const caps = capabilitiesOf(p);
      if (caps) expect([p.name, baseline(caps).failure()]).toEqual([p.name, ['guest', undefined]]);
    }
  });
  it('lets an unrestricted guest run in real mode, and lets others be in virtual-8086 mode', () => {
    const real = baseline(skylake);
    real.toReal();
    expect(real.failure()[1]).toBeUndefined();
    const v8086 = baseline(p4);
    v8086.toVirtual8086();
    expect(v8086.failure()[1]).toBeUndefined();
  });
  it('takes an unrestricted guest for what it is: no error codes in real mode', () => {
    const real = baseline(skylake);
    real.toReal();
    real.inject(3, 13);
    expect(real.failure()[1]).toBeUndefined();
    real.inject(3, 13, 0);
    expect(real.failure()[1]?.name).toBe('an injected event that has no error code delivers none');
  });
  it('does not look at unusable segment registers', () => {
    const s = baseline(skylake);
    for (const r of [SS, DS, ES, FS, GS, LDTR]) s.segment(r, r === SS ? 0 : 0x17, 0x1_0000, 0x1234_5678, 0x1_0000_0000);
    expect(s.failure()[1]).toBeUndefined();
  });
});

describe('MSRs that an entry loads (SDM Vol 3C, 26.4)', () => {
  const cases: readonly [rule: string, index: number, reserved: number][] = [
    ['IA32_FS_BASE is not loaded from a list', MSR.IA32_FS_BASE, 0],
    ['IA32_GS_BASE is not loaded from a list', MSR.IA32_GS_BASE, 0],
    ['x2APIC registers are not loaded from a list', 0x8ff, 0],
    ['MSRs for SMM only are not loaded', 0x9b, 0],
    ['IA32_BIOS_UPDT_TRIG is not loaded from a list', 0x79, 0],
    ['IA32_BIOS_SIGN_ID is not loaded from a list', 0x8b, 0],
    ['bits 63:32 of a list entry are 0', MSR.IA32_PAT, 1],
  ];
  it('each rule once', () => {
    expect(cases.map(([rule]) => rule)).toEqual(MSR_LOAD_CHECKS.map((r) => r.name));
    for (const [rule, index, reserved] of cases) expect(failingMsr(index, reserved)?.name).toBe(rule);
    for (const n of [MSR.IA32_PAT, MSR.IA32_KERNEL_GS_BASE, 0x7ff, 0x900]) expect(failingMsr(n, 0)).toBeUndefined();
  });
});
