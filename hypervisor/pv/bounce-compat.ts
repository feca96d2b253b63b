// Bouncing into a 32-bit guest kernel, ring 1 (compat_create_bounce_frame, xen/arch/x86/x86_64/compat/entry.S). The frame is the one that
// hardware would push, lowest address first:
//
//   [DS, ES, FS, GS for the failsafe callback,] [error code,] EIP, CS | saved_upcall_mask << 16, EFLAGS, [ESP, SS when not from ring 1]

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Lin } from '../machine/addresses.ts';
import { CS, DS, EFLAGS, ES, FS, GS, RSP, SEG, SS, STATE } from '../machine/state.ts';
import { crashBounce, crashDomain } from './crash.ts';
import { beginFrame, pushWord, storeFrame } from './frame-words.ts';
import { attributesOf, baseOf, errorCodeOf, limitOf, loadCodeAndStack, readDescriptor, vectorOf } from './segment-load.ts';
import { hasArchitecturalIopl, TBF } from './trap-bounce.ts';
import { setUpcallMask, upcallMask } from './vcpu-info.ts';

const CLEARED = ~(EFLAGS.VM | EFLAGS.RF | EFLAGS.NT | EFLAGS.TF);

/** Arguments as bounce() has them. */
export function bounceCompat(hv: Hypervisor, vcpu: Vcpu, flags: number, cs: number, eip: Lin, errorCode: number): void {
  const { regs, pv } = vcpu;
  const fromUser = (regs.selector(CS) & 2) !== 0;
  const ss = fromUser ? pv.kernelSs : regs.selector(SS);
  const sp = fromUser ? pv.kernelSp : regs.regLo(RSP) >>> 0;
  const stack = stackSegment(hv, vcpu, ss);
  if (stack === null) {
    crashDomain(hv, vcpu, `the kernel stack segment ${ss.toString(16)} cannot be loaded`);
    return;
  }

  const mask = upcallMask(vcpu);
  if (flags & TBF.interrupt) setUpcallMask(vcpu, mask | 1);
  const eflags = regs.rflags;
  let seen = eflags & ~(EFLAGS.IF | EFLAGS.IOPL);
  if (mask === 0) seen |= EFLAGS.IF;
  if (hasArchitecturalIopl(vcpu)) seen |= pv.iopl << 12;

  beginFrame();
  let words = 3;
  if (fromUser) {
    pushWord(regs.selector(SS), 0);
    pushWord(regs.regLo(RSP), 0);
    words += 2;
  }
  pushWord(seen, 0);
  pushWord(regs.selector(CS) | (mask << 16), 0);
  pushWord(regs.lo(STATE.rip), 0);
  if (flags & TBF.errorCode) {
    pushWord(errorCode, 0);
    words++;
  }
  if (flags & TBF.failsafe) {
    for (const s of [GS, FS, ES, DS]) pushWord(regs.selector(s), 0);
    words += 4;
  }
  const top = (stack.base + sp) % 0x1_0000_0000;
  if (!isInside(stack, sp, words * 4) || Number.isNaN(storeFrame(vcpu, top, 4))) {
    crashBounce(hv, vcpu, top);
    return;
  }
  if ((cs & 0xfffc) === 0) {
    crashBounce(hv, vcpu, Number.NaN);
    return;
  }

  regs.rflags = eflags & CLEARED;
  regs.setRegHalves(RSP, (sp - words * 4) | 0, 0);
  regs.rip = (eip >>> 0) as Lin;
  // The selectors go through IRET on the way out (.Lft0 of compat_restore_all_guest); one that is refused there is an exception of the
  // guest's. If the handler of that one has a bad selector too, Xen fills the stack with frames until the domain ends: here it ends now.
  const fault = loadCodeAndStack(hv, vcpu, cs, ss);
  if (fault === 0) return;
  if (flags & TBF.returnFault) {
    crashDomain(hv, vcpu, `the code segment ${cs.toString(16)} of the handler of a faulting return cannot be loaded`);
    return;
  }
  regs.setU16(STATE.seg + CS * 16, cs);
  regs.setU16(STATE.seg + SS * 16, ss);
  // SAFE: 256 entries.
  const t = pv.trapTable[vectorOf(fault)]!;
  const again = TBF.exception | TBF.errorCode | TBF.returnFault | (t.ifFlag ? TBF.interrupt : 0);
  bounceCompat(hv, vcpu, again, t.selector, t.address, errorCodeOf(fault));
}

interface Stack {
  base: number;
  limit: number;
  expandDown: boolean;
}

/** The hypervisor loads the kernel's SS into FS to write through it, so any readable, writable data segment does. */
function stackSegment(hv: Hypervisor, vcpu: Vcpu, selector: number): Stack | null {
  const d = (selector & 0xfffc) === 0 ? null : readDescriptor(hv, vcpu, selector);
  if (d === null) return null;
  const a = attributesOf(d.hi);
  if ((a & (SEG.s | SEG.code | SEG.writable | SEG.present)) !== (SEG.s | SEG.writable | SEG.present)) return null;
  return { base: baseOf(d), limit: limitOf(d), expandDown: (a & SEG.expandDown) !== 0 };
}

function isInside(s: Stack, top: number, bytes: number): boolean {
  const bottom = top - bytes;
  if (s.expandDown) return bottom > s.limit;
  return bottom >= 0 && top - 1 <= s.limit;
}
