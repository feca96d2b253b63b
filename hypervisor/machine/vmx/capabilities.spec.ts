// Capabilities by generation: against capability MSRs that were read from silicon, and against each other.

import { describe, expect, it } from 'vitest';
import { PROFILES, withFeatures } from '../system/cpuid.ts';
import { longCpu } from '../system/fake-cpu.ts';
import { readMsr, writeMsr } from '../system/msr.ts';
import { IA32_FEATURE_CONTROL, isVmxEnabled } from '../system/msr-vmx.ts';
import { capabilitiesOf, MSR_VMX, type VmxCapabilities } from './capabilities.ts';
import type { ControlName } from './controls.ts';
import { fieldOf, VMCS, type VmcsName } from './fields.ts';

const of = (name: string): VmxCapabilities => capabilitiesOf(PROFILES[name]!)!;
const WITH_VMX = ['p4-672', 'core2', 'nehalem', 'skylake-sp'];

describe('capability MSRs (SDM Vol 3D, appendix A)', () => {
  // As capabilities.ts says where they were read. Without the controls that the machine does not have: load IA32_PERF_GLOBAL_CTRL (exit
  // 12, entry 13), and those of SMM (entry 10 and 11). Nehalem's TRUE MSRs are Sandy Bridge's.
  const cases: readonly [profile: string, msr: keyof typeof MSR_VMX, silicon: bigint, missing: bigint][] = [
    ['core2', 'IA32_VMX_PINBASED_CTLS', 0x0000001f_00000016n, 0n],
    ['core2', 'IA32_VMX_PROCBASED_CTLS', 0x77b9fffe_0401e172n, 0n],
    ['core2', 'IA32_VMX_EXIT_CTLS', 0x0003efff_00036dffn, 0n],
    ['core2', 'IA32_VMX_ENTRY_CTLS', 0x00001fff_000011ffn, 0xc00n << 32n],
    // Bit 9 is reserved.
    ['core2', 'IA32_VMX_MISC', 0x403c0n, 0x200n],
    ['core2', 'IA32_VMX_CR0_FIXED0', 0x80000021n, 0n],
    ['core2', 'IA32_VMX_CR4_FIXED1', 0x27ffn, 0n],
    ['nehalem', 'IA32_VMX_MISC', 0x401c5n, 0n],
    ['nehalem', 'IA32_VMX_PINBASED_CTLS', 0x0000007f_00000016n, 0n],
    ['nehalem', 'IA32_VMX_TRUE_PINBASED_CTLS', 0x0000007f_00000016n, 0n],
    ['nehalem', 'IA32_VMX_PROCBASED_CTLS', 0xfff9fffe_0401e172n, 0n],
    ['nehalem', 'IA32_VMX_TRUE_PROCBASED_CTLS', 0xfff9fffe_04006172n, 0n],
    ['nehalem', 'IA32_VMX_PROCBASED_CTLS2', 0x0000007f_00000000n, 0n],
    ['nehalem', 'IA32_VMX_EXIT_CTLS', 0x007fffff_00036dffn, 1n << 44n],
    ['nehalem', 'IA32_VMX_TRUE_EXIT_CTLS', 0x007fffff_00036dfbn, 1n << 44n],
    ['nehalem', 'IA32_VMX_ENTRY_CTLS', 0x0000ffff_000011ffn, 0x2c00n << 32n],
    ['nehalem', 'IA32_VMX_TRUE_ENTRY_CTLS', 0x0000ffff_000011fbn, 0x2c00n << 32n],
    ['nehalem', 'IA32_VMX_EPT_VPID_CAP', 0x00000f01_06114141n, 0n],
    ['nehalem', 'IA32_VMX_CR0_FIXED0', 0x80000021n, 0n],
    ['nehalem', 'IA32_VMX_CR0_FIXED1', 0xffffffffn, 0n],
    ['nehalem', 'IA32_VMX_CR4_FIXED0', 0x2000n, 0n],
    ['nehalem', 'IA32_VMX_CR4_FIXED1', 0x27ffn, 0n],
    // Bit 22, advanced information for EPT violations, is not offered.
    ['skylake-sp', 'IA32_VMX_EPT_VPID_CAP', 0x00000f01_06734141n, 1n << 22n],
    ['skylake-sp', 'IA32_VMX_VMFUNC', 1n, 0n],
  ];
  for (const [profile, msr, silicon, missing] of cases)
    it(`${msr} of ${profile} is silicon's, less what is missing`, () => {
      const c = longCpu();
      c.profile = PROFILES[profile]!;
      expect(readMsr(c, MSR_VMX[msr])!.toString(16)).toBe((silicon & ~missing).toString(16));
    });
  it('exist where VMX does, each with what it tells about', () => {
    const c = longCpu();
    const without: Record<string, readonly string[]> = {
      'p4-672': [
        'PROCBASED_CTLS2',
        'EPT_VPID_CAP',
        'TRUE_PINBASED_CTLS',
        'TRUE_PROCBASED_CTLS',
        'TRUE_EXIT_CTLS',
        'TRUE_ENTRY_CTLS',
        'VMFUNC',
      ],
      core2: [
        'PROCBASED_CTLS2',
        'EPT_VPID_CAP',
        'TRUE_PINBASED_CTLS',
        'TRUE_PROCBASED_CTLS',
        'TRUE_EXIT_CTLS',
        'TRUE_ENTRY_CTLS',
        'VMFUNC',
      ],
      nehalem: ['VMFUNC'],
      'skylake-sp': [],
    };
    for (const p of Object.values(PROFILES)) {
      c.profile = p;
      const absent = Object.entries(MSR_VMX).filter(([, n]) => readMsr(c, n) === undefined);
      const expected = without[p.name]?.map((n) => `IA32_VMX_${n}`) ?? Object.keys(MSR_VMX);
      expect([p.name, absent.map(([n]) => n).sort()]).toEqual([p.name, [...expected].sort()]);
      for (const n of Object.values(MSR_VMX)) expect(writeMsr(c, n, 0n)).toBe(false);
    }
  });
  it('IA32_VMX_BASIC: revision, size, write-back, INS and OUTS, TRUE controls', () => {
    for (const name of WITH_VMX) {
      const basic = of(name).msrs.get(MSR_VMX.IA32_VMX_BASIC)!;
      expect(Number(basic & 0xffff_ffffn)).toBe(of(name).revision);
      expect(basic >> 48n).toBe(0x18n | (name === 'nehalem' || name === 'skylake-sp' ? 0xc0n : 0n));
      expect((basic >> 32n) & 0x1fffn).toBeLessThanOrEqual(4096n);
    }
    expect(new Set(WITH_VMX.map((n) => of(n).revision)).size).toBe(4);
  });
  it("IA32_VMX_MISC of Skylake is silicon's 7004C1E7, less processor trace and SMM (bits 14, 15, 28)", () => {
    expect(of('skylake-sp').msrs.get(MSR_VMX.IA32_VMX_MISC)).toBe(0x7004c1e7n & ~0x1000c000n);
  });
});

describe('generations', () => {
  it('only add', () => {
    for (let i = 1; i < WITH_VMX.length; i++) {
      const [older, newer] = [of(WITH_VMX[i - 1]!), of(WITH_VMX[i]!)];
      for (const e of older.fields.keys()) expect(newer.fields.has(e)).toBe(true);
      for (const [w, a] of Object.entries(older.allowed) as [keyof VmxCapabilities['allowed'], { one: number; zero: number }][]) {
        expect(a.one & ~newer.allowed[w].one).toBe(0);
        expect(newer.allowed[w].zero & ~a.zero).toBe(0);
      }
    }
  });
  const firsts: readonly [ControlName, VmcsName | undefined, readonly string[]][] = [
    ['primary.useTprShadow', 'VIRTUAL_APIC_PAGE_ADDR', WITH_VMX],
    ['primary.activateSecondaryControls', 'SECONDARY_VM_EXEC_CONTROL', WITH_VMX.slice(2)],
    ['pin.virtualNmis', undefined, WITH_VMX.slice(2)],
    ['secondary.virtualizeApicAccesses', 'APIC_ACCESS_ADDR', WITH_VMX.slice(2)],
    ['secondary.enableEpt', 'EPT_POINTER', WITH_VMX.slice(2)],
    ['secondary.enableVpid', 'VIRTUAL_PROCESSOR_ID', WITH_VMX.slice(2)],
    ['pin.activatePreemptionTimer', 'GUEST_PREEMPTION_TIMER', WITH_VMX.slice(2)],
    ['entry.loadEfer', 'GUEST_EFER', WITH_VMX.slice(2)],
    ['secondary.unrestrictedGuest', undefined, ['skylake-sp']],
    ['secondary.enablePml', 'PML_ADDRESS', ['skylake-sp']],
    ['secondary.enableVmFunctions', 'EPTP_LIST_ADDR', ['skylake-sp']],
    ['secondary.vmcsShadowing', 'VMREAD_BITMAP', ['skylake-sp']],
    ['secondary.eptViolationVe', 'VIRT_EXCEPTION_INFO', []],
  ];
  for (const [control, field, have] of firsts)
    it(`${control}${field ? ` and the field ${field}` : ''}: ${have.join(', ') || 'none'}`, () => {
      expect(WITH_VMX.filter((n) => of(n).has(control))).toEqual(have);
      if (field) expect(WITH_VMX.filter((n) => fieldOf(VMCS[field], of(n).fields) !== undefined)).toEqual(have);
    });
  it('a high half exists exactly where its field does', () => {
    for (const n of WITH_VMX)
      for (const f of of(n).fields.values()) if (f.width === 64) expect(of(n).fields.has(f.encoding ^ 1)).toBe(true);
  });
  it('a processor that is given VMX has all of it; one without has none', () => {
    expect(capabilitiesOf(PROFILES.baseline!)).toBeUndefined();
    expect(capabilitiesOf(withFeatures(PROFILES.baseline!, ['vmx']))!.unrestrictedGuest).toBe(true);
    expect(capabilitiesOf(withFeatures(PROFILES['skylake-sp']!, ['-vmx']))).toBeUndefined();
  });
});

describe('IA32_FEATURE_CONTROL (SDM Vol 3C, 23.7)', () => {
  it('is open after reset, takes VMX outside SMX, and the lock closes it', () => {
    const c = longCpu();
    c.profile = PROFILES['p4-672']!;
    expect([readMsr(c, IA32_FEATURE_CONTROL), isVmxEnabled(c)]).toEqual([0n, false]);
    for (const bad of [2n, 8n, 1n << 20n, 1n << 63n]) expect(writeMsr(c, IA32_FEATURE_CONTROL, bad)).toBe(false);
    expect([writeMsr(c, IA32_FEATURE_CONTROL, 4n), isVmxEnabled(c)]).toEqual([true, false]);
    expect([writeMsr(c, IA32_FEATURE_CONTROL, 5n), isVmxEnabled(c)]).toEqual([true, true]);
    for (const v of [0n, 4n, 5n]) expect(writeMsr(c, IA32_FEATURE_CONTROL, v)).toBe(false);
    expect(readMsr(c, IA32_FEATURE_CONTROL)).toBe(5n);
  });
  it('locked with VMX off leaves it off', () => {
    const c = longCpu();
    c.profile = PROFILES.nehalem!;
    expect([writeMsr(c, IA32_FEATURE_CONTROL, 1n), isVmxEnabled(c)]).toEqual([true, false]);
  });
  it("is locked and off on Intel processors without VMX, and not there on AMD's", () => {
    const c = longCpu();
    c.profile = PROFILES.baseline!;
    expect([readMsr(c, IA32_FEATURE_CONTROL), writeMsr(c, IA32_FEATURE_CONTROL, 5n)]).toEqual([1n, false]);
    c.profile = PROFILES.zen!;
    expect(readMsr(c, IA32_FEATURE_CONTROL)).toBeUndefined();
  });
});
