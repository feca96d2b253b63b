// What a CPUID profile is: the leaves that were read from a processor, and what the machine makes of them.

import { EDX, FEATURES, IMPLEMENTED } from '../features.ts';

export type CpuidRegisters = [eax: number, ebx: number, ecx: number, edx: number];
/** One answer as it was measured: [leaf, subleaf, EAX, EBX, ECX, EDX]. */
export type Measured = readonly [leaf: number, subleaf: number, eax: number, ebx: number, ecx: number, edx: number];

export interface CpuProfile {
  readonly name: string;
  readonly vendor: 'GenuineIntel' | 'AuthenticAMD';
  /** Leaf 1 EAX. */
  readonly signature: number;
  readonly brand: string;
  /** What is offered: never more than the machine does. */
  readonly features: ReadonlySet<string>;
  readonly maxLeaf: number;
  /** 0 where there are no extended leaves. */
  readonly maxExtendedLeaf: number;
  readonly physicalBits: number;
  /** TSC and nominal frequency. */
  readonly mhz: number;
  /** Revision in IA32_BIOS_SIGN_ID (bits 63:32), or AMD's PATCH_LEVEL. */
  readonly microcode: number;
  readonly leaves: readonly Measured[];
  /** Cores that share a package; each CPU is a package of its own unless told. */
  readonly cores?: number;
}

/** The measured answer to a leaf; zeroes where none was. */
export function measured(p: Pick<CpuProfile, 'leaves'>, leaf: number, subleaf = 0): CpuidRegisters {
  const row = p.leaves.find((r) => r[0] === leaf && r[1] === subleaf);
  return row ? [row[2], row[3], row[4], row[5]] : [0, 0, 0, 0];
}

const bytes = (v: number): string => String.fromCharCode(v & 255, (v >>> 8) & 255, (v >>> 16) & 255, v >>> 24);

export interface ProfileFacts {
  readonly name: string;
  readonly mhz: number;
  readonly microcode: number;
  readonly leaves: readonly Measured[];
  /** Instead of what the measured feature bits say. */
  readonly features?: readonly string[];
}

export function profile(facts: ProfileFacts): CpuProfile {
  const read = (leaf: number) => measured(facts, leaf);
  const [maxLeaf, b, c, d] = read(0);
  const vendor = bytes(b) + bytes(d) + bytes(c);
  if (vendor !== 'GenuineIntel' && vendor !== 'AuthenticAMD') throw new Error(`profile ${facts.name}: vendor ${vendor}`);
  const has = (name: string): boolean => {
    const f = FEATURES.get(name)!;
    return ((measured(facts, f.leaf, f.subleaf)[f.register]! >>> f.bit) & 1) === 1;
  };
  const names = facts.features ?? [...FEATURES.keys()].filter(has);
  const maxExtendedLeaf = read(0x8000_0000)[0];
  const size = maxExtendedLeaf >= 0x8000_0008 ? read(0x8000_0008)[0] & 0xff : 0;
  const brand = [0x8000_0002, 0x8000_0003, 0x8000_0004].flatMap((leaf) => read(leaf).map(bytes)).join('');
  return {
    name: facts.name,
    vendor,
    signature: read(1)[0],
    brand: brand.replace(/\0.*$/, ''),
    features: new Set(names.filter((n) => IMPLEMENTED.has(n))),
    maxLeaf,
    maxExtendedLeaf,
    physicalBits: size || ((read(1)[EDX] & (1 << 17)) !== 0 ? 36 : 32),
    mhz: facts.mhz,
    microcode: facts.microcode,
    leaves: facts.leaves,
  };
}
