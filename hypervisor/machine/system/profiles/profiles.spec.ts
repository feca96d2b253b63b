// CPUID promises only what is there: profiles against the list of what the machine does, and instructions against profiles.

import { describe, expect, it } from 'vitest';
import type { Lin, Maddr } from '../../addresses.ts';
import { RunExit } from '../../cpu-api.ts';
import { createMachine, type Machine } from '../../index.ts';
import { FAMILIES } from '../../isa/index.ts';
import { CS, DS, ES, RAX, RBX, RCX, RDX, SS, STATE } from '../../state.ts';
import { CR0 } from '../bits.ts';
import { cr4Allowed } from '../control.ts';
import { cpuid, cpuidOf, FEATURES, IMPLEMENTED, PROFILES, withFeatures } from '../cpuid.ts';
import { HANDLERS } from '../execute.ts';
import { longCpu } from '../fake-cpu.ts';
import { MSR, readMsr, writeMsr } from '../msr.ts';
import { MSR_AMD } from '../msr-vendor.ts';
import type { CpuProfile } from './profile.ts';

const NAMES = Object.keys(PROFILES);
const named = (name: string): CpuProfile => PROFILES[name]!;
const INSTRUCTIONS = Object.values(FAMILIES).flat(1);

/** Bits of a feature register that have a name which is not implemented, or none. */
function promisedInVain(p: CpuProfile): string[] {
  const wrong: string[] = [];
  const leaves = new Map([...FEATURES.values()].map((f) => [`${f.leaf}/${f.subleaf}/${f.register}`, f]));
  for (const { leaf, subleaf, register } of leaves.values()) {
    // Sizes and addresses share the registers of these with feature bits: only named bits count there.
    const onlyNamed = leaf === 0x8000_0008 || leaf === 6;
    if (leaf >= 0x8000_0000 ? leaf > p.maxExtendedLeaf : leaf > p.maxLeaf) continue;
    const value = cpuidOf(p, leaf, subleaf, 0)[register]!;
    for (let bit = 0; bit < 32; bit++) {
      if (!((value >>> bit) & 1)) continue;
      const name = [...FEATURES].find(([, f]) => f.leaf === leaf && f.subleaf === subleaf && f.register === register && f.bit === bit)?.[0];
      // AMD repeats leaf 1 EDX in leaf 80000001 EDX (APM Vol 3, E.4.2).
      const repeated =
        p.vendor === 'AuthenticAMD' && leaf === 0x8000_0001 && register === 3 && ((cpuidOf(p, 1, 0, 0)[3] >>> bit) & 1) === 1;
      if (repeated || (name !== undefined && IMPLEMENTED.has(name)) || (name === undefined && onlyNamed)) continue;
      wrong.push(`${leaf.toString(16)}.${subleaf} register ${register} bit ${bit} ${name ?? ''}`);
    }
  }
  return wrong;
}

describe('features', () => {
  for (const name of NAMES)
    it(`of ${name} are all implemented`, () => {
      expect(promisedInVain(named(name))).toEqual([]);
    });
  it('that are implemented have bits, and carry out every instruction that names them', () => {
    expect([...IMPLEMENTED].filter((f) => !FEATURES.has(f))).toEqual([]);
    const missing = INSTRUCTIONS.filter((i) => i.cpuid !== undefined && IMPLEMENTED.has(i.cpuid) && !i.sem && !HANDLERS.has(i.mnemonic));
    expect(missing.map((i) => i.mnemonic)).toEqual([]);
  });
  it('AVX is masked everywhere', () => {
    for (const name of NAMES) for (const f of ['avx', 'avx2', 'fma', 'f16c', 'ht']) expect(named(name).features.has(f)).toBe(false);
  });
  it('VMX is on the Intel processors that had it', () => {
    expect(NAMES.filter((n) => named(n).features.has('vmx'))).toEqual(['p4-672', 'core2', 'nehalem', 'skylake-sp']);
  });
});

describe('SVM (CPUID leaf 8000000A; APM Vol 3, E.4.9)', () => {
  it('is on the AMD processors: that of 2006 without anything that came later', () => {
    expect(NAMES.filter((n) => named(n).features.has('svm'))).toEqual(['k8-revf', 'zen']);
    expect(cpuidOf(named('k8-revf'), 0x8000_000a, 0, 0)).toEqual([1, 64, 0, 0]);
    // Of Zen's 1bcff: TSC scaling (4), AVIC (13) and the reserved bit 11 are not there.
    expect(cpuidOf(named('zen'), 0x8000_000a, 0, 0)).toEqual([1, 32768, 0, 0x1_94ef]);
  });
  it('is hidden with its leaf where the feature is taken away', () => {
    const without = withFeatures(named('zen'), ['-svm']);
    expect(cpuidOf(without, 0x8000_000a, 0, 0)).toEqual([0, 0, 0, 0]);
    expect(cpuidOf(without, 0x8000_0001, 0, 0)[2] & 4).toBe(0);
  });
  it('SVMDIS keeps EFER.SVME clear; LOCK keeps SVMDIS; the key of SVM_KEY opens it (APM Vol 2, 15.30)', () => {
    const c = longCpu();
    c.profile = named('zen');
    const svme = () => writeMsr(c, MSR.IA32_EFER, readMsr(c, MSR.IA32_EFER)! | 0x1000n);
    expect([writeMsr(c, MSR_AMD.SVM_KEY, 77n), writeMsr(c, MSR_AMD.VM_CR, 0x18n), svme()]).toEqual([true, true, false]);
    // Ignored while locked.
    expect([writeMsr(c, MSR_AMD.VM_CR, 0n), readMsr(c, MSR_AMD.VM_CR)]).toEqual([true, 0x18n]);
    expect([writeMsr(c, MSR_AMD.SVM_KEY, 78n), readMsr(c, MSR_AMD.VM_CR), readMsr(c, MSR_AMD.SVM_KEY)]).toEqual([true, 0x18n, 0n]);
    expect([writeMsr(c, MSR_AMD.SVM_KEY, 77n), writeMsr(c, MSR_AMD.VM_CR, 0n), svme()]).toEqual([true, true, true]);
    expect(writeMsr(c, MSR_AMD.VM_CR, 0x10n)).toBe(false);
  });
});

describe('what kernels read', () => {
  for (const [name, family, model, brand] of [
    ['486', 4, 9, ''],
    ['p4-672', 15, 4, 'Intel(R) Pentium(R) 4 CPU 3.80GHz'],
    ['core2', 6, 15, 'Intel(R) Core(TM)2 CPU         X6800  @ 2.93GHz'],
    ['nehalem', 6, 26, 'Intel(R) Xeon(R) CPU           X5550  @ 2.67GHz'],
    ['skylake-sp', 6, 85, 'Intel(R) Xeon(R) Gold 6154 CPU @ 3.00GHz'],
    ['k8-revf', 15, 95, 'AMD Athlon(tm) 64 Processor 3800+'],
    ['zen', 23, 1, 'AMD Ryzen 7 1800X Eight-Core Processor'],
    ['baseline', 6, 28, 'Ringworld virtual CPU'],
  ] as const) {
    it(`${name} is family ${family}, model ${model}, "${brand}"`, () => {
      const p = named(name);
      const s = p.signature;
      const base = (s >>> 8) & 15;
      expect(base === 15 ? base + ((s >>> 20) & 255) : base).toBe(family);
      expect(((s >>> 4) & 15) | (base === 15 || base === 6 ? ((s >>> 16) & 15) << 4 : 0)).toBe(model);
      expect(p.brand.trim()).toBe(brand);
    });
  }
  it('a package has one thread, in every leaf that tells', () => {
    for (const name of NAMES) {
      const p = named(name);
      expect((cpuidOf(p, 1, 0, 0)[1] >>> 16) & 255).toBeLessThanOrEqual(1);
      for (let i = 0; i < 4; i++) {
        expect(cpuidOf(p, 4, i, 0)[0] >>> 14).toBe(0);
        expect(cpuidOf(p, 0x8000_001d, i, 0)[0] >>> 14).toBe(0);
      }
      expect(cpuidOf(p, 0x8000_0008, 0, 0)[2]).toBe(0);
    }
  });
  it('the TSC rate of Skylake is in leaves 15 and 16: 3 GHz', () => {
    const [denominator, numerator] = cpuidOf(named('skylake-sp'), 0x15, 0, 0);
    expect((25 * numerator) / denominator).toBe(3000);
    expect(cpuidOf(named('skylake-sp'), 0x16, 0, 0)[0]).toBe(3000);
  });
  it('past the last leaf Intel answers as the last basic one, AMD zeroes', () => {
    const c = longCpu();
    c.profile = named('core2');
    expect(cpuid(c, 0x8000_0009, 0)).toEqual(cpuid(c, 0xa, 0));
    c.profile = named('486');
    expect(cpuid(c, 0x8000_0000, 0)).toEqual(cpuid(c, 1, 0));
    c.profile = named('zen');
    expect([cpuid(c, 0xe, 0), cpuid(c, 0x8000_0020, 0)]).toEqual([
      [0, 0, 0, 0],
      [0, 0, 0, 0],
    ]);
  });
  it('leaves without subleaves do not look at ECX (SDM Vol 2A, CPUID)', () => {
    for (const p of Object.values(PROFILES))
      for (const leaf of [0, 1, 2, 6, 0x8000_0000, 0x8000_0001, 0x8000_0002, 0x8000_0008])
        expect(cpuidOf(p, leaf, 0x1234_5678, 0), `${p.name} ${leaf.toString(16)}`).toEqual(cpuidOf(p, leaf, 0, 0));
    expect(cpuidOf(PROFILES.nehalem!, 4, 1, 0)).not.toEqual(cpuidOf(PROFILES.nehalem!, 4, 0, 0));
  });

  it('leaf D follows XCR0, and names PKRU where it is', () => {
    const p = named('skylake-sp');
    expect(cpuidOf(p, 0xd, 0, 0, 3)).toEqual([0x203, 576, 0xa88, 0]);
    expect(cpuidOf(p, 0xd, 0, 0, 0x203)).toEqual([0x203, 0xa88, 0xa88, 0]);
    expect(cpuidOf(p, 0xd, 9, 0)).toEqual([8, 0xa80, 0, 0]);
    expect(cpuidOf(p, 0xd, 1, 0, 0x203)).toEqual([0xf, 584, 0, 0]);
    expect(cpuidOf(named('zen'), 0xd, 0, 0, 3)).toEqual([3, 576, 576, 0]);
    expect(cpuidOf(named('core2'), 0xd, 0, 0, 3)).toEqual([0, 0, 0, 0]);
  });
  it('IA32_MISC_ENABLE limits CPUID to leaf 3 and turns MONITOR off (SDM Vol 4, Table 2-2)', () => {
    const c = longCpu();
    expect(cpuid(c, 0, 0)[0]).toBe(0x16);
    expect(cpuid(c, 1, 0)[2] & 8).toBe(8);
    writeMsr(c, MSR.IA32_MISC_ENABLE, (1n << 22n) | 1n);
    expect(cpuid(c, 0, 0)[0]).toBe(3);
    expect(cpuid(c, 1, 0)[2] & 8).toBe(0);
  });
});

describe('control registers by profile (SDM Vol 3A, 2.5)', () => {
  it('the 486 has VME and PVI of CR4, and nothing else', () => {
    expect(cr4Allowed(named('486'))).toBe(3);
  });
  it('K8 has no CR4 bit that came later than SSE', () => {
    expect(cr4Allowed(named('k8-revf'))).toBe(0x7ff);
  });
  it('Skylake has VMXE, PCID, SMEP, SMAP, PKE, FSGSBASE and OSXSAVE, but no UMIP', () => {
    expect(cr4Allowed(named('skylake-sp'))).toBe(0x7ff | (1 << 13) | (1 << 16) | (1 << 17) | (1 << 18) | (7 << 20));
  });
});

describe('MSRs by profile (SDM Vol 4; APM Vol 2, appendix A)', () => {
  const cases: [string, number, readonly string[]][] = [
    // what, number, the profiles that have it
    ['IA32_EFER', MSR.IA32_EFER, ['baseline', 'p4-672', 'core2', 'nehalem', 'skylake-sp', 'k8-revf', 'zen']],
    ['IA32_TIME_STAMP_COUNTER', MSR.IA32_TIME_STAMP_COUNTER, NAMES.filter((n) => n !== '486')],
    ['IA32_TSC_ADJUST', MSR.IA32_TSC_ADJUST, ['skylake-sp']],
    ['IA32_TSC_AUX', MSR.IA32_TSC_AUX, ['baseline', 'nehalem', 'skylake-sp', 'k8-revf', 'zen']],
    ['IA32_PLATFORM_ID', MSR.IA32_PLATFORM_ID, ['baseline', 'p4-672', 'core2', 'nehalem', 'skylake-sp']],
    ['MSR_PLATFORM_INFO', MSR.MSR_PLATFORM_INFO, ['baseline', 'nehalem', 'skylake-sp']],
    ['MSR_MISC_FEATURES_ENABLES', MSR.MSR_MISC_FEATURES_ENABLES, ['baseline', 'skylake-sp']],
    ['IA32_XSS', MSR.IA32_XSS, ['skylake-sp', 'zen']],
    ['SYSCFG', MSR_AMD.SYSCFG, ['k8-revf', 'zen']],
    ['HWCR', MSR_AMD.HWCR, ['k8-revf', 'zen']],
    ['TOP_MEM', MSR_AMD.TOP_MEM, ['k8-revf', 'zen']],
    ['VM_CR', MSR_AMD.VM_CR, ['k8-revf', 'zen']],
    ['VM_HSAVE_PA', MSR_AMD.VM_HSAVE_PA, ['k8-revf', 'zen']],
    ['SVM_KEY', MSR_AMD.SVM_KEY, ['zen']],
    ['a number that nobody has', 0x4567_89ab, []],
  ];
  for (const [what, n, have] of cases)
    it(`${what} exists on ${have.length === 0 ? 'none' : have.join(', ')}`, () => {
      const c = longCpu();
      expect(
        NAMES.filter((name) => {
          c.profile = named(name);
          return readMsr(c, n) !== undefined;
        }).sort(),
      ).toEqual([...have].sort());
    });
  const writes: [string, string, number, bigint, boolean][] = [
    ['an MTRR base of an undefined type', 'skylake-sp', 0x200, 0x1002n, false],
    ['an MTRR base with reserved bits', 'skylake-sp', 0x200, 0x1106n, false],
    ['an MTRR base above MAXPHYADDR', 'skylake-sp', 0x200, 1n << 46n, false],
    ['an MTRR base', 'skylake-sp', 0x200, 0x8000_0006n, true],
    ['an MTRR mask with reserved bits', 'skylake-sp', 0x201, 0x3fff_8000_0c00n, false],
    ['an MTRR mask', 'skylake-sp', 0x201, 0x3fff_8000_0800n, true],
    ['a fixed MTRR of type UC-', 'skylake-sp', 0x250, 7n, false],
    ['the default type', 'skylake-sp', 0x2ff, 0xc06n, true],
    ['the default type with reserved bits', 'skylake-sp', 0x2ff, 0x1006n, false],
    ['IA32_XSS', 'skylake-sp', 0xda0, 1n, false],
    ['EFER.FFXSR on AMD', 'k8-revf', 0xc000_0080, 0x4d01n, true],
    ['EFER.FFXSR on Intel', 'skylake-sp', 0xc000_0080, 0x4d01n, false],
    ['EFER.SVME', 'k8-revf', 0xc000_0080, 0x1d01n, true],
    ['EFER.SVME where there is no SVM', 'skylake-sp', 0xc000_0080, 0x1d01n, false],
    ['VM_CR with reserved bits', 'zen', MSR_AMD.VM_CR, 0x20n, false],
    ['a host save area that is no page', 'zen', MSR_AMD.VM_HSAVE_PA, 0x10n, false],
    ['DEBUGCTL with LBR and BTF', 'skylake-sp', 0x1d9, 3n, true],
    ['DEBUGCTL with BTS', 'skylake-sp', 0x1d9, 0x80n, false],
    ['AMD DebugCtl with PB0', 'zen', 0x1d9, 4n, true],
    ['TOP_MEM that is not a multiple of 8 MiB', 'zen', 0xc001_001a, 0x1000n, false],
  ];
  for (const [what, profile, n, v, ok] of writes)
    it(`${what} is ${ok ? 'written' : '#GP(0)'}`, () => {
      const c = longCpu();
      c.profile = named(profile);
      expect(writeMsr(c, n, v)).toBe(ok);
    });
  it('TSC_ADJUST moves with the counter and moves it (SDM Vol 3B, 17.17.3)', () => {
    const c = longCpu();
    const before = readMsr(c, MSR.IA32_TIME_STAMP_COUNTER)!;
    writeMsr(c, MSR.IA32_TIME_STAMP_COUNTER, before + 500n);
    expect(readMsr(c, MSR.IA32_TSC_ADJUST)).toBe(500n);
    writeMsr(c, MSR.IA32_TSC_ADJUST, 100n);
    expect(readMsr(c, MSR.IA32_TIME_STAMP_COUNTER)).toBe(before + 100n);
    writeMsr(c, MSR.IA32_TSC_ADJUST, (1n << 64n) - 100n);
    expect(readMsr(c, MSR.IA32_TIME_STAMP_COUNTER)).toBe(before - 100n);
  });
});

describe('instructions outside a profile are #UD', () => {
  const machines = new Map<string, Machine>();
  /** Runs one instruction in flat 32-bit code at CPL 0; 'ok' when the HLT after it was reached. */
  function run(profile: string, code: readonly number[]): string {
    const machine = machines.get(profile) ?? createMachine({ ramBytes: 1 << 20, cpus: 1, profile });
    machines.set(profile, machine);
    const cpu = machine.cpus[0]!;
    cpu.rflags = 2;
    cpu.setU32(STATE.cr0, CR0.PE | CR0.ET | CR0.NE);
    cpu.setU32(STATE.cr4, 0x600);
    cpu.setSegment(CS, 8, 0xc09b, 0xffffffff, 0);
    for (const s of [SS, DS, ES]) cpu.setSegment(s, 16, 0xc093, 0xffffffff, 0);
    cpu.setU16(STATE.fcw, 0x37f);
    cpu.setU16(STATE.ftw, 0);
    cpu.setU32(STATE.mxcsr, 0x1f80);
    for (const r of [RAX, RCX, RDX]) cpu.setReg(r, 0n);
    cpu.setReg(RBX, 0x8000n);
    cpu.delivery = 'host';
    cpu.modeChanged();
    machine.ram.writeBytes(0x1000 as Maddr, Uint8Array.from([...code, 0xf4]));
    cpu.rip = 0x1000 as Lin;
    const exit = cpu.run(cpu.cycles + 100);
    return exit === RunExit.halt ? 'ok' : exit === RunExit.exception ? `#${cpu.event.vector}` : `exit ${exit}`;
  }
  const cases: [string, readonly number[], readonly string[]][] = [
    // what, bytes, profiles on which it is #UD
    ['CMOV', [0x0f, 0x44, 0xc1], ['486']],
    ['FCOMI', [0xdb, 0xf1], ['486']],
    ['CMPXCHG8B', [0x0f, 0xc7, 0x0b], ['486']],
    ['RDTSC', [0x0f, 0x31], ['486']],
    ['a long NOP', [0x0f, 0x1f, 0xc0], ['486']],
    ['RDMSR', [0x0f, 0x32], ['486']],
    ['CPUID', [0x0f, 0xa2], []],
    ['BSWAP', [0x0f, 0xc8], []],
    ['MOVD (MMX)', [0x0f, 0x6e, 0xc0], ['486']],
    ['FXSAVE', [0x0f, 0xae, 0x03], ['486']],
    ['MOVAPS (SSE)', [0x0f, 0x28, 0xc1], ['486']],
    ['MFENCE (SSE2)', [0x0f, 0xae, 0xf0], ['486']],
    ['POPCNT', [0xf3, 0x0f, 0xb8, 0xc0], ['486', 'p4-672', 'core2', 'k8-revf']],
    ['MOVBE', [0x0f, 0x38, 0xf0, 0x03], ['486', 'p4-672', 'core2', 'nehalem', 'k8-revf']],
    ['RDRAND', [0x0f, 0xc7, 0xf0], ['486', 'p4-672', 'core2', 'nehalem', 'k8-revf']],
    ['RDTSCP', [0x0f, 0x01, 0xf9], ['486', 'p4-672', 'core2']],
    ['CLFLUSHOPT', [0x66, 0x0f, 0xae, 0x3b], NAMES.filter((n) => n !== 'skylake-sp' && n !== 'zen')],
    ['STAC', [0x0f, 0x01, 0xcb], NAMES.filter((n) => n !== 'skylake-sp' && n !== 'zen')],
  ];
  for (const [what, code, refused] of cases)
    it(`${what}: ${refused.length === 0 ? 'on all' : `not on ${refused.join(', ')}`}`, () => {
      expect(NAMES.filter((n) => run(n, code) === '#6').sort()).toEqual([...refused].sort());
      for (const n of NAMES) if (!refused.includes(n)) expect(['ok', '#13']).toContain(run(n, code));
    });
});
