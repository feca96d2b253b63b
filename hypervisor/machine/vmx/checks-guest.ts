// VM entry: checks on the guest-state area (SDM Vol 3C, 26.3.1). What fails here is an exit with reason 33 and the rule's qualification.

import { EFLAGS, SS } from '../state.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import { EVENT_TYPE } from '../virt/non-root.ts';
import { ACTIVITY } from './capabilities.ts';
import { block, ENTRY_FAILURE_QUALIFICATION, type EntryContext, EVENT, eventType, isPat, type RuleBlock } from './checks-context.ts';
import { ENTRY, PIN, SECONDARY } from './controls.ts';
import { VMCS, type Wide } from './fields.ts';

/** CR0.NW and CR0.CD are not changed by an entry (26.3.1.1, note). */
const UNCHECKED = 0x6000_0000;
const bit = (set: number, n: number): boolean => n < 32 && ((set >>> n) & 1) !== 0;

const REGISTERS = '26.3.1.1';
export const GUEST_REGISTER_CHECKS: readonly RuleBlock[] = [
  block(REGISTERS, undefined, {
    'CR0 has the bits that VMX operation fixes, but for PE and PG of an unrestricted guest': (c) => {
      const free = c.isUnrestricted ? CR0.PE | CR0.PG : 0;
      return ((~c.cr0 & c.caps.cr0Fixed0 & ~free) | (c.cr0 & ~c.caps.cr0Fixed1 & ~UNCHECKED)) === 0 && c.isLow(VMCS.GUEST_CR0);
    },
    'CR0.PG needs CR0.PE': (c) => (c.cr0 & CR0.PG) === 0 || (c.cr0 & CR0.PE) !== 0,
    'CR4 has the bits that VMX operation fixes': (c) =>
      ((~c.cr4 & c.caps.cr4Fixed0) | (c.cr4 & ~c.caps.cr4Fixed1)) === 0 && c.isLow(VMCS.GUEST_CR4),
    'IA-32e mode needs CR0.PG': (c) => !c.isIa32eGuest || (c.cr0 & CR0.PG) !== 0,
    'IA-32e mode needs CR4.PAE': (c) => !c.isIa32eGuest || (c.cr4 & CR4.PAE) !== 0,
    'CR4.PCIDE needs IA-32e mode': (c) => c.isIa32eGuest || (c.cr4 & CR4.PCIDE) === 0,
    'CR3 is within the physical-address width': (c) => c.fits(VMCS.GUEST_CR3),
    'IA32_SYSENTER_ESP is canonical': (c) => c.isCanonical(VMCS.GUEST_SYSENTER_ESP),
    'IA32_SYSENTER_EIP is canonical': (c) => c.isCanonical(VMCS.GUEST_SYSENTER_EIP),
  }),
  block(REGISTERS, (c) => (c.entry & ENTRY.loadDebugControls) !== 0, {
    'IA32_DEBUGCTL has no reserved bits': (c) =>
      (c.vmcs.lo(VMCS.GUEST_IA32_DEBUGCTL) & ~DEBUGCTL) === 0 && c.isLow(VMCS.GUEST_IA32_DEBUGCTL),
    'bits 63:32 of DR7 are 0': (c) => c.isLow(VMCS.GUEST_DR7),
  }),
  block(REGISTERS, (c) => (c.entry & ENTRY.loadPat) !== 0, {
    'IA32_PAT holds memory types': (c) => isPat(c.vmcs.lo(VMCS.GUEST_PAT), c.vmcs.hi(VMCS.GUEST_PAT)),
  }),
  block(REGISTERS, (c) => (c.entry & ENTRY.loadEfer) !== 0, {
    'IA32_EFER has no reserved bits': (c) => (c.vmcs.lo(VMCS.GUEST_EFER) & ~c.caps.efer) === 0 && c.isLow(VMCS.GUEST_EFER),
    'IA32_EFER.LMA is the control "IA-32e mode guest"': (c) => ((c.vmcs.lo(VMCS.GUEST_EFER) & EFER.LMA) !== 0) === c.isIa32eGuest,
    'IA32_EFER.LME is LMA if paging is on': (c) =>
      (c.cr0 & CR0.PG) === 0 || ((c.vmcs.lo(VMCS.GUEST_EFER) & EFER.LME) !== 0) === c.isIa32eGuest,
  }),
];
/** What IA32_DEBUGCTL of this machine has: LBR and BTF (msr-vendor.ts). */
const BTF = 2;
const DEBUGCTL = 1 | BTF;

const CS_L = 0x2000;
const is64 = (c: EntryContext): boolean => c.isIa32eGuest && (c.vmcs.read32(VMCS.GUEST_CS_AR_BYTES) & CS_L) !== 0;
/** RFLAGS bits 31:22, 15, 5, 3: zero; bit 1: one. */
const RFLAGS_ZERO = 0xffc0_8028;
const RFLAGS_ONE = 2;
const injects = (c: EntryContext, type: number): boolean => (c.event & EVENT.valid) !== 0 && eventType(c) === type;

const FLOW = '26.3.1.4';
const flow: readonly RuleBlock[] = [
  block(FLOW, undefined, {
    'outside 64-bit mode bits 63:32 of RIP are 0': (c) => is64(c) || c.isLow(VMCS.GUEST_RIP),
    // One bit less than canonical: bit 47 may differ, and the first fetch faults.
    'in 64-bit mode bits 63:48 of RIP are identical': (c) => {
      const high = (c.vmcs.hi(VMCS.GUEST_RIP) | 0) >> 16;
      return !is64(c) || high === 0 || high === -1;
    },
    'reserved bits of RFLAGS are what they must be': (c) =>
      (c.rflags & RFLAGS_ZERO) === 0 && (c.rflags & RFLAGS_ONE) !== 0 && c.isLow(VMCS.GUEST_RFLAGS),
    'RFLAGS.VM is 0 in IA-32e mode and in real mode': (c) => !c.isVirtual8086 || (!c.isIa32eGuest && (c.cr0 & CR0.PE) !== 0),
    'RFLAGS.IF is 1 where an external interrupt is injected': (c) => (c.rflags & EFLAGS.IF) !== 0 || !injects(c, EVENT_TYPE.external),
  }),
];

/** Interruptibility state (24.4.2, Table 24-3). */
const BLOCKED = { sti: 1, movSs: 2, smi: 4, nmi: 8, enclave: 16, reserved: 0xffff_ffe0 } as const;
/** Pending debug exceptions (24.4.2, Table 24-4). Bit 16, RTM, is for processors with transactions: none here. */
const PENDING = { bs: 1 << 14, reserved: 0xffff_aff0 } as const;
const activityName = (c: EntryContext, state: number): boolean => c.activity === state;
const DB = 1;
const MC = 18;
const OTHER_EVENT = 7;
const injectsException = (c: EntryContext, vector: number): boolean =>
  eventType(c) === EVENT_TYPE.exception && (c.event & EVENT.vector) === vector;
const pending = (c: EntryContext): number => c.vmcs.lo(VMCS.GUEST_PENDING_DBG_EXCEPTIONS);
/** A single-step trap would be due: RFLAGS.TF without BTF. */
const singleSteps = (c: EntryContext): boolean => (c.rflags & EFLAGS.TF) !== 0 && (c.vmcs.lo(VMCS.GUEST_IA32_DEBUGCTL) & BTF) === 0;

const OTHER = '26.3.1.5';
const other: readonly RuleBlock[] = [
  block(OTHER, undefined, { 'the activity state is one that the processor supports': (c) => bit(c.caps.activityStates, c.activity) }),
  block(OTHER, (c) => c.activity !== ACTIVITY.active, {
    'the guest halts at CPL 0 only': (c) => !activityName(c, ACTIVITY.hlt) || ((c.access[SS]! >>> 5) & 3) === 0,
    'the guest is active while STI or MOV SS blocks': (c) => (c.interruptibility & (BLOCKED.sti | BLOCKED.movSs)) === 0,
    'what is injected into a halted guest wakes it': (c) =>
      !activityName(c, ACTIVITY.hlt) ||
      (c.event & EVENT.valid) === 0 ||
      eventType(c) === EVENT_TYPE.external ||
      eventType(c) === EVENT_TYPE.nmi ||
      eventType(c) === OTHER_EVENT ||
      injectsException(c, DB) ||
      injectsException(c, MC),
    'what is injected into a guest in shutdown is an NMI or #MC': (c) =>
      !activityName(c, ACTIVITY.shutdown) || (c.event & EVENT.valid) === 0 || eventType(c) === EVENT_TYPE.nmi || injectsException(c, MC),
    'nothing is injected into a guest that waits for a SIPI': (c) =>
      !activityName(c, ACTIVITY.waitForSipi) || (c.event & EVENT.valid) === 0,
  }),
  block(OTHER, undefined, {
    'bits 31:5 of the interruptibility state are 0': (c) => (c.interruptibility & BLOCKED.reserved) === 0,
  }),
  block(OTHER, (c) => c.interruptibility !== 0, {
    'STI and MOV SS do not both block': (c) => (c.interruptibility & (BLOCKED.sti | BLOCKED.movSs)) !== (BLOCKED.sti | BLOCKED.movSs),
    'STI blocks only where RFLAGS.IF is 1': (c) => (c.interruptibility & BLOCKED.sti) === 0 || (c.rflags & EFLAGS.IF) !== 0,
    'neither STI nor MOV SS blocks where an external interrupt is injected': (c) =>
      (c.interruptibility & (BLOCKED.sti | BLOCKED.movSs)) === 0 || !injects(c, EVENT_TYPE.external),
    'MOV SS does not block where an NMI is injected': (c) => (c.interruptibility & BLOCKED.movSs) === 0 || !injects(c, EVENT_TYPE.nmi),
    'SMIs are not blocked outside SMM': (c) => (c.interruptibility & BLOCKED.smi) === 0,
    'NMIs are not blocked where one is injected with virtual NMIs': (c) =>
      (c.interruptibility & BLOCKED.nmi) === 0 || (c.pin & PIN.virtualNmis) === 0 || !injects(c, EVENT_TYPE.nmi),
    'there is no enclave interruption without SGX': (c) => (c.interruptibility & BLOCKED.enclave) === 0,
  }),
  // The manual leaves this one to the processor; it has a qualification of its own.
  block(
    OTHER,
    (c) => (c.interruptibility & BLOCKED.sti) !== 0,
    { 'STI does not block where an NMI is injected': (c) => !injects(c, EVENT_TYPE.nmi) },
    ENTRY_FAILURE_QUALIFICATION.nmiInjection,
  ),
  block(OTHER, undefined, {
    'reserved bits of the pending debug exceptions are 0': (c) =>
      (pending(c) & PENDING.reserved) === 0 && c.isLow(VMCS.GUEST_PENDING_DBG_EXCEPTIONS),
  }),
  block(OTHER, (c) => (c.interruptibility & (BLOCKED.sti | BLOCKED.movSs)) !== 0 || c.activity === ACTIVITY.hlt, {
    'a single step is pending behind a blocked instruction that was single-stepped': (c) =>
      !singleSteps(c) || (pending(c) & PENDING.bs) !== 0,
    'no single step is pending behind a blocked instruction that was not single-stepped': (c) =>
      singleSteps(c) || (pending(c) & PENDING.bs) === 0,
  }),
  block(
    OTHER,
    (c) => c.vmcs.lo(VMCS.VMCS_LINK_POINTER) !== 0xffff_ffff || c.vmcs.hi(VMCS.VMCS_LINK_POINTER) !== 0xffff_ffff,
    {
      'the VMCS link pointer is aligned to 4096 bytes': (c) => c.isAligned(VMCS.VMCS_LINK_POINTER, 4096),
      'the VMCS link pointer is within the physical-address width': (c) => c.fits(VMCS.VMCS_LINK_POINTER),
      'the VMCS link pointer is not the current VMCS': (c) => c.physical.locate(c.vmcs.readLin(VMCS.VMCS_LINK_POINTER)) !== c.vmcs.at,
      'the linked VMCS has the revision of the processor': (c) =>
        (c.read32(c.vmcs.readLin(VMCS.VMCS_LINK_POINTER)) & 0x7fff_ffff) === c.caps.revision,
      'the linked VMCS is a shadow VMCS with VMCS shadowing, and none without': (c) =>
        c.read32(c.vmcs.readLin(VMCS.VMCS_LINK_POINTER)) >>> 31 === ((c.secondary & SECONDARY.vmcsShadowing) !== 0 ? 1 : 0),
    },
    ENTRY_FAILURE_QUALIFICATION.linkPointer,
  ),
];

/** Paging with four page-directory-pointer-table entries that the processor holds. */
const usesPdptes = (c: EntryContext): boolean => (c.cr0 & CR0.PG) !== 0 && (c.cr4 & CR4.PAE) !== 0 && !c.isIa32eGuest;
/** Bits 2:1 and 8:5 of a present PDPTE (Vol 3A, Table 4-8); above the physical-address width none either. */
const PDPTE_RESERVED = 0x1e6;
const isPdpte = (c: EntryContext, lo: number, hi: number): boolean =>
  (lo & 1) === 0 || ((lo & PDPTE_RESERVED) === 0 && hi >>> (c.caps.physicalBits - 32) === 0);
const fieldIsPdpte = (c: EntryContext, e: Wide): boolean => isPdpte(c, c.vmcs.lo(e), c.vmcs.hi(e));
const memoryIsPdpte = (c: EntryContext, n: number): boolean => {
  const at = ((c.vmcs.lo(VMCS.GUEST_CR3) & ~31) >>> 0) + 8 * n;
  return isPdpte(c, c.read32(at), c.read32(at + 4));
};

const PDPTES = '26.3.1.6';
const pdptes: readonly RuleBlock[] = [
  block(
    PDPTES,
    (c) => usesPdptes(c) && (c.secondary & SECONDARY.enableEpt) !== 0,
    {
      'PDPTE 0 has no reserved bits': (c) => fieldIsPdpte(c, VMCS.GUEST_PDPTE0),
      'PDPTE 1 has no reserved bits': (c) => fieldIsPdpte(c, VMCS.GUEST_PDPTE1),
      'PDPTE 2 has no reserved bits': (c) => fieldIsPdpte(c, VMCS.GUEST_PDPTE2),
      'PDPTE 3 has no reserved bits': (c) => fieldIsPdpte(c, VMCS.GUEST_PDPTE3),
    },
    ENTRY_FAILURE_QUALIFICATION.pdpte,
  ),
  block(
    PDPTES,
    (c) => usesPdptes(c) && (c.secondary & SECONDARY.enableEpt) === 0,
    {
      'PDPTE 0 at CR3 has no reserved bits': (c) => memoryIsPdpte(c, 0),
      'PDPTE 1 at CR3 has no reserved bits': (c) => memoryIsPdpte(c, 1),
      'PDPTE 2 at CR3 has no reserved bits': (c) => memoryIsPdpte(c, 2),
      'PDPTE 3 at CR3 has no reserved bits': (c) => memoryIsPdpte(c, 3),
    },
    ENTRY_FAILURE_QUALIFICATION.pdpte,
  ),
];

/** RIP, RFLAGS, non-register state, PDPTEs: what changes most, or lies in memory. */
export const LIVE_GUEST_CHECKS: readonly RuleBlock[] = [...flow, ...other, ...pdptes];
