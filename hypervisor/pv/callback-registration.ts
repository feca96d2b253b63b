// Registering the guest's entry points, for callback_op, set_callbacks and nmi_op (register_guest_callback and
// compat_register_guest_callback, xen/arch/x86/pv/callback.c).

import {
  type Abi,
  arch_shared_info,
  CALLBACKF_mask_events,
  CALLBACKTYPE_event,
  CALLBACKTYPE_failsafe,
  CALLBACKTYPE_nmi,
  CALLBACKTYPE_syscall,
  CALLBACKTYPE_syscall32,
  CALLBACKTYPE_sysenter,
  shared_info,
  XEN_EINVAL,
  XEN_ENOSYS,
} from '@ringworld/abi';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { isCanonical, type Lin, type Maddr } from '../machine/addresses.ts';
import { FLAT_COMPAT_KERNEL_CS, FLAT_KERNEL_CS, fixupSelector } from './selectors.ts';
import { clearTrapEntry } from './trap-table.ts';

const NMI = 2;
/** arch.nmi_reason in struct shared_info. */
const nmiReasonAt = (abi: Abi): number => shared_info.offset('arch', abi) + arch_shared_info.offset('nmi_reason', abi);

export interface Callback {
  readonly type: number;
  readonly flags: number;
  /** Counts for 32-bit guests only. */
  readonly cs: number;
  readonly eip: number;
}

/** 0 or -XEN_Exxx. */
export function registerCallback(hv: Hypervisor, vcpu: Vcpu, c: Callback): number {
  const { pv, domain } = vcpu;
  const { is32bit } = domain;
  if (!is32bit && !isCanonical(c.eip as Lin)) return -XEN_EINVAL;
  const eip = c.eip as Lin;
  const cs = fixupSelector(is32bit, c.cs);
  const masksEvents = (c.flags & CALLBACKF_mask_events) !== 0;
  switch (c.type) {
    case CALLBACKTYPE_event:
      pv.eventCallbackCs = cs;
      pv.eventCallbackEip = eip;
      return 0;
    case CALLBACKTYPE_failsafe:
      pv.failsafeCallbackCs = cs;
      pv.failsafeCallbackEip = eip;
      pv.failsafeDisablesEvents = masksEvents;
      return 0;
    case CALLBACKTYPE_syscall:
      if (is32bit) return -XEN_ENOSYS;
      pv.syscallCallbackEip = eip;
      pv.syscallDisablesEvents = masksEvents;
      return 0;
    case CALLBACKTYPE_syscall32:
      pv.syscall32CallbackCs = cs;
      pv.syscall32CallbackEip = eip;
      pv.syscall32DisablesEvents = masksEvents;
      return 0;
    case CALLBACKTYPE_sysenter:
      pv.sysenterCallbackCs = cs;
      pv.sysenterCallbackEip = eip;
      pv.sysenterDisablesEvents = masksEvents;
      return 0;
    case CALLBACKTYPE_nmi:
      return registerNmi(hv, vcpu, eip);
    default:
      return -XEN_ENOSYS;
  }
}

/** register_guest_nmi_callback(): vector 2 of the trap table, events masked. */
export function registerNmi(hv: Hypervisor, vcpu: Vcpu, address: Lin): number {
  const { domain } = vcpu;
  if (!isCanonical(address)) return -XEN_EINVAL;
  // SAFE: 256 entries.
  const t = vcpu.pv.trapTable[NMI]!;
  t.selector = domain.is32bit ? FLAT_COMPAT_KERNEL_CS : FLAT_KERNEL_CS;
  t.address = address;
  t.dpl = 0;
  t.ifFlag = true;
  // An NMI that came before there was a handler would be lost.
  if (vcpu.id === 0 && domain.sharedInfoMfn >= 0) {
    if (hv.ram.read32((domain.sharedInfoMfn * 4096 + nmiReasonAt(domain.abi)) as Maddr) !== 0) vcpu.pv.nmiPending = true;
  }
  return 0;
}

/** 0 or -XEN_Exxx: only the NMI callback can be withdrawn. */
export function unregisterCallback(vcpu: Vcpu, type: number): number {
  switch (type) {
    case CALLBACKTYPE_nmi:
      // SAFE: 256 entries.
      clearTrapEntry(vcpu.pv.trapTable[NMI]!);
      return 0;
    case CALLBACKTYPE_syscall:
      return vcpu.domain.is32bit ? -XEN_ENOSYS : -XEN_EINVAL;
    case CALLBACKTYPE_event:
    case CALLBACKTYPE_failsafe:
    case CALLBACKTYPE_syscall32:
    case CALLBACKTYPE_sysenter:
      return -XEN_EINVAL;
    default:
      return -XEN_ENOSYS;
  }
}
