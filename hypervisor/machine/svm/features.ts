// What a processor's SVM can do: CPUID leaf 8000000A (APM Vol 3, E.4.9) as the hardware here asks for it.

import type { CpuProfile } from '../system/profiles/profile.ts';

/** By the names of machine/system/features.ts. */
export interface SvmFeatures {
  readonly nestedPaging: boolean;
  readonly lbrVirtualization: boolean;
  readonly lock: boolean;
  readonly nripSave: boolean;
  readonly flushByAsid: boolean;
  readonly decodeAssists: boolean;
  readonly pauseFilter: boolean;
  readonly pauseFilterThreshold: boolean;
  readonly virtualVmloadVmsave: boolean;
  readonly virtualGif: boolean;
  readonly skinit: boolean;
  /** Number of ASIDs, the host's among them (EBX). */
  readonly asids: number;
}

/** EBX of the leaf where a profile was not measured. */
const DEFAULT_ASIDS = 64;

export function svmFeatures(p: CpuProfile): SvmFeatures {
  const has = (name: string): boolean => p.features.has(name);
  const leaf = p.leaves.find((row) => row[0] === 0x8000_000a);
  return {
    nestedPaging: has('npt'),
    lbrVirtualization: has('lbrv'),
    lock: has('svm_lock'),
    nripSave: has('nrip_save'),
    flushByAsid: has('flushbyasid'),
    decodeAssists: has('decodeassists'),
    pauseFilter: has('pausefilter'),
    pauseFilterThreshold: has('pfthreshold'),
    virtualVmloadVmsave: has('v_vmsave_vmload'),
    virtualGif: has('vgif'),
    skinit: has('skinit'),
    asids: leaf?.[3] || DEFAULT_ASIDS,
  };
}
