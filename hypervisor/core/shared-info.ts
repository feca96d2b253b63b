// Fields of shared_info and vcpu_info that the hypervisor reads and writes, in the domain's own layout (public/xen.h).
//
// The guest may scribble over these pages at any time: nothing here is trusted beyond one read.

import { arch_shared_info, arch_vcpu_info, shared_info, vcpu_info } from '@ringworld/abi';
import type { Ram } from '../machine/mmu/ram.ts';
import type { Domain } from './domain.ts';
import { type Abi, type Lin, type Maddr, mfnToMaddr } from './ids.ts';
import type { Vcpu } from './vcpu.ts';

const offsets = (abi: Abi) => ({
  /** Within vcpu_info. */
  upcallPending: vcpu_info.offset('evtchn_upcall_pending', abi),
  upcallMask: vcpu_info.offset('evtchn_upcall_mask', abi),
  pendingSel: vcpu_info.offset('evtchn_pending_sel', abi),
  time: vcpu_info.offset('time', abi),
  cr2: vcpu_info.offset('arch', abi) + arch_vcpu_info.offset('cr2', abi),
  vcpuInfoSize: vcpu_info.size(abi),
  /** Within shared_info. */
  pending: shared_info.offset('evtchn_pending', abi),
  mask: shared_info.offset('evtchn_mask', abi),
  wcVersion: shared_info.offset('wc_version', abi),
  wcSec: shared_info.offset('wc_sec', abi),
  wcNsec: shared_info.offset('wc_nsec', abi),
  // The high half of wc_sec was put where each layout had room: behind wc_nsec for 64-bit guests, in arch for 32-bit ones.
  wcSecHi:
    abi === 'x86_64' ? shared_info.offset('wc_nsec', abi) + 4 : shared_info.offset('arch', abi) + arch_shared_info.offset('wc_sec_hi', abi),
  /** Bits per evtchn word. */
  wordBits: abi === 'x86_64' ? 64 : 32,
});
export const SHARED_INFO = { x86_64: offsets('x86_64'), x86_32: offsets('x86_32') } as const;

export const sharedInfoAt = (domain: Domain, offset: number): Maddr => (mfnToMaddr(domain.sharedInfoMfn) + offset) as Maddr;
export const vcpuPendingSelAt = (vcpu: Vcpu): Maddr => (vcpu.vcpuInfo + SHARED_INFO[vcpu.domain.abi].pendingSel) as Maddr;

// Bits of a bitmap at `at`, counted as x86 BTS counts them.
export const testBit = (ram: Ram, at: Maddr, bit: number): boolean => (ram.read8((at + (bit >>> 3)) as Maddr) & (1 << (bit & 7))) !== 0;
export function testAndSetBit(ram: Ram, at: Maddr, bit: number): boolean {
  const p = (at + (bit >>> 3)) as Maddr;
  const old = ram.read8(p);
  ram.write8(p, old | (1 << (bit & 7)));
  return (old & (1 << (bit & 7))) !== 0;
}
export function testAndClearBit(ram: Ram, at: Maddr, bit: number): boolean {
  const p = (at + (bit >>> 3)) as Maddr;
  const old = ram.read8(p);
  ram.write8(p, old & ~(1 << (bit & 7)));
  return (old & (1 << (bit & 7))) !== 0;
}

// evtchn_upcall_pending and evtchn_upcall_mask are bytes at 0 and 1 of vcpu_info in both layouts.
export const isUpcallPending = (v: Vcpu): boolean => v.context.ram.read8(v.vcpuInfo) !== 0;
export const setUpcallPending = (v: Vcpu, on: boolean): void => v.context.ram.write8(v.vcpuInfo, on ? 1 : 0);
/** Any value other than zero masks. */
export const isUpcallMasked = (v: Vcpu): boolean => v.context.ram.read8((v.vcpuInfo + 1) as Maddr) !== 0;
export const setUpcallMask = (v: Vcpu, masked: boolean): void => v.context.ram.write8((v.vcpuInfo + 1) as Maddr, masked ? 1 : 0);

/** arch.cr2: where a PV guest finds the address of its page fault. */
export function setGuestCr2(v: Vcpu, lin: Lin): void {
  const at = (v.vcpuInfo + SHARED_INFO[v.domain.abi].cr2) as Maddr;
  const { ram } = v.context;
  ram.write32(at, lin % 0x1_0000_0000);
  if (!v.domain.is32bit) ram.write32((at + 4) as Maddr, Math.floor(lin / 0x1_0000_0000));
}
