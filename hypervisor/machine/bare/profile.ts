// The CPUID profile of a bare machine: a name from system/cpuid.ts, or the default one with what concerns a kernel that owns the hardware.

import { type CpuProfile, defaultProfile, PROFILES, withFeatures } from '../system/cpuid.ts';

/** The core crystal, of which the TSC is a multiple (CPUID leaf 0x15; SDM Vol 3B, 18.18.3), and which clocks the local APIC's timer. */
export const CRYSTAL_HZ = 25_000_000;

/**
 * The default profile, told its clock: a kernel that knows crystal and TSC need not measure them against the PIT for tens of milliseconds,
 * and knows them exactly. With x2APIC and the APIC timer's deadline mode.
 */
const bareDefault = (): CpuProfile => {
  const p = withFeatures(defaultProfile, ['x2apic', 'tsc_deadline_timer', 'tsc_adjust']);
  const ratio = (p.mhz * 1e6) / CRYSTAL_HZ;
  return {
    ...p,
    maxLeaf: 0x16,
    leaves: [
      ...p.leaves.filter(([leaf]) => leaf !== 0x15 && leaf !== 0x16),
      [0x15, 0, 1, ratio, CRYSTAL_HZ, 0],
      [0x16, 0, p.mhz, p.mhz, 100, 0],
    ],
  };
};

/** All CPUs are cores of one package. Throws RangeError for a name that is not known. */
export function bareProfile(name: string | undefined, cpus: number): CpuProfile {
  if (name === undefined || name === defaultProfile.name) return { ...bareDefault(), cores: cpus };
  const p = PROFILES[name];
  if (p) return { ...p, cores: cpus };
  throw new RangeError(`CPU profile '${name}' is not known: there are ${Object.keys(PROFILES).join(', ')}`);
}
