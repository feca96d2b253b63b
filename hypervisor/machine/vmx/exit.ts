// VM exits (SDM Vol 3C, chapter 27): what happened goes into the VM-exit information fields, the guest's state into the guest-state area,
// and then either the host-state area is loaded and its code goes on at HOST_RIP, or run() returns to a host in TypeScript.

import type { Lin } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import { CS, DS, EFLAGS, ES, FS, GS, LDTR, RSP, SEG, SS, STATE, TR } from '../state.ts';
import { CR0, CR4, EFER } from '../system/bits.ts';
import { DR7_FIXED } from '../system/debug.ts';
import type { SystemCpu } from '../system/ports.ts';
import { EVENT_TYPE, type GuestEvent } from '../virt/non-root.ts';
import { ACTIVITY } from './capabilities.ts';
import { ENTRY, EXIT, PIN, SECONDARY } from './controls.ts';
import { ENTRY_FAILURE, INTERRUPTION_HAS_ERROR, INTERRUPTION_TYPE_SHIFT, INTERRUPTION_VALID } from './exits.ts';
import { VMCS } from './fields.ts';
import { fieldToState, mergeCr0, savePdptes, saveRegisters, stateToField } from './guest-state.ts';
import { loadMsrs, storeMsrs } from './msr-areas.ts';
import type { Vmcs } from './vmcs.ts';
import type { Vmx } from './vmx.ts';

/** What is told of an exit. One object is used again for every exit; begin() makes it blank. */
export class ExitCause {
  /** Basic reason, with ENTRY_FAILURE where it is one. */
  reason = 0;
  /** Exit qualification, as halves. */
  qLo = 0;
  qHi = 0;
  /** Of the instruction that the exit came before, or of the software interrupt that was being delivered. */
  length = 0;
  /** VM-exit instruction information. */
  instruction = 0;
  gpa = 0;
  /** Guest-linear address; undefined leaves the field. */
  lin: Lin | undefined = undefined;
  /** VM-exit interruption information, without the bit for an error code; 0 for none. */
  interruption = 0;
  /** -1 for none. */
  errorCode = -1;
  /** The event whose delivery was under way, for IDT-vectoring information. */
  during: GuestEvent | undefined = undefined;
  /** RFLAGS.RF as it is saved (27.3.3); undefined: as it is. */
  rf: boolean | undefined = undefined;

  begin(reason: number): this {
    this.reason = reason;
    this.qLo = 0;
    this.qHi = 0;
    this.length = 0;
    this.instruction = 0;
    this.gpa = 0;
    this.lin = undefined;
    this.interruption = 0;
    this.errorCode = -1;
    this.during = undefined;
    this.rf = undefined;
    return this;
  }
}

/** Interruptibility state (Table 24-3). */
export const INTERRUPTIBILITY = { sti: 1, movSs: 2, smi: 4, nmi: 8 } as const;
/** Pending debug exceptions (Table 24-4). */
export const PENDING_DEBUG = { breakpoints: 0xf, enabled: 1 << 12, bs: 1 << 14 } as const;

/** Why a VMX abort happened (27.7). */
export const VMX_ABORT = { saveMsrs: 1, hostPdptes: 2, vmcsCorrupted: 3, loadMsrs: 4, machineCheck: 5 } as const;

/** Interruption information of an event, without an error code. */
export const interruptionOf = (e: GuestEvent): number => (e.vector | (e.type << INTERRUPTION_TYPE_SHIFT) | INTERRUPTION_VALID) >>> 0;

/** The instruction is in the program: its length belongs to exits that delivering it causes (27.2.5). */
export const isSoftware = (e: GuestEvent): boolean =>
  e.type === EVENT_TYPE.softInterrupt || e.type === EVENT_TYPE.softException || e.type === EVENT_TYPE.privilegedSoft;

function writeInformation(vmcs: Vmcs, c: ExitCause): void {
  vmcs.write32(VMCS.VM_EXIT_REASON, c.reason);
  vmcs.setHalves(VMCS.EXIT_QUALIFICATION, c.qLo, c.qHi);
  if (c.reason >= ENTRY_FAILURE) return;
  const hasError = c.interruption !== 0 && c.errorCode >= 0;
  vmcs.write32(VMCS.VM_EXIT_INTR_INFO, c.interruption | (hasError ? INTERRUPTION_HAS_ERROR : 0));
  if (hasError) vmcs.write32(VMCS.VM_EXIT_INTR_ERROR_CODE, c.errorCode);
  const { during } = c;
  if (during === undefined) vmcs.write32(VMCS.IDT_VECTORING_INFO, 0);
  else {
    vmcs.write32(VMCS.IDT_VECTORING_INFO, interruptionOf(during) | (during.errorCode >= 0 ? INTERRUPTION_HAS_ERROR : 0));
    if (during.errorCode >= 0) vmcs.write32(VMCS.IDT_VECTORING_ERROR_CODE, during.errorCode);
  }
  vmcs.write32(VMCS.VM_EXIT_INSTRUCTION_LEN, c.length);
  vmcs.write32(VMCS.VMX_INSTRUCTION_INFO, c.instruction);
  vmcs.writeLin(VMCS.GUEST_PHYSICAL_ADDRESS, c.gpa);
  if (c.lin !== undefined) vmcs.writeLin(VMCS.GUEST_LINEAR_ADDRESS, c.lin);
  // The event that was injected is not injected again (27.2, first paragraph).
  vmcs.write32(VMCS.VM_ENTRY_INTR_INFO, vmcs.read32(VMCS.VM_ENTRY_INTR_INFO) & 0x7fff_ffff);
}

/** 27.3. */
function saveGuest(vmx: Vmx, vmcs: Vmcs, c: ExitCause): void {
  const { cpu, guest } = vmx;
  const { thread } = cpu;
  const controls = vmcs.read32(VMCS.VM_EXIT_CONTROLS);
  const rflags = cpu.rflags;
  saveRegisters(cpu, vmcs, c.rf === undefined ? rflags : c.rf ? rflags | EFLAGS.RF : rflags & ~EFLAGS.RF);
  if (controls & EXIT.saveDebugControls) {
    stateToField(cpu, vmcs, VMCS.GUEST_DR7, STATE.dr + 56);
    const debugctl = thread.msrs.get(IA32_DEBUGCTL);
    vmcs.setHalves(VMCS.GUEST_IA32_DEBUGCTL, debugctl === undefined ? 0 : Number(debugctl & 0xffff_ffffn), 0);
  }
  if (controls & EXIT.savePat) stateToField(cpu, vmcs, VMCS.GUEST_PAT, STATE.pat);
  if (controls & EXIT.saveEfer) stateToField(cpu, vmcs, VMCS.GUEST_EFER, STATE.efer);
  const isLong = (cpu.lo(STATE.efer) & EFER.LMA) !== 0;
  if (vmx.capabilities.unrestrictedGuest) {
    const entry = vmcs.read32(VMCS.VM_ENTRY_CONTROLS);
    vmcs.write32(VMCS.VM_ENTRY_CONTROLS, isLong ? entry | ENTRY.ia32eModeGuest : entry & ~ENTRY.ia32eModeGuest);
  }
  const usesPdptes = (cpu.lo(STATE.cr0) & CR0.PG) !== 0 && (cpu.lo(STATE.cr4) & CR4.PAE) !== 0 && !isLong;
  if (usesPdptes && guest.secondary & SECONDARY.enableEpt) savePdptes(cpu, vmcs);
  const stepping = (rflags & EFLAGS.TF) !== 0 && (thread.interruptShadow || guest.activity === ACTIVITY.hlt);
  const hits = thread.debugShadow && thread.debugHits !== 0 ? thread.debugHits | PENDING_DEBUG.enabled : 0;
  vmcs.setHalves(VMCS.GUEST_PENDING_DBG_EXCEPTIONS, hits | (stepping ? PENDING_DEBUG.bs : 0), 0);
  vmcs.write32(VMCS.GUEST_ACTIVITY_STATE, guest.activity);
  // Before an instruction the shadow is still there; an instruction that exits as a fault would was under it (27.3.4).
  const wasShadowed = !thread.interruptShadow && thread.shadowedRip === cpu.rip;
  const bySs = wasShadowed ? thread.shadowedBySs : thread.debugShadow;
  thread.shadowedRip = -1;
  vmcs.write32(
    VMCS.GUEST_INTERRUPTIBILITY_INFO,
    (thread.interruptShadow || wasShadowed ? (bySs ? INTERRUPTIBILITY.movSs : INTERRUPTIBILITY.sti) : 0) |
      (thread.nmiBlocked ? INTERRUPTIBILITY.nmi : 0),
  );
  if (guest.pin & PIN.activatePreemptionTimer && controls & EXIT.savePreemptionTimer)
    vmcs.write32(VMCS.GUEST_PREEMPTION_TIMER, guest.timerLeft(cpu));
}
const IA32_DEBUGCTL = 0x1d9;

/** Data segments and SS after an exit: flat and writable, unusable where the selector is null (27.5.2). */
const HOST_DATA = SEG.present | SEG.s | SEG.writable | SEG.accessed | SEG.db | SEG.g;
const HOST_CODE = SEG.present | SEG.s | SEG.code | SEG.writable | SEG.accessed | SEG.g;
/** A busy 32- or 64-bit TSS. */
const HOST_TSS = SEG.present | 0xb;
const FLAT = 0xffff_ffff;

/** 27.5. False: VMX abort. */
function loadHost(vmx: Vmx, vmcs: Vmcs): boolean {
  const { cpu } = vmx;
  const { thread } = cpu;
  const controls = vmcs.read32(VMCS.VM_EXIT_CONTROLS);
  const is64 = (controls & EXIT.hostAddressSpaceSize) !== 0;
  cpu.setHalves(STATE.cr0, mergeCr0(vmcs.lo(VMCS.HOST_CR0), cpu.lo(STATE.cr0)), 0);
  fieldToState(cpu, vmcs, VMCS.HOST_CR3, STATE.cr3);
  cpu.setHalves(STATE.cr4, is64 ? vmcs.lo(VMCS.HOST_CR4) | CR4.PAE : vmcs.lo(VMCS.HOST_CR4) & ~CR4.PCIDE, 0);
  cpu.setHalves(STATE.dr + 56, DR7_FIXED, 0);
  thread.msrs.delete(IA32_DEBUGCTL);
  cpu.setHalves(STATE.sysenterCs, vmcs.read32(VMCS.HOST_SYSENTER_CS), 0);
  fieldToState(cpu, vmcs, VMCS.HOST_SYSENTER_ESP, STATE.sysenterEsp);
  fieldToState(cpu, vmcs, VMCS.HOST_SYSENTER_EIP, STATE.sysenterEip);
  if (controls & EXIT.loadEfer) fieldToState(cpu, vmcs, VMCS.HOST_EFER, STATE.efer);
  else {
    const both = EFER.LMA | EFER.LME;
    cpu.setHalves(STATE.efer, is64 ? cpu.lo(STATE.efer) | both : cpu.lo(STATE.efer) & ~both, cpu.hi(STATE.efer));
  }
  if (controls & EXIT.loadPat) fieldToState(cpu, vmcs, VMCS.HOST_PAT, STATE.pat);
  cpu.setSegment(CS, vmcs.read32(VMCS.HOST_CS_SELECTOR), HOST_CODE | (is64 ? SEG.l : SEG.db), FLAT, 0);
  data(cpu, SS, vmcs.read32(VMCS.HOST_SS_SELECTOR), 0);
  data(cpu, DS, vmcs.read32(VMCS.HOST_DS_SELECTOR), 0);
  data(cpu, ES, vmcs.read32(VMCS.HOST_ES_SELECTOR), 0);
  data(cpu, FS, vmcs.read32(VMCS.HOST_FS_SELECTOR), vmcs.readLin(VMCS.HOST_FS_BASE));
  data(cpu, GS, vmcs.read32(VMCS.HOST_GS_SELECTOR), vmcs.readLin(VMCS.HOST_GS_BASE));
  cpu.setSegment(TR, vmcs.read32(VMCS.HOST_TR_SELECTOR), HOST_TSS, 0x67, vmcs.readLin(VMCS.HOST_TR_BASE));
  cpu.setSegment(LDTR, 0, 0, 0, 0);
  fieldToState(cpu, vmcs, VMCS.HOST_GDTR_BASE, STATE.gdtrBase);
  fieldToState(cpu, vmcs, VMCS.HOST_IDTR_BASE, STATE.idtrBase);
  cpu.setU32(STATE.gdtrLimit, 0xffff);
  cpu.setU32(STATE.idtrLimit, 0xffff);
  cpu.setU32(STATE.cpl, 0);
  cpu.setRegLin(RSP, vmcs.readLin(VMCS.HOST_RSP));
  fieldToState(cpu, vmcs, VMCS.HOST_RIP, STATE.rip);
  cpu.rflags = 2;
  cpu.setNonRoot(null);
  // Without VPIDs the translations of both sides go (27.5.5).
  if (!(vmx.guest.secondary & SECONDARY.enableVpid)) cpu.flushSpace(0);
  const pae = (cpu.lo(STATE.cr0) & CR0.PG) !== 0 && (cpu.lo(STATE.cr4) & CR4.PAE) !== 0 && !is64;
  if (pae && !cpu.loadPdptes(cpu.u32(STATE.cr3))) return abort(vmx, vmcs, VMX_ABORT.hostPdptes);
  const count = vmcs.read32(VMCS.VM_EXIT_MSR_LOAD_COUNT);
  if (count !== 0 && loadMsrs(vmx, vmcs.readLin(VMCS.VM_EXIT_MSR_LOAD_ADDR), count) !== 0) return abort(vmx, vmcs, VMX_ABORT.loadMsrs);
  return true;
}
function data(cpu: SystemCpu, seg: number, selector: number, base: number): void {
  if (selector !== 0) cpu.setSegment(seg, selector, HOST_DATA, FLAT, base);
  else cpu.setSegment(seg, 0, 0, 0, base);
}

/** 27.7: the logical processor is in the shutdown state. */
function abort(vmx: Vmx, vmcs: Vmcs, why: number): false {
  vmcs.abort = why;
  vmx.cpu.setNonRoot(null);
  vmx.cpu.leave(RunExit.shutdown);
  return false;
}

/** Makes the exit that vmx.cause tells of. Always true, for NonRoot's functions to end with. */
export function makeExit(vmx: Vmx): true {
  const { cpu, cause, guest } = vmx;
  const vmcs = guest.vmcs;
  const { thread } = cpu;
  vmx.exits[cause.reason & 0xffff]!++;
  writeInformation(vmcs, cause);
  saveGuest(vmx, vmcs, cause);
  guest.left(cpu);
  const count = vmcs.read32(VMCS.VM_EXIT_MSR_STORE_COUNT);
  if (count !== 0 && !storeMsrs(vmx, vmcs.readLin(VMCS.VM_EXIT_MSR_STORE_ADDR), count)) {
    abort(vmx, vmcs, VMX_ABORT.saveMsrs);
    return true;
  }
  thread.interruptShadow = false;
  thread.shadowedRip = -1;
  thread.debugShadow = false;
  thread.debugHits = 0;
  thread.monitor = undefined;
  // An NMI that made the exit blocks further ones (27.5.5); where they were virtual, physical ones were never blocked.
  const byNmi = cause.reason === 0 && ((cause.interruption >>> INTERRUPTION_TYPE_SHIFT) & 7) === EVENT_TYPE.nmi;
  thread.nmiBlocked = byNmi || (thread.nmiBlocked && !(guest.pin & PIN.virtualNmis));
  leaveToHost(vmx, vmcs);
  return true;
}

/** A VM entry that failed after its checks of controls and host state (26.8): the guest's state is not saved. */
export function failEntry(vmx: Vmx, reason: number, qualification: number): void {
  const { cause, guest } = vmx;
  cause.begin((reason | ENTRY_FAILURE) >>> 0);
  cause.qLo = qualification;
  vmx.exits[reason]!++;
  writeInformation(guest.vmcs, cause);
  if (vmx.host === 'code') loadHost(vmx, guest.vmcs);
}

function leaveToHost(vmx: Vmx, vmcs: Vmcs): void {
  if (vmx.host === 'code') {
    loadHost(vmx, vmcs);
    return;
  }
  vmx.cpu.setNonRoot(null);
  vmx.cpu.leave(RunExit.vmexit);
}
