// The fields of a vCPU's struct vcpu_info that the entry paths read and write in place, in RAM that the guest shares.

import { SHARED_INFO } from '../core/shared-info.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Maddr } from '../machine/addresses.ts';

// The flag and the mask are the first two bytes in both layouts.
const { upcallPending: PENDING, upcallMask: MASK } = SHARED_INFO.x86_64;

export const upcallPending = (vcpu: Vcpu): boolean => vcpu.context.ram.read8((vcpu.vcpuInfo + PENDING) as Maddr) !== 0;

/** The whole byte: guests may store other values than 0 and 1. */
export const upcallMask = (vcpu: Vcpu): number => vcpu.context.ram.read8((vcpu.vcpuInfo + MASK) as Maddr);

export function setUpcallMask(vcpu: Vcpu, mask: number): void {
  vcpu.context.ram.write8((vcpu.vcpuInfo + MASK) as Maddr, mask);
}

/** arch_set_cr2(). */
export function setGuestCr2(vcpu: Vcpu, lo: number, hi: number): void {
  const { ram } = vcpu.context;
  const at = vcpu.vcpuInfo + SHARED_INFO[vcpu.domain.abi].cr2;
  ram.write32(at as Maddr, lo);
  if (!vcpu.domain.is32bit) ram.write32((at + 4) as Maddr, hi);
}
