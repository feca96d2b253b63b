// XENFEAT_* names as they stand in FEATURES notes, in the legacy __xen_guest string and in xl's messages: bit numbers of
// features.h, and the parser of "name|name|!name" lists ('!' marks what the kernel cannot live without).

import * as abi from '@ringworld/abi';

/** Bit numbers in submap 0 (features.h) of the names that may appear in a feature string. */
export const FEATURE_BITS = {
  writable_page_tables: abi.XENFEAT_writable_page_tables,
  writable_descriptor_tables: abi.XENFEAT_writable_descriptor_tables,
  auto_translated_physmap: abi.XENFEAT_auto_translated_physmap,
  supervisor_mode_kernel: abi.XENFEAT_supervisor_mode_kernel,
  pae_pgdir_above_4gb: abi.XENFEAT_pae_pgdir_above_4gb,
  hvm_callback_vector: abi.XENFEAT_hvm_callback_vector,
  dom0: abi.XENFEAT_dom0,
} as const;

export type FeatureName = keyof typeof FEATURE_BITS;

export interface FeatureSet {
  /** Bit mask of submap 0. */
  supported: number;
  required: number;
}

const isFeatureName = (name: string): name is FeatureName => Object.hasOwn(FEATURE_BITS, name);

/**
 * Adds the features of one string. A required feature that nobody knows is returned by name (the image then cannot be
 * loaded); one that is merely supported and unknown is passed over, as libelf does.
 */
export function parseFeatures(text: string, into: FeatureSet): { unknownRequired?: string } {
  for (const item of text.split('|')) {
    const required = item.startsWith('!');
    const name = required ? item.slice(1) : item;
    if (isFeatureName(name)) {
      const bit = 1 << FEATURE_BITS[name];
      into.supported |= bit;
      if (required) into.required |= bit;
    } else if (required) return { unknownRequired: name };
  }
  return {};
}

/** For messages: the names in a mask. */
export const featureNames = (mask: number): string[] =>
  Object.entries(FEATURE_BITS)
    .filter(([, bit]) => (mask & (1 << bit)) !== 0)
    .map(([name]) => name);
