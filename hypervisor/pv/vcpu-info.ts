// The fields of a vCPU's struct vcpu_info that the entry paths read and write in place, in RAM that the guest shares.

import type { Vcpu } from '../core/vcpu.ts';
import type { Maddr } from '../machine/addresses.ts';
import { VCPU_INFO } from './layout.ts';

export const upcallPending = (vcpu: Vcpu): boolean => vcpu.context.ram.read8((vcpu.vcpuInfo + VCPU_INFO.upcallPending) as Maddr) !== 0;

/** The whole byte: guests may store other values than 0 and 1. */
export const upcallMask = (vcpu: Vcpu): number => vcpu.context.ram.read8((vcpu.vcpuInfo + VCPU_INFO.upcallMask) as Maddr);

export function setUpcallMask(vcpu: Vcpu, mask: number): void {
  vcpu.context.ram.write8((vcpu.vcpuInfo + VCPU_INFO.upcallMask) as Maddr, mask);
}

/** arch_set_cr2(). */
export function setGuestCr2(vcpu: Vcpu, lo: number, hi: number): void {
  const { ram } = vcpu.context;
  if (vcpu.domain.is32bit) {
    ram.write32((vcpu.vcpuInfo + VCPU_INFO.cr2.x86_32) as Maddr, lo);
    return;
  }
  ram.write32((vcpu.vcpuInfo + VCPU_INFO.cr2.x86_64) as Maddr, lo);
  ram.write32((vcpu.vcpuInfo + VCPU_INFO.cr2.x86_64 + 4) as Maddr, hi);
}
