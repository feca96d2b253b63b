// VM entries (SDM Vol 3C, chapter 26): the checks, loading the guest's state, and what comes before the guest's first instruction.

import type { Context } from '../context.ts';
import { STATE } from '../state.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import { DR7_FIXED } from '../system/debug.ts';
import { EVENT_TYPE, type EventType } from '../virt/non-root.ts';
import { ENTRY_FAILURE_QUALIFICATION, failingControl, failingGuest, failingHost } from './checks.ts';
import { ENTRY, EXIT, SECONDARY } from './controls.ts';
import { failEntry, INTERRUPTIBILITY } from './exit.ts';
import { INTERRUPTION_HAS_ERROR, INTERRUPTION_TYPE_SHIFT, INTERRUPTION_VALID, VMX_EXIT } from './exits.ts';
import { VMCS } from './fields.ts';
import { fieldToState, loadPdptes, loadRegisters } from './guest-state.ts';
import { loadMsrs } from './msr-areas.ts';
import { VM_ENTRY_FAILED, VM_ERROR, VM_SUCCEED, type VmResult } from './results.ts';
import type { Vmcs } from './vmcs.ts';
import type { Vmx } from './vmx.ts';

/** Interruption type "other event": with vector 0 a pending MTF exit (26.6.2). */
const OTHER_EVENT = 7;
const IA32_DEBUGCTL = 0x1d9;
/** DR7 bits that an entry forces to 0 (26.3.2.1): 12, 14, 15 and the high half. */
const DR7_ZERO = 0xd000;

/** A VM entry. VM_SUCCEED: the guest runs. A positive number is the VM-instruction error of a check that failed early. */
export function enterGuest(vmx: Vmx, vmcs: Vmcs): VmResult {
  const { cpu, guest } = vmx;
  // A host in TypeScript has no mode of its own: it is in the one that it says exits go to.
  const isLong = vmx.host === 'typescript' ? vmcs.read32(VMCS.VM_EXIT_CONTROLS) & EXIT.hostAddressSpaceSize : cpu.lo(STATE.efer) & EFER.LMA;
  const { context } = vmx;
  context.use(vmcs, isLong !== 0);
  const control = failingControl(context);
  const early = control ?? failingHost(context);
  if (early !== undefined) {
    vmx.failedRule = early.name;
    return control !== undefined ? VM_ERROR.entryControls : VM_ERROR.entryHostState;
  }
  guest.use(vmcs);
  const late = failingGuest(context);
  if (late !== undefined) {
    vmx.failedRule = late.name;
    failEntry(vmx, VMX_EXIT.INVALID_GUEST_STATE.reason, late.qualification ?? 0);
    return VM_ENTRY_FAILED;
  }
  vmx.failedRule = undefined;
  const controls = vmcs.read32(VMCS.VM_ENTRY_CONTROLS);
  loadGuest(cpu, vmcs, controls);
  const usesPdptes = (cpu.lo(STATE.cr0) & CR0.PG) !== 0 && (cpu.lo(STATE.cr4) & CR4.PAE) !== 0 && (cpu.lo(STATE.efer) & EFER.LMA) === 0;
  const hasEpt = (guest.secondary & SECONDARY.enableEpt) !== 0;
  if (usesPdptes && !hasEpt && !cpu.loadPdptes(cpu.u32(STATE.cr3))) {
    vmx.failedRule = 'the PDPTEs at GUEST_CR3 set no reserved bit';
    failEntry(vmx, VMX_EXIT.INVALID_GUEST_STATE.reason, ENTRY_FAILURE_QUALIFICATION.pdpte);
    return VM_ENTRY_FAILED;
  }
  const count = vmcs.read32(VMCS.VM_ENTRY_MSR_LOAD_COUNT);
  const failed = count === 0 ? 0 : loadMsrs(vmx, vmcs.readLin(VMCS.VM_ENTRY_MSR_LOAD_ADDR), count);
  if (failed !== 0) {
    vmx.failedRule = `entry ${failed} of the MSR-load list`;
    failEntry(vmx, VMX_EXIT.MSR_LOADING.reason, failed);
    return VM_ENTRY_FAILED;
  }
  const { thread } = cpu;
  const blocking = vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO);
  thread.interruptShadow = (blocking & (INTERRUPTIBILITY.sti | INTERRUPTIBILITY.movSs)) !== 0;
  thread.debugShadow = (blocking & INTERRUPTIBILITY.movSs) !== 0;
  thread.debugHits = 0;
  thread.nmiBlocked = (blocking & INTERRUPTIBILITY.nmi) !== 0;
  thread.monitor = undefined;
  cpu.setNonRoot(guest);
  if (usesPdptes && hasEpt) loadPdptes(cpu, vmcs);
  if (!(guest.secondary & SECONDARY.enableVpid)) cpu.flushSpace(guest.space);
  const information = vmcs.read32(VMCS.VM_ENTRY_INTR_INFO);
  const injects = information >= INTERRUPTION_VALID;
  const pendingDebug = injects ? 0 : vmcs.lo(VMCS.GUEST_PENDING_DBG_EXCEPTIONS);
  guest.entered(cpu, vmcs.read32(VMCS.GUEST_ACTIVITY_STATE), pendingDebug);
  if (injects) inject(vmx, vmcs, information);
  return VM_SUCCEED;
}

/** 26.3.2, without the MSR-load area. */
function loadGuest(cpu: Context & Vmx['cpu'], vmcs: Vmcs, controls: number): void {
  loadRegisters(cpu, vmcs);
  if (controls & ENTRY.loadDebugControls) {
    cpu.setHalves(STATE.dr + 56, (vmcs.lo(VMCS.GUEST_DR7) & ~DR7_ZERO) | DR7_FIXED, 0);
    const debugctl = vmcs.lo(VMCS.GUEST_IA32_DEBUGCTL);
    const { msrs } = cpu.thread;
    if (debugctl !== 0) msrs.set(IA32_DEBUGCTL, BigInt(debugctl));
    else if (msrs.has(IA32_DEBUGCTL)) msrs.delete(IA32_DEBUGCTL);
  }
  if (controls & ENTRY.loadPat) fieldToState(cpu, vmcs, VMCS.GUEST_PAT, STATE.pat);
  if (controls & ENTRY.loadEfer) fieldToState(cpu, vmcs, VMCS.GUEST_EFER, STATE.efer);
  else {
    // LMA as the control says, LME too where paging is on.
    const is64 = (controls & ENTRY.ia32eModeGuest) !== 0;
    const bits = EFER.LMA | (cpu.lo(STATE.cr0) & CR0.PG ? EFER.LME : 0);
    const efer = cpu.lo(STATE.efer);
    cpu.setHalves(STATE.efer, is64 ? efer | bits : efer & ~bits, cpu.hi(STATE.efer));
  }
}

/** 26.6: the event is delivered before the guest's first instruction; what goes wrong on the way may make an exit already. */
function inject(vmx: Vmx, vmcs: Vmcs, information: number): void {
  const { cpu, guest } = vmx;
  const type = (information >>> INTERRUPTION_TYPE_SHIFT) & 7;
  if (type === OTHER_EVENT) {
    guest.pendMtf();
    return;
  }
  const isSoft = type === EVENT_TYPE.softInterrupt || type === EVENT_TYPE.privilegedSoft || type === EVENT_TYPE.softException;
  guest.injected();
  cpu.inject({
    vector: information & 0xff,
    errorCode: information & INTERRUPTION_HAS_ERROR ? vmcs.read32(VMCS.VM_ENTRY_EXCEPTION_ERROR_CODE) & 0xffff : -1,
    type: type as EventType,
    length: isSoft ? vmcs.read32(VMCS.VM_ENTRY_INSTRUCTION_LEN) : 0,
  });
}
