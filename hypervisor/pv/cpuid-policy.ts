// Which CPUID features a PV guest may see: the machine's, less what cannot work in ring 3 on page tables that are not one's own.
// Source: the A and S marks of xen/include/public/arch-x86/cpufeatureset.h, and recalculate_misc in xen/arch/x86/cpuid.c (4.17).

import type { Cpu } from '../machine/cpu-api.ts';
import { type CpuidRegisters, type CpuProfile, cpuidOf, defaultProfile, FEATURES } from '../machine/system/cpuid.ts';
import type { SystemCpu } from '../machine/system/ports.ts';

/** Features marked A: all guests. Anything else (paging extras, monitoring, VMX, thermal, debug store) stays hidden from PV guests. */
const PV_FEATURES: ReadonlySet<string> = new Set(
  (
    'fpu de tsc msr pae mce cx8 apic sep mca cmov pat clflush acpi mmx fxsr sse sse2 ss ht ' +
    'sse3 pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand hypervisor ' +
    'fsgsbase bmi1 hle avx2 fdp_excptn_only bmi2 erms rtm zero_fcs_fds avx512f avx512dq rdseed adx avx512ifma clflushopt clwb sha_ni ' +
    'avx512bw avx512vl fsrm lahf_lm abm 3dnowprefetch syscall nx rdtscp lm'
  ).split(' '),
);
/** CPUID_GUEST_NR_BASIC - 1, CPUID_GUEST_NR_EXTD_INTEL - 1. The AMD range (up to 0x80000021) ends where the machine's does. */
const MAX_BASIC_LEAF = 0xd;
const MAX_EXTENDED_LEAF = 0x8000_0008;
/** CPUID_COMMON_1D_FEATURES: bits that AMD repeats in leaf 0x80000001. */
const COMMON_1D = 0x0183_f3ff;

/** 32-bit guests: no long mode, and SYSCALL on AMD only (recalculate_cpuid_policy). AMD has no SYSENTER under a 64-bit hypervisor. */
function isHidden(p: CpuProfile, feature: string, is32bit: boolean): boolean {
  const isAmd = p.vendor === 'AuthenticAMD';
  if (is32bit && (feature === 'lm' || (feature === 'syscall' && !isAmd))) return true;
  return feature === 'sep' && isAmd;
}

export const profileOf = (cpu: Cpu | null): CpuProfile => (cpu !== null && 'profile' in cpu ? (cpu as SystemCpu).profile : defaultProfile);

/** Features of the machine: for decisions about real control registers. */
export const featuresOf = (cpu: Cpu | null): ReadonlySet<string> => profileOf(cpu).features;

const profiles = new Map<string, CpuProfile>();

/** The profile as a PV guest may see it. */
export function pvProfile(p: CpuProfile, is32bit: boolean): CpuProfile {
  const key = `${p.name}/${[...p.features].join()}/${is32bit}`;
  const known = profiles.get(key);
  if (known) return known;
  const features = new Set([...p.features].filter((f) => PV_FEATURES.has(f) && !isHidden(p, f, is32bit)));
  features.add('hypervisor');
  const made: CpuProfile = { ...p, features, maxLeaf: Math.min(p.maxLeaf, MAX_BASIC_LEAF) };
  profiles.set(key, made);
  return made;
}

const NOTHING: CpuidRegisters = [0, 0, 0, 0];

/** guest_cpuid() without the hypervisor's own leaves and without what depends on the vCPU's state. Out of range: zeroes, the AMD way. */
export function policyLeaf(p: CpuProfile, leaf: number, subleaf: number): CpuidRegisters {
  if (leaf >= 0x8000_0000 ? leaf > MAX_EXTENDED_LEAF : leaf > p.maxLeaf) return [...NOTHING];
  const r = cpuidOf(p, leaf, subleaf, 0);
  const isAmd = p.vendor === 'AuthenticAMD';
  switch (leaf) {
    // Cache descriptors are Intel's; AMD has leaves 0x80000005 and 0x80000006.
    case 2:
    case 4:
      return isAmd ? [...NOTHING] : r;
    case 1:
      r[0] &= 0x0fff_0fff;
      r[1] &= 0x00ff_ffff;
      return r;
    // Processor serial number, MONITOR, thermal and power, DCA, performance counters, topology: not for guests.
    case 3:
    case 5:
    case 6:
    case 8:
    case 9:
    case 0xa:
    case 0xb:
    case 0xc:
      return [...NOTHING];
    case 0x8000_0000: {
      const vendor = cpuidOf(p, 0, 0, 0);
      return isAmd ? [MAX_EXTENDED_LEAF, vendor[1], vendor[2], vendor[3]] : [MAX_EXTENDED_LEAF, 0, 0, 0];
    }
    case 0x8000_0001: {
      if (!isAmd) return [0, 0, r[2], r[3]];
      const basic = cpuidOf(p, 1, 0, 0);
      return [basic[0] & 0x0fff_0fff, r[1] & 0xff00_ffff, r[2], (r[3] | (basic[3] & COMMON_1D)) >>> 0];
    }
    case 0x8000_0005:
      return isAmd ? r : [...NOTHING];
    case 0x8000_0006:
      return isAmd ? r : [0, 0, r[2], 0];
    case 0x8000_0007:
      // Invariant TSC only for domains that never migrate.
      return [...NOTHING];
    case 0x8000_0008:
      return [(r[0] & 0xff) | (p.features.has('lm') ? 48 << 8 : 32 << 8), r[1], 0, 0];
    default:
      return r;
  }
}

export const hasFeature = (p: CpuProfile, name: string): boolean => FEATURES.has(name) && p.features.has(name);
