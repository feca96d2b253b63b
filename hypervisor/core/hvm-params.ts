// The parameters of an HVM domain (HVMOP_set_param, HVMOP_get_param): who may set and read each, and which values are taken
// (xen/arch/x86/hvm/hvm.c of 4.17: hvm_allow_set_param(), hvm_set_param(), hvm_allow_get_param(), hvm_get_param()).

import * as params from '@ringworld/abi';
import { DOMID_SELF, SHUTDOWN_MAX, XEN_EEXIST, XEN_EINVAL, XEN_EPERM } from '@ringworld/abi';
import type { Domain } from './domain.ts';
import { callbackViaOf } from './hvm-domain.ts';
import type { Hypervisor } from './hypervisor.ts';

type ParamName = Extract<keyof typeof params, `HVM_PARAM_${string}`>;
type Name = Exclude<
  ParamName extends `HVM_PARAM_${infer N}` ? N : never,
  'CALLBACK_IRQ_TYPE_MASK' | 'CALLBACK_TYPE_GSI' | 'CALLBACK_TYPE_PCI_INTX' | 'CALLBACK_TYPE_VECTOR'
>;

interface Rule {
  /** 'guest': also the domain itself; 'toolstack': others with control over it; 'none': deprecated, -XEN_EINVAL for all. */
  readonly set: 'guest' | 'toolstack' | 'none';
  readonly get: 'guest' | 'toolstack' | 'none';
  /** Once it is not zero only the same value may be set again (-XEN_EEXIST). */
  readonly once?: true;
  /** Which values are taken; others are -XEN_EINVAL. */
  readonly isValid?: (value: bigint, d: Domain) => boolean;
}

const BOTH: Rule = { set: 'guest', get: 'guest' };
const TOOLS: Rule = { set: 'toolstack', get: 'toolstack' };
const TOOLS_ONCE: Rule = { ...TOOLS, once: true };
const TOOLS_SET: Rule = { set: 'toolstack', get: 'guest' };
const NONE: Rule = { set: 'none', get: 'none' };

/** sizeof(struct tss32): a 32-bit task state segment without a bitmap. */
const TSS_SIZE = 104n;
/** With the interrupt redirection bitmap, the whole I/O bitmap and its byte of padding. */
const TSS_MAX = TSS_SIZE + 0x20n + 0x2000n + 1n;
/** VM86_TSS_UPDATED: the TSS has to be written anew before it is used; hidden from readers. */
export const VM86_TSS_UPDATED = 1n << 63n;
/** ioreq_gfn.mask has a bit per page. */
const MAX_IOREQ_PAGES = 64n;
const isOneOf =
  (...values: readonly bigint[]) =>
  (v: bigint): boolean =>
    values.includes(v);

/** By name; a parameter that params.h declares and this table lacks does not compile. */
export const HVM_PARAM_RULES: Readonly<Record<Name, Rule>> = {
  CALLBACK_IRQ: BOTH,
  STORE_PFN: TOOLS_SET,
  STORE_EVTCHN: BOTH,
  PAE_ENABLED: NONE,
  IOREQ_PFN: TOOLS_ONCE,
  BUFIOREQ_PFN: TOOLS_ONCE,
  VIRIDIAN: {
    ...TOOLS_ONCE,
    isValid: (v) => (v & ~BigInt(params.HVMPV_feature_mask)) === 0n && (v & BigInt(params.HVMPV_base_freq)) !== 0n,
  },
  TIMER_MODE: { ...TOOLS, isValid: (v) => v <= BigInt(params.HVMPTM_one_missed_tick_pending) },
  HPET_ENABLED: TOOLS,
  IDENT_PT: TOOLS,
  DM_DOMAIN: { ...NONE, isValid: isOneOf(BigInt(DOMID_SELF)) },
  ACPI_S_STATE: { ...TOOLS, isValid: isOneOf(0n, 3n) },
  VM86_TSS: { ...BOTH, isValid: (v) => v <= 0xffff_ffffn },
  VPT_ALIGN: TOOLS,
  CONSOLE_PFN: TOOLS_SET,
  CONSOLE_EVTCHN: BOTH,
  // pmtimer_change_ioport(): only once, and to version 1's ports.
  ACPI_IOPORTS_LOCATION: { ...BOTH, isValid: isOneOf(0n, 1n) },
  MEMORY_EVENT_CR0: NONE,
  MEMORY_EVENT_CR3: NONE,
  MEMORY_EVENT_CR4: NONE,
  MEMORY_EVENT_INT3: NONE,
  NESTEDHVM: NONE,
  MEMORY_EVENT_SINGLE_STEP: NONE,
  BUFIOREQ_EVTCHN: NONE,
  PAGING_RING_PFN: TOOLS,
  MONITOR_RING_PFN: TOOLS,
  SHARING_RING_PFN: TOOLS,
  MEMORY_EVENT_MSR: NONE,
  TRIPLE_FAULT_REASON: { ...TOOLS, isValid: (v) => v <= BigInt(SHUTDOWN_MAX) },
  IOREQ_SERVER_PFN: TOOLS_ONCE,
  NR_IOREQ_SERVER_PAGES: { ...TOOLS_ONCE, isValid: (v) => v > 0n && v <= MAX_IOREQ_PAGES },
  VM_GENERATION_ID_ADDR: BOTH,
  // Alternate p2m views are not there: "disabled" is all that can be asked for.
  ALTP2M: { ...TOOLS_SET, once: true, isValid: isOneOf(0n) },
  X87_FIP_WIDTH: { ...BOTH, isValid: isOneOf(0n, 4n, 8n) },
  VM86_TSS_SIZED: { ...BOTH, isValid: (v) => v >> 32n >= TSS_SIZE },
  // LMCE has no meaning here.
  MCA_CAP: { ...TOOLS_ONCE, isValid: isOneOf(0n) },
};

const PREFIX = 'HVM_PARAM_';
const BY_INDEX: (Rule | undefined)[] = [];
for (const [key, index] of Object.entries(params)) {
  // SAFE: a key that the table does not have gives undefined.
  const rule = key.startsWith(PREFIX) ? HVM_PARAM_RULES[key.slice(PREFIX.length) as Name] : undefined;
  if (rule !== undefined && typeof index === 'number') BY_INDEX[index] = rule;
}

const mayAccess = (who: Rule['set'], isSelf: boolean): number => {
  if (who === 'none') return -XEN_EINVAL;
  return who === 'toolstack' && isSelf ? -XEN_EPERM : 0;
};

/** Sets a parameter of `d`, which the caller has control over or (`isSelf`) is. 0 or -XEN_Exxx. The hooks of hvm/ are told. */
export function setHvmParam(hv: Hypervisor, d: Domain, index: number, wanted: bigint, isSelf: boolean): number {
  const rule = BY_INDEX[index];
  const { hvm } = d;
  if (hvm === null) return -XEN_EINVAL;
  // Holes in the numbering are like any other parameter of the toolstack's.
  const denied = mayAccess(rule?.set ?? 'toolstack', isSelf);
  if (denied !== 0) return denied;
  const old = hvm.params[index]!;
  if (rule?.once && old !== 0n && wanted !== old) return -XEN_EEXIST;
  if (rule?.isValid?.(wanted, d) === false) {
    // A guest's own malformed TSS ends it: real mode could not be emulated.
    if (isSelf && (index === params.HVM_PARAM_VM86_TSS || index === params.HVM_PARAM_VM86_TSS_SIZED))
      d.crash('malformed HVM_PARAM_VM86_TSS');
    return -XEN_EINVAL;
  }
  switch (index) {
    case params.HVM_PARAM_CALLBACK_IRQ:
      hvm.params[index] = wanted;
      hvm.callbackVia = callbackViaOf(wanted);
      hv.hvm.setCallbackVia(hv, d, hvm.callbackVia);
      return 0;
    case params.HVM_PARAM_ACPI_IOPORTS_LOCATION:
      if (old === 1n && wanted === 0n) return -XEN_EINVAL;
      break;
    // Old hvmloaders give no size.
    case params.HVM_PARAM_VM86_TSS:
      hvm.params[params.HVM_PARAM_VM86_TSS_SIZED] = wanted === 0n ? 0n : wanted | (128n << 32n) | VM86_TSS_UPDATED;
      hv.hvm.paramChanged(hv, d, params.HVM_PARAM_VM86_TSS_SIZED);
      return 0;
    case params.HVM_PARAM_VM86_TSS_SIZED: {
      const size = wanted >> 32n > TSS_MAX ? TSS_MAX : wanted >> 32n;
      hvm.params[index] = (wanted & 0xffff_ffffn) | (size << 32n) | VM86_TSS_UPDATED;
      hv.hvm.paramChanged(hv, d, index);
      return 0;
    }
  }
  hvm.params[index] = wanted;
  hv.hvm.paramChanged(hv, d, index);
  return 0;
}

/** The value, or -XEN_Exxx. */
export function getHvmParam(d: Domain, index: number, isSelf: boolean): bigint | number {
  const { hvm } = d;
  if (hvm === null) return -XEN_EINVAL;
  const denied = mayAccess(BY_INDEX[index]?.get ?? 'toolstack', isSelf);
  if (denied !== 0) return denied;
  switch (index) {
    case params.HVM_PARAM_VM86_TSS:
      return hvm.params[params.HVM_PARAM_VM86_TSS_SIZED]! & 0xffff_ffffn;
    case params.HVM_PARAM_VM86_TSS_SIZED:
      return hvm.params[index]! & ~VM86_TSS_UPDATED;
    default:
      return hvm.params[index]!;
  }
}
