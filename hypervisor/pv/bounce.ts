// Bouncing into a 64-bit guest kernel: the frame that a callback or exception handler of the guest finds on its stack
// (create_bounce_frame, xen/arch/x86/x86_64/entry.S), lowest address first:
//
//   RCX, R11, [DS, ES, FS, GS for the failsafe callback,] [error code,] RIP, CS | saved_upcall_mask << 32, RFLAGS, RSP, SS
//
// RCX and R11 are there because the way in or out of the hypervisor by SYSCALL/SYSRET destroys them. The guest is trusted with nothing
// here: a frame that cannot be written ends the domain, since there is no way left to tell the guest anything.

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Lin } from '../machine/addresses.ts';
import { CS, DS, EFLAGS, ES, FS, GS, RCX, RSP, SS, STATE } from '../machine/state.ts';
import { bounceCompat } from './bounce-compat.ts';
import { crashBounce } from './crash.ts';
import { beginFrame, pushWord, storeFrame } from './frame-words.ts';
import { toggleGuestMode } from './guest-mode.ts';
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START } from './layout.ts';
import { FLAT_KERNEL_CS, FLAT_KERNEL_SS } from './selectors.ts';
import { hasArchitecturalIopl, TBF } from './trap-bounce.ts';
import { setUpcallMask, upcallMask } from './vcpu-info.ts';

/** Attributes (SEG in machine/state.ts) of the flat 64-bit code and the flat data segment in ring 3. */
const CODE64 = 0xa0fb;
const DATA = 0xc0f3;

const R11 = 11;
const CLEARED = ~(EFLAGS.AC | EFLAGS.VM | EFLAGS.RF | EFLAGS.NT | EFLAGS.TF);

/**
 * Makes the guest enter its kernel at `eip` as if interrupted where it is now. `flags`: TBF; `cs` counts for 32-bit guests only.
 * The registers in vcpu.regs are the interrupted ones before and the handler's after. Crashes the domain where it cannot.
 */
export function bounce(hv: Hypervisor, vcpu: Vcpu, flags: number, cs: number, eip: Lin, errorCode: number): void {
  if (vcpu.domain.is32bit) bounceCompat(hv, vcpu, flags, cs, eip, errorCode);
  else bounce64(hv, vcpu, flags, eip, errorCode);
}

function bounce64(hv: Hypervisor, vcpu: Vcpu, flags: number, eip: Lin, errorCode: number): void {
  const { regs, pv } = vcpu;
  let sp: number;
  let savedCs = regs.selector(CS);
  if (pv.kernelMode) {
    sp = regs.regLin(RSP);
    savedCs &= 0xfffc; // RPL 0 tells the guest that its kernel was interrupted
  } else {
    toggleGuestMode(vcpu);
    sp = pv.kernelSp;
  }
  sp -= ((sp % 16) + 16) % 16;
  // A stack inside the hypervisor's area would be refused by the copy below as well; Xen looks first.
  if (sp >= HYPERVISOR_VIRT_START && sp < HYPERVISOR_VIRT_END + 96) {
    crashBounce(hv, vcpu, sp);
    return;
  }

  const mask = upcallMask(vcpu);
  if (flags & TBF.interrupt) setUpcallMask(vcpu, mask | 1);
  const eflags = regs.rflags;
  let seen = eflags & ~(EFLAGS.IF | EFLAGS.IOPL);
  if (mask === 0) seen |= EFLAGS.IF;
  if (hasArchitecturalIopl(vcpu)) seen |= pv.iopl << 12;

  beginFrame();
  pushWord(regs.selector(SS), 0);
  pushWord(regs.regLo(RSP), regs.regHi(RSP));
  pushWord(seen, 0);
  pushWord(savedCs, mask);
  pushWord(regs.lo(STATE.rip), regs.hi(STATE.rip));
  if (flags & TBF.errorCode) pushWord(errorCode, 0);
  if (flags & TBF.failsafe) for (const s of [GS, FS, ES, DS]) pushWord(regs.selector(s), 0);
  pushWord(regs.regLo(R11), regs.regHi(R11));
  pushWord(regs.regLo(RCX), regs.regHi(RCX));
  const bottom = storeFrame(vcpu, sp, 8);
  if (Number.isNaN(bottom)) {
    crashBounce(hv, vcpu, sp);
    return;
  }
  if (eip === 0) {
    crashBounce(hv, vcpu, Number.NaN);
    return;
  }

  regs.rflags = eflags & CLEARED;
  // The way out is SYSRET, which shows the new RIP and RFLAGS in RCX and R11.
  regs.setRegLin(RCX, eip);
  regs.setRegHalves(R11, eflags & CLEARED, 0);
  regs.setRegLin(RSP, bottom);
  regs.setSegment(SS, FLAT_KERNEL_SS, DATA, 0xffff_ffff, 0);
  regs.setSegment(CS, FLAT_KERNEL_CS, CODE64, 0xffff_ffff, 0);
  regs.rip = eip;
  vcpu.cpu?.modeChanged();
}
