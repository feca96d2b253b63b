// Entering the guest kernel by its registered callbacks: events and NMIs on the way back to the guest, the failsafe callback when the
// way back faults, SYSCALL and SYSENTER of user programs. Sources: xen/arch/x86/x86_64/entry.S and compat/entry.S.

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { isCanonical, type Lin } from '../machine/addresses.ts';
import type { Context } from '../machine/context.ts';
import { CS, EFLAGS, RCX, RSP, SEG, SS, STATE } from '../machine/state.ts';
import { bounce } from './bounce.ts';
import { injectException, isNullHandler } from './inject.ts';
import { errorCodeOf, GP_FAULT, loadCodeAndStack, vectorOf } from './segment-load.ts';
import { FLAT_COMPAT_USER_SS, FLAT_KERNEL_CS, FLAT_KERNEL_SS, FLAT_USER_CS32, FLAT_USER_SS } from './selectors.ts';
import { TBF } from './trap-bounce.ts';
import { upcallMask, upcallPending } from './vcpu-info.ts';

/** PvVcpu.startFault: a data segment could not be loaded. */
export const START_FAILSAFE = -1;
const UD = 6;
const NMI = 2;
const GP = 13;
const R11 = 11;
/** 1 << VCPU_TRAP_NMI (xen/include/xen/sched.h). */
const ASYNC_NMI = 1 << 1;

/** Events and NMIs that are due, at each return to the guest (test_all_events). */
// TOUR hypercall 90: On the way back to the guest, as in Xen's test_all_events: an event or NMI that became pending meanwhile is turned
// into a bounce frame on the guest's stack, so that the guest runs its callback first. Then run() again: the guest is behind its SYSCALL,
// with the answer in rax.
export function deliverPending(hv: Hypervisor, vcpu: Vcpu): void {
  const { pv } = vcpu;
  if (pv.startFault !== 0) firstReturn(hv, vcpu);
  if (pv.nmiPending && !(pv.asyncExceptionMask & ASYNC_NMI)) {
    pv.nmiPending = false;
    if (!isNullHandler(vcpu, NMI)) {
      pv.nmiOldMask = pv.asyncExceptionMask;
      pv.asyncExceptionMask |= ASYNC_NMI;
      injectException(hv, vcpu, NMI);
    }
  }
  if (upcallPending(vcpu) && upcallMask(vcpu) === 0) {
    vcpu.domain.count('event upcall');
    bounce(hv, vcpu, TBF.interrupt, pv.eventCallbackCs, pv.eventCallbackEip, 0);
  }
}

/** The way into the guest of a first context whose selectors are no good. */
function firstReturn(hv: Hypervisor, vcpu: Vcpu): void {
  const fault = vcpu.pv.startFault;
  vcpu.pv.startFault = 0;
  if (fault === START_FAILSAFE) failsafeCallback(hv, vcpu);
  else injectException(hv, vcpu, vectorOf(fault), errorCodeOf(fault));
}

/** async_exception_cleanup(): the guest's IRET ends the innermost asynchronous exception. */
export function asyncExceptionCleanup(vcpu: Vcpu): void {
  if (vcpu.pv.asyncExceptionMask & ASYNC_NMI) vcpu.pv.asyncExceptionMask = vcpu.pv.nmiOldMask;
}

/** A data segment could not be loaded when the vCPU was put on a CPU (load_segments). */
export function failsafeCallback(hv: Hypervisor, vcpu: Vcpu): void {
  const { pv } = vcpu;
  vcpu.domain.count('failsafe callback');
  let flags: number = TBF.failsafe;
  if (pv.failsafeDisablesEvents) flags |= TBF.interrupt;
  bounce(hv, vcpu, flags, pv.failsafeCallbackCs, pv.failsafeCallbackEip, 0);
}

/** Flat 64-bit code, flat 32-bit code and flat data in ring 3, as attributes (SEG in machine/state.ts). */
const CODE64 = 0xa0fb;
const CODE32 = 0xc0fb;
const DATA = 0xc0f3;
const FLAT_LIMIT = 0xffff_ffff;

/** What SYSCALL leaves behind: RCX and R11, and the flat segments that SYSRET will load on the way out. RIP is after the instruction. */
export function enterSyscall(vcpu: Vcpu, compatibilityMode: boolean): void {
  const { regs } = vcpu;
  regs.setRegHalves(RCX, regs.lo(STATE.rip), regs.hi(STATE.rip));
  regs.setRegHalves(R11, regs.rflags & ~EFLAGS.RF, 0);
  setFlat(vcpu, compatibilityMode ? FLAT_USER_CS32 : FLAT_KERNEL_CS);
}

/** CS and SS as SYSRET loads them: selectors of the hypervisor's, no descriptor is read. */
function setFlat(vcpu: Vcpu, cs: number): void {
  const { regs } = vcpu;
  if (regs.selector(CS) === cs && regs.selector(SS) === FLAT_KERNEL_SS) return;
  regs.setSegment(CS, cs, cs === FLAT_USER_CS32 ? CODE32 : CODE64, FLAT_LIMIT, 0);
  regs.setSegment(SS, FLAT_KERNEL_SS, DATA, FLAT_LIMIT, 0);
  vcpu.cpu?.modeChanged();
}

/** The way out by SYSRET (restore_all_guest): RCX and R11 show where the guest goes on. */
export function returnBySysret(hv: Hypervisor, vcpu: Vcpu, cs: number): void {
  const { regs } = vcpu;
  regs.setRegHalves(RCX, regs.lo(STATE.rip), regs.hi(STATE.rip));
  regs.setRegHalves(R11, regs.rflags & ~EFLAGS.RF, 0);
  if (!isCanonical(regs.rip)) {
    // SYSRET would fault in ring 0: Xen takes IRET instead, which faults too, where it can be caught.
    returnWithSelectors(hv, vcpu, cs, FLAT_KERNEL_SS);
    return;
  }
  setFlat(vcpu, cs === FLAT_USER_CS32 ? FLAT_USER_CS32 : FLAT_KERNEL_CS);
}

/** SYSCALL in a user program of a 64-bit guest (switch_to_kernel). */
export function bounceSyscall(hv: Hypervisor, vcpu: Vcpu, compatibilityMode: boolean): void {
  const { pv, regs } = vcpu;
  const eip = compatibilityMode ? pv.syscall32CallbackEip : pv.syscallCallbackEip;
  if (eip === 0) {
    regs.rip = (regs.rip - 2) as Lin;
    injectException(hv, vcpu, UD);
  } else {
    bounce(hv, vcpu, pv.syscallDisablesEvents ? TBF.interrupt : 0, 0, eip, 0);
  }
  regs.rflags = regs.rflags & ~EFLAGS.DF;
}

/** SYSCALL in a 32-bit guest (cstar_enter; AMD only, Intel raises #UD outside 64-bit mode). */
export function bounceCompatSyscall(hv: Hypervisor, vcpu: Vcpu): void {
  const { pv, regs } = vcpu;
  if ((pv.syscall32CallbackCs & 0xfffc) === 0) {
    regs.rip = (regs.rip - 2) as Lin;
    injectException(hv, vcpu, GP, 0);
    return;
  }
  bounce(hv, vcpu, pv.syscall32DisablesEvents ? TBF.interrupt : 0, pv.syscall32CallbackCs, pv.syscall32CallbackEip, 0);
}

/** SYSENTER: nothing of the caller's RIP and stack is known. */
export function bounceSysenter(hv: Hypervisor, vcpu: Vcpu): void {
  const { pv, regs, domain } = vcpu;
  regs.rip = 0 as Lin;
  regs.setSegment(CS, 3, CODE64, FLAT_LIMIT, 0);
  regs.setSegment(SS, domain.is32bit ? FLAT_COMPAT_USER_SS : FLAT_USER_SS, DATA, FLAT_LIMIT, 0);
  regs.setRegHalves(RSP, 0, 0);
  const isMissing = pv.sysenterCallbackEip === 0 || (domain.is32bit && (pv.sysenterCallbackCs & 0xfffc) === 0);
  if (isMissing) injectException(hv, vcpu, GP, 0);
  else bounce(hv, vcpu, pv.sysenterDisablesEvents ? TBF.interrupt : 0, pv.sysenterCallbackCs, pv.sysenterCallbackEip, 0);
}

/**
 * CS and SS for the return to the guest. A fault of the IRET is shown to the guest as its own, with the selectors that were refused in
 * the frame (_ASM_PRE_EXTABLE(.Lft0, handle_exception); before Xen 4.7 it went to the failsafe callback).
 */
export function returnWithSelectors(hv: Hypervisor, vcpu: Vcpu, cs: number, ss: number): void {
  const { regs } = vcpu;
  const fault = loadCodeAndStack(hv, vcpu, cs, ss) || (isRipInside(regs) ? 0 : GP_FAULT);
  if (fault === 0) return;
  regs.setU16(STATE.seg + CS * 16, cs);
  regs.setU16(STATE.seg + SS * 16, ss);
  injectException(hv, vcpu, vectorOf(fault), errorCodeOf(fault));
}

/** IRET checks the new RIP too: canonical in 64-bit code, within the limit elsewhere. */
function isRipInside(regs: Context): boolean {
  const { rip } = regs;
  return regs.segAttributes(CS) & SEG.l ? isCanonical(rip) : rip >= 0 && rip <= regs.segLimit(CS);
}
