// CPUID as data: feature bits by name, processors as profiles, and the answer to one leaf. A profile promises only what the machine does;
// an instruction record names the feature that it needs (isa/insn.ts, `cpuid`). Names are mostly those of
// Linux's /proc/cpuinfo.

import { STATE } from '../state.ts';
import { CR4 } from './bits.ts';
import { is64 } from './mode.ts';
import type { SystemCpu } from './ports.ts';

const EAX = 0;
const EBX = 1;
const ECX = 2;
const EDX = 3;

/** Register bits of a leaf, bit 0 first; '' for a bit that is not named here. */
const bits = (leaf: number, register: number, names: string): [string, FeatureBit][] =>
  names
    .split(' ')
    .map((name, bit): [string, FeatureBit] => [name, { leaf, register, bit }])
    .filter(([name]) => name !== '.');

interface FeatureBit {
  readonly leaf: number;
  readonly register: number;
  readonly bit: number;
}

/** SDM Vol 2A, Tables 3-8, 3-10, 3-11. */
export const FEATURES: ReadonlyMap<string, FeatureBit> = new Map([
  ...bits(
    1,
    EDX,
    'fpu vme de pse tsc msr pae mce cx8 apic . sep mtrr pge mca cmov pat pse36 pn clflush . dts acpi mmx fxsr sse sse2 ss ht tm . pbe',
  ),
  ...bits(
    1,
    ECX,
    'sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm . pcid dca sse4_1 sse4_2 x2apic movbe popcnt ' +
      'tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor',
  ),
  ...bits(
    7,
    EBX,
    'fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm zero_fcs_fds mpx rdt_a avx512f avx512dq rdseed ' +
      'adx smap avx512ifma . clflushopt clwb intel_pt . . . sha_ni avx512bw avx512vl',
  ),
  ...bits(7, ECX, '. . umip pku ospke waitpkg'),
  ...bits(7, EDX, '. . . . fsrm'),
  ...bits(0x8000_0001, ECX, 'lahf_lm . . . . abm . . 3dnowprefetch'),
  ...bits(0x8000_0001, EDX, '. . . . . . . . . . . syscall . . . . . . . . nx . . . . . pdpe1gb rdtscp . lm'),
  ...bits(6, EAX, '. . arat'),
  ...bits(0x8000_0007, EDX, '. . . . . . . . nonstop_tsc'),
]);

export interface CpuProfile {
  readonly name: string;
  readonly vendor: 'GenuineIntel' | 'AuthenticAMD';
  /** Leaf 1 EAX. */
  readonly signature: number;
  readonly brand: string;
  readonly features: ReadonlySet<string>;
  readonly maxLeaf: number;
  readonly physicalBits: number;
  /** TSC and nominal frequency. */
  readonly mhz: number;
  /** Leaf 2, and leaf 4 by sub-leaf: [EAX, EBX, ECX, EDX]. */
  readonly cacheDescriptors: readonly [number, number, number, number];
  readonly caches: readonly { readonly level: number; readonly type: 1 | 2 | 3; readonly ways: number; readonly sets: number }[];
}

const skylakeSp: CpuProfile = {
  name: 'skylake-sp',
  vendor: 'GenuineIntel',
  signature: 0x00050654,
  brand: 'Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz',
  features: new Set(
    (
      'fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 cx16 movbe popcnt rdrand ' +
      'fsgsbase zero_fcs_fds lahf_lm syscall nx pdpe1gb rdtscp lm arat nonstop_tsc'
    ).split(' '),
  ),
  maxLeaf: 0x16,
  physicalBits: 46,
  mhz: 2100,
  cacheDescriptors: [0x76036301, 0x00f0b5ff, 0, 0x00c30000],
  caches: [
    { level: 1, type: 1, ways: 8, sets: 64 },
    { level: 1, type: 2, ways: 8, sets: 64 },
    { level: 2, type: 3, ways: 16, sets: 1024 },
    { level: 3, type: 3, ways: 11, sets: 32768 },
  ],
};

/**
 * What this machine is when nothing else is asked for: its own features under the family and model of an Atom of 2008 (Bonnell), the
 * 64-bit processor of Intel's that executes in order. This one does too: kernels find no speculation to mitigate and say nothing of it.
 */
const baseline: CpuProfile = {
  name: 'baseline',
  vendor: 'GenuineIntel',
  signature: 0x000106ca,
  brand: 'Ringworld virtual CPU',
  features: new Set(
    (
      'fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 cx16 movbe popcnt rdrand ' +
      'fsgsbase lahf_lm syscall nx pdpe1gb rdtscp lm arat nonstop_tsc'
    ).split(' '),
  ),
  maxLeaf: 0xd,
  physicalBits: 46,
  mhz: 2100,
  // TLB and cache descriptors of that processor (InstLatx64's dump of an Atom 330).
  cacheDescriptors: [0x4fba5901, 0x0e3080c0, 0, 0],
  caches: [
    { level: 1, type: 1, ways: 6, sets: 64 },
    { level: 1, type: 2, ways: 8, sets: 64 },
    { level: 2, type: 3, ways: 8, sets: 1024 },
  ],
};

/** Processors by name. `withFeatures` derives others. */
export const PROFILES: Readonly<Record<string, CpuProfile>> = { [baseline.name]: baseline, [skylakeSp.name]: skylakeSp };
export const defaultProfile: CpuProfile = baseline;

/** A profile with features added, and those written with a leading '-' taken away. */
export function withFeatures(profile: CpuProfile, changes: readonly string[]): CpuProfile {
  const features = new Set(profile.features);
  for (const c of changes) {
    const name = c.replace(/^-/, '');
    if (!FEATURES.has(name)) throw new RangeError(`CPUID feature '${name}' is not known`);
    if (c.startsWith('-')) features.delete(name);
    else features.add(name);
  }
  return { ...profile, features };
}

export type CpuidRegisters = [eax: number, ebx: number, ecx: number, edx: number];

const text = (s: string, at: number): number => [0, 1, 2, 3].reduce((v, i) => v | ((s.charCodeAt(at + i) || 0) << (8 * i)), 0) >>> 0;

function featureRegisters(p: CpuProfile, leaf: number): CpuidRegisters {
  const r: CpuidRegisters = [0, 0, 0, 0];
  for (const name of p.features) {
    const f = FEATURES.get(name);
    if (f?.leaf === leaf) r[f.register] = (r[f.register]! | (1 << f.bit)) >>> 0;
  }
  return r;
}

/** Bytes of the XSAVE area in standard format: legacy region and header (x87 and SSE live in these). */
export const XSAVE_SIZE = 576;

function cacheLeaf(p: CpuProfile, index: number): CpuidRegisters {
  const c = p.caches[index];
  if (!c) return [0, 0, 0, 0];
  // One thread per cache, line size 64, self-initializing.
  return [c.type | (c.level << 5) | (1 << 8), 63 | ((c.ways - 1) << 22), c.sets - 1, 0];
}

/** What a processor answers, without the bits that follow its control registers. */
export function cpuidOf(p: CpuProfile, leaf: number, subleaf: number, apicId: number): CpuidRegisters {
  const f = featureRegisters(p, leaf);
  switch (leaf) {
    case 0:
      return [p.maxLeaf, text(p.vendor, 0), text(p.vendor, 8), text(p.vendor, 4)];
    case 1:
      return [p.signature, ((apicId << 24) | (1 << 16) | (8 << 8)) >>> 0, f[ECX], f[EDX]];
    case 2:
      return [...p.cacheDescriptors];
    case 4:
      return cacheLeaf(p, subleaf);
    case 6:
      return f;
    case 7:
      return subleaf === 0 ? f : [0, 0, 0, 0];
    case 0xb:
      // SMT and core levels of one logical processor each; the x2APIC ID in EDX at every level.
      return subleaf < 2 ? [0, 1, subleaf | ((subleaf + 1) << 8), apicId] : [0, 0, subleaf, apicId];
    case 0xd:
      if (!p.features.has('xsave')) return [0, 0, 0, 0];
      return subleaf === 0 ? [3, XSAVE_SIZE, XSAVE_SIZE, 0] : [0, 0, 0, 0];
    case 0x15:
      return [2, Math.round((p.mhz * 2) / 25), 25_000_000, 0];
    case 0x16:
      return [p.mhz, p.mhz, 100, 0];
    case 0x8000_0000:
      return [0x8000_0008, 0, 0, 0];
    case 0x8000_0001:
      return f;
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004: {
      const at = (leaf - 0x8000_0002) * 16;
      return [text(p.brand, at), text(p.brand, at + 4), text(p.brand, at + 8), text(p.brand, at + 12)];
    }
    case 0x8000_0005:
      // 4 KiB TLB entries and L1 caches of 64 KiB, two ways, 64-byte lines (APM Vol 3, E.4.4); reserved on Intel.
      return p.vendor === 'AuthenticAMD' ? [0x01ff01ff, 0x01ff01ff, 0x40020140, 0x40020140] : [0, 0, 0, 0];
    case 0x8000_0006:
      // AMD: L2 TLBs of 512 entries; both: an L2 cache, 64-byte lines (APM Vol 3, E.4.5).
      return p.vendor === 'AuthenticAMD' ? [0, 0x42004200, 0x02008140, 0] : [0, 0, 0x01006040, 0];
    case 0x8000_0007:
      return f;
    case 0x8000_0008:
      return [p.physicalBits | (48 << 8), 0, 0, 0];
    default:
      return [0, 0, 0, 0];
  }
}

/** CPUID on this CPU, in its present state. A leaf past the last basic one answers as the last basic one (SDM Vol 2A, CPUID). */
export function cpuid(cpu: SystemCpu, leaf: number, subleaf: number): CpuidRegisters {
  const p = cpu.profile;
  const known = leaf <= p.maxLeaf || (leaf >= 0x8000_0000 && leaf <= 0x8000_0008);
  const n = known ? leaf : p.maxLeaf;
  const r = cpuidOf(p, n, subleaf, cpu.id);
  if (n === 1 && cpu.lo(STATE.cr4) & CR4.OSXSAVE) r[ECX] = (r[ECX] | (1 << 27)) >>> 0;
  // Intel reports SYSCALL only to 64-bit code.
  if (n === 0x8000_0001 && p.vendor === 'GenuineIntel' && !is64(cpu)) r[EDX] = (r[EDX] & ~(1 << 11)) >>> 0;
  return r;
}
