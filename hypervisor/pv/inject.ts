// Handing an exception to the guest through its trap table (pv_inject_event, xen/arch/x86/pv/traps.c).

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Lin } from '../machine/addresses.ts';
import { linHi, linLo } from '../machine/addresses.ts';
import { PF } from '../machine/cpu-api.ts';
import { EFLAGS, STATE } from '../machine/state.ts';
import { bounce } from './bounce.ts';
import { hexLin, showPageWalk } from './crash.ts';
import { isGuestKernel } from './guest-mode.ts';
import { TBF } from './trap-bounce.ts';
import { hasErrorCode, TRAP_COUNTERS, vectorName } from './trap-names.ts';
import { setGuestCr2 } from './vcpu-info.ts';

const PAGE_FAULT = 14;
const GENERAL_PROTECTION = 13;

/** A hardware exception. `errorCode` counts only where the vector has one. Not for page faults. */
export function injectException(hv: Hypervisor, vcpu: Vcpu, vector: number, errorCode = 0): void {
  if (!isTrap(vector)) setResumeFlag(vcpu);
  deliver(hv, vcpu, vector, hasErrorCode(vector), errorCode);
}

/** #DB (as far as it comes here), NMI, #BP and #OF report what is behind RIP; the others are faults. */
const isTrap = (vector: number): boolean => vector >= 1 && vector <= 4;

/** Faults save RF set, so that the instruction can be resumed past a breakpoint on it (SDM Vol 3B, 18.3.1.1). */
function setResumeFlag(vcpu: Vcpu): void {
  const { regs } = vcpu;
  regs.setU32(STATE.eflags, regs.u32(STATE.eflags) | EFLAGS.RF);
}

export const injectGp = (hv: Hypervisor, vcpu: Vcpu, errorCode: number): void => injectException(hv, vcpu, GENERAL_PROTECTION, errorCode);

/** INT n: no error code, whatever the vector. RIP is after the instruction already. */
export function injectSoftInterrupt(hv: Hypervisor, vcpu: Vcpu, vector: number): void {
  deliver(hv, vcpu, vector, false, 0);
}

/** A page fault at `cr2`; the user bit of the error code is made to say what the guest takes for user mode. */
export function injectPageFault(hv: Hypervisor, vcpu: Vcpu, errorCode: number, cr2: Lin): void {
  const lo = linLo(cr2);
  const hi = linHi(cr2);
  vcpu.pv.ctrlreg[2] = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
  setGuestCr2(vcpu, lo, hi);
  const ec = isGuestKernel(vcpu) ? errorCode & ~PF.user : errorCode | PF.user;
  setResumeFlag(vcpu);
  if (isNullHandler(vcpu, PAGE_FAULT)) showPageWalk(hv, vcpu, cr2);
  deliver(hv, vcpu, PAGE_FAULT, true, ec);
}

/** null_trap_bounce(): no handler that could be entered. */
export function isNullHandler(vcpu: Vcpu, vector: number): boolean {
  // SAFE: 256 entries, vectors are bytes.
  const t = vcpu.pv.trapTable[vector]!;
  return vcpu.domain.is32bit ? (t.selector & 0xfffc) === 0 : t.address === 0;
}

function deliver(hv: Hypervisor, vcpu: Vcpu, vector: number, withErrorCode: boolean, errorCode: number): void {
  // SAFE: as above.
  const t = vcpu.pv.trapTable[vector]!;
  vcpu.domain.count(TRAP_COUNTERS[vector]!);
  let flags: number = TBF.exception;
  if (withErrorCode) flags |= TBF.errorCode;
  if (t.ifFlag) flags |= TBF.interrupt;
  if (isNullHandler(vcpu, vector)) {
    const ec = errorCode.toString(16).padStart(4, '0');
    hv.console.xen(`${vcpu.name} Unhandled: vec ${vector}, ${vectorName(vector)}[${ec}] at ${hexLin(vcpu.regs.rip)}`);
  }
  bounce(hv, vcpu, flags, t.selector, t.address, errorCode);
}
