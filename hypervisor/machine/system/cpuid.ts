// CPUID: processors as profiles, and the answer to one leaf. The leaves of a profile are measured (profiles/); feature bits are given only
// for what the machine does, and what depends on the number of threads or on the state of the CPU is filled in here.

import { STATE } from '../state.ts';
import { CR4 } from './bits.ts';
import { EBX, ECX, EDX, FEATURES, IMPLEMENTED } from './features.ts';
import { is64 } from './mode.ts';
import { MISC_ENABLE } from './msr-vendor.ts';
import type { SystemCpu } from './ports.ts';
import { baseline } from './profiles/baseline.ts';
import { core2 } from './profiles/core2.ts';
import { i486 } from './profiles/i486.ts';
import { k8RevF } from './profiles/k8-revf.ts';
import { nehalem } from './profiles/nehalem.ts';
import { p4_672 } from './profiles/p4-672.ts';
import { type CpuidRegisters, type CpuProfile, measured } from './profiles/profile.ts';
import { skylakeSp } from './profiles/skylake-sp.ts';
import { zen } from './profiles/zen.ts';
import { XCR0_PKRU, XSAVE_LEGACY, XSAVE_PKRU_AT, XSAVE_PKRU_SIZE, xcr0Of, xsaveSizeOf } from './xstate.ts';

export { FEATURES, IMPLEMENTED } from './features.ts';
export type { CpuidRegisters, CpuProfile } from './profiles/profile.ts';

/** Processors by name. `withFeatures` derives others. */
export const PROFILES: Readonly<Record<string, CpuProfile>> = Object.fromEntries(
  [baseline, i486, p4_672, core2, nehalem, skylakeSp, k8RevF, zen].map((p) => [p.name, p]),
);
export const defaultProfile: CpuProfile = baseline;

/** A profile with features added, and those written with a leading '-' taken away. */
export function withFeatures(profile: CpuProfile, changes: readonly string[]): CpuProfile {
  const features = new Set(profile.features);
  for (const c of changes) {
    const name = c.replace(/^-/, '');
    if (!FEATURES.has(name)) throw new RangeError(`CPUID feature '${name}' is not known`);
    if (c.startsWith('-')) features.delete(name);
    else if (!IMPLEMENTED.has(name)) throw new RangeError(`CPUID feature '${name}' is not implemented`);
    else features.add(name);
  }
  return { ...profile, features };
}

function featureRegisters(p: CpuProfile, leaf: number, subleaf: number): CpuidRegisters {
  const r: CpuidRegisters = [0, 0, 0, 0];
  for (const name of p.features) {
    const f = FEATURES.get(name);
    if (f?.leaf === leaf && f.subleaf === subleaf) r[f.register] = (r[f.register]! | (1 << f.bit)) >>> 0;
  }
  return r;
}

/** Bytes of the XSAVE area in standard format with x87 and SSE. */
export const XSAVE_SIZE = XSAVE_LEGACY;
/** Bits of leaf 1 EDX that AMD repeats in leaf 80000001 EDX (APM Vol 3, E.4.2). */
const AMD_COMMON = 0x0183_f3ff;

/** A cache leaf with one thread on each cache: EAX bits 25:14 are zero; bits 31:26 tell Intel's cores in the package. */
function cacheLeaf(p: CpuProfile, leaf: number, subleaf: number): CpuidRegisters {
  const r = measured(p, leaf, subleaf);
  const cores = leaf === 4 && r[0] & 0x1f ? ((1 << coreBits(p)) - 1) << 26 : 0;
  return [((r[0] & 0x3fff) | cores) >>> 0, r[1], r[2], r[3]];
}

/** XSAVE: sizes and components (SDM Vol 1, 13.2). Leaf D EBX is for what XCR0 has enabled, `xcr0`. */
function xsaveLeaf(p: CpuProfile, subleaf: number, xcr0: number): CpuidRegisters {
  if (!p.features.has('xsave')) return [0, 0, 0, 0];
  const all = xcr0Of(p.features);
  if (subleaf === 0) return [all, xsaveSizeOf(xcr0), xsaveSizeOf(all), 0];
  if (subleaf === 1) {
    const f = featureRegisters(p, 0xd, 1);
    // EBX: the compacted area for XCR0 | IA32_XSS.
    return [f[0], f[0] & 0xa ? XSAVE_LEGACY + (xcr0 & XCR0_PKRU ? XSAVE_PKRU_SIZE : 0) : 0, 0, 0];
  }
  if (subleaf === 9 && all & XCR0_PKRU) return [XSAVE_PKRU_SIZE, XSAVE_PKRU_AT, 0, 0];
  return [0, 0, 0, 0];
}

/** Bits of an APIC ID that number the cores of a package. */
const coreBits = (p: CpuProfile): number => Math.ceil(Math.log2(p.cores ?? 1));

/** The leaves that look at ECX (SDM Vol 2A, CPUID; APM Vol 3, E.4); glibc asks the others with whatever is there. */
const INDEXED: ReadonlySet<number> = new Set([4, 7, 0xb, 0xd, 0x8000_001d]);

/** What a processor answers, without the bits that follow its control registers. */
export function cpuidOf(p: CpuProfile, leaf: number, ecx: number, apicId: number, xcr0 = 3): CpuidRegisters {
  const subleaf = INDEXED.has(leaf) ? ecx : 0;
  const m = measured(p, leaf, subleaf);
  switch (leaf) {
    case 0:
      return [p.maxLeaf, m[1], m[2], m[3]];
    case 1: {
      const f = featureRegisters(p, leaf, 0);
      const brandAndLine = (m[EBX] & 0xff) | (p.features.has('clflush') ? m[EBX] & 0xff00 : 0);
      return [
        p.signature,
        ((apicId << 24) | (p.maxLeaf > 1 || p.vendor === 'AuthenticAMD' ? 1 << (16 + coreBits(p)) : 0) | brandAndLine) >>> 0,
        f[ECX],
        // HTT: the count above says something (SDM Vol 3A, 8.9.3).
        coreBits(p) > 0 ? (f[EDX] | (1 << 28)) >>> 0 : f[EDX],
      ];
    }
    case 2:
      return m;
    case 4:
      return cacheLeaf(p, leaf, subleaf);
    case 5:
      return p.features.has('monitor') ? m : [0, 0, 0, 0];
    case 6:
    case 7:
      return subleaf === 0 ? featureRegisters(p, leaf, 0) : [0, 0, 0, 0];
    case 0xb:
      // One thread in a core, the cores in a package; the x2APIC ID in EDX at every level. AMD has the leaf since Zen 2.
      if (p.vendor === 'AuthenticAMD') return [0, 0, 0, 0];
      if (subleaf > 1) return [0, 0, subleaf, apicId];
      return subleaf === 0 ? [0, 1, 1 << 8, apicId] : [coreBits(p), p.cores ?? 1, 1 | (2 << 8), apicId];
    case 0xd:
      return xsaveLeaf(p, subleaf, xcr0);
    case 0x15:
    case 0x16:
      return m;
    case 0x8000_0000:
      return [p.maxExtendedLeaf, m[1], m[2], m[3]];
    case 0x8000_0001: {
      const f = featureRegisters(p, leaf, 0);
      if (p.vendor === 'GenuineIntel') return f;
      return [m[0], m[1], f[ECX], (f[EDX] | (featureRegisters(p, 1, 0)[EDX] & AMD_COMMON)) >>> 0];
    }
    case 0x8000_0007:
      return featureRegisters(p, leaf, 0);
    case 0x8000_0008:
      // ECX: the last core's number, and the bits of an APIC ID that number cores (APM Vol 3, E.4.7).
      return [m[0], featureRegisters(p, leaf, 0)[EBX], p.vendor === 'AuthenticAMD' && p.cores ? (p.cores - 1) | (coreBits(p) << 12) : 0, 0];
    case 0x8000_000a:
      // Revision, number of ASIDs, what of SVM there is (APM Vol 3, E.4.9).
      return p.features.has('svm') ? [m[0], m[EBX], 0, featureRegisters(p, leaf, 0)[EDX]] : [0, 0, 0, 0];
    case 0x8000_001d:
      return p.features.has('topoext') ? cacheLeaf(p, leaf, subleaf) : [0, 0, 0, 0];
    case 0x8000_001e:
      // Extended APIC ID; one thread in each compute unit; each package its own node (APM Vol 3, E.4.16).
      return p.features.has('topoext') ? [apicId, apicId & 0xff, apicId & 0xff, 0] : [0, 0, 0, 0];
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004:
    case 0x8000_0005:
    case 0x8000_0006:
    case 0x8000_0019:
      return m;
    default:
      return [0, 0, 0, 0];
  }
}

/**
 * CPUID on this CPU, in its present state. Intel answers a leaf past the last one as the last basic one (SDM Vol 2A, CPUID), AMD with
 * zeroes.
 */
export function cpuid(cpu: SystemCpu, leaf: number, subleaf: number): CpuidRegisters {
  const p = cpu.profile;
  const misc = p.vendor === 'GenuineIntel' ? cpu.thread.msrs.get(IA32_MISC_ENABLE) : undefined;
  // "Limit CPUID Maxval" (SDM Vol 4, Table 2-2).
  const maxLeaf = misc !== undefined && misc & MISC_ENABLE.limitCpuid ? Math.min(p.maxLeaf, 3) : p.maxLeaf;
  const known = leaf <= maxLeaf || (leaf >= 0x8000_0000 && leaf <= p.maxExtendedLeaf);
  if (!known && p.vendor === 'AuthenticAMD') return [0, 0, 0, 0];
  const n = known ? leaf : maxLeaf;
  const r = cpuidOf(p, n, subleaf, cpu.id, cpu.lo(STATE.xcr0));
  const cr4 = cpu.lo(STATE.cr4);
  if (n === 1 && cr4 & CR4.OSXSAVE) r[ECX] = (r[ECX] | (1 << 27)) >>> 0;
  if (n === 0) r[0] = maxLeaf;
  if (n === 1 && misc !== undefined && !(misc & MISC_ENABLE.monitor)) r[ECX] = (r[ECX] & ~(1 << 3)) >>> 0;
  if (n === 1 && apicDisabled(cpu)) r[EDX] = (r[EDX] & ~(1 << 9)) >>> 0;
  if (n === 7 && subleaf === 0 && cr4 & CR4.PKE) r[ECX] = (r[ECX] | (1 << 4)) >>> 0;
  // Intel reports SYSCALL only to 64-bit code.
  if (n === 0x8000_0001 && p.vendor === 'GenuineIntel' && !is64(cpu)) r[EDX] = (r[EDX] & ~(1 << 11)) >>> 0;
  return r;
}

const IA32_APIC_BASE = 0x1b;
const IA32_MISC_ENABLE = 0x1a0;
const APIC_ENABLED = 1n << 11n;
/** Leaf 1 EDX bit 9 shows whether the APIC is on (SDM Vol 3A, 10.4.3). */
const apicDisabled = (cpu: SystemCpu): boolean =>
  cpu.apic !== undefined && ((cpu.apic.readMsr(IA32_APIC_BASE) ?? 0n) & APIC_ENABLED) === 0n;
