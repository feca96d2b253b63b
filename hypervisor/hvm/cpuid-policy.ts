// Which CPUID features an HVM guest may see: the machine's, less what is the hypervisor's own or is not virtualized.
// Source: the A, S and H marks of xen/include/public/arch-x86/cpufeatureset.h (4.17), and recalculate_cpuid_policy in xen/arch/x86/cpuid.c.

import { CR4 } from '../machine/system/bits.ts';
import { cr4Allowed } from '../machine/system/control.ts';
import { type CpuidRegisters, type CpuProfile, cpuidOf } from '../machine/system/cpuid.ts';

/** Not for guests: monitoring, thermal and power, debug store, and (without nested virtualization) the extensions themselves. */
const HIDDEN: ReadonlySet<string> = new Set(
  'vmx svm smx skinit monitor dtes64 ds_cpl ds est tm tm2 tm1 acpi cid xtpr pdcm dca pbe ia64 sdbg ibs extapic osvw wdt lwp nodeid_msr perfctr_core perfctr_nb'.split(
    ' ',
  ),
);

const policies = new Map<string, CpuProfile>();

/** What shadow paging does not do (hvm_shadow's marks: H features of cpufeatureset.h). */
const HAP_ONLY: ReadonlySet<string> = new Set(['pcid', 'invpcid', 'pku', 'pdpe1gb']);

/** The profile as an HVM guest sees it. */
export function hvmProfile(p: CpuProfile, isHap: boolean): CpuProfile {
  const key = `${p.name}/${isHap}/${[...p.features].join()}`;
  const known = policies.get(key);
  if (known) return known;
  const features = new Set([...p.features].filter((f) => !HIDDEN.has(f) && (isHap || !HAP_ONLY.has(f))));
  features.add('hypervisor');
  // The vlapic has both, whatever the machine has.
  if (p.features.has('apic')) features.add('x2apic');
  const made: CpuProfile = { ...p, features };
  policies.set(key, made);
  return made;
}

/** hvm_cr4_guest_valid_bits(). */
export const guestCr4Bits = (p: CpuProfile, isHap: boolean): number => cr4Allowed(hvmProfile(p, isHap)) & ~CR4.VMXE;

const NOTHING: CpuidRegisters = [0, 0, 0, 0];

/** A leaf without what depends on the vCPU's state (guest_cpuid()). */
export function policyLeaf(
  p: CpuProfile,
  isHap: boolean,
  leaf: number,
  subleaf: number,
  xcr0: number,
  cr4: number,
  apicId: number,
): CpuidRegisters {
  const policy = hvmProfile(p, isHap);
  const isExtended = leaf >= 0x8000_0000;
  if (isExtended ? leaf > policy.maxExtendedLeaf : leaf > policy.maxLeaf) return [...NOTHING];
  const r = cpuidOf(policy, leaf, subleaf, apicId, xcr0);
  switch (leaf) {
    case 1:
      r[2] = (cr4 & CR4.OSXSAVE ? r[2] | (1 << 27) : r[2] & ~(1 << 27)) >>> 0;
      return r;
    // MONITOR, thermal and power, performance counters.
    case 5:
    case 6:
    case 0xa:
      return [...NOTHING];
    case 7:
      if (subleaf === 0) r[2] = (cr4 & CR4.PKE ? r[2] | 16 : r[2] & ~16) >>> 0;
      return r;
    case 0x8000_000a:
      return [...NOTHING];
    default:
      return r;
  }
}
