// What PV guests do not see of the machine, on any processor.

import { expect, it } from 'vitest';
import { PROFILES } from '../machine/system/cpuid.ts';
import { policyLeaf, pvProfile } from './cpuid-policy.ts';

const VMX = 1 << 5;
const SVM = 1 << 2;

it('VMX and SVM are hidden from PV guests, 64-bit and 32-bit', () => {
  const shown = Object.values(PROFILES).filter((p) => p.features.has('vmx') || p.features.has('svm'));
  expect(shown.length).toBeGreaterThan(0);
  for (const p of shown)
    for (const is32bit of [false, true]) {
      const guest = pvProfile(p, is32bit);
      expect([p.name, policyLeaf(guest, 1, 0)[2] & VMX, policyLeaf(guest, 0x8000_0001, 0)[2] & SVM]).toEqual([p.name, 0, 0]);
    }
});
