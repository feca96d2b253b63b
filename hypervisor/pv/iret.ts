// The frames that the iret hypercall takes from the guest's stack (xen/arch/x86/pv/iret.c). Whatever they say, the guest comes out in
// its own rings, with hardware interrupts on and the real IOPL at 0; a frame that cannot be read ends the domain.
//
// 64-bit (struct iret_context): RAX, R11, RCX, flags, RIP, CS, RFLAGS, RSP, SS.
// 32-bit: EAX, EIP, CS, EFLAGS, and ESP, SS when it leaves ring 1.

import { xen_x86_64 } from '@ringworld/abi';
import type { Hypervisor } from '../core/hypervisor.ts';
import { INVALID_MFN } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Lin } from '../machine/addresses.ts';
import { EFLAGS, RAX, RCX, RSP, SS, STATE } from '../machine/state.ts';
import { asyncExceptionCleanup, returnBySysret, returnWithSelectors } from './callbacks.ts';
import { crashDomain } from './crash.ts';
import { toggleGuestMode } from './guest-mode.ts';
import { hasArchitecturalIopl } from './trap-bounce.ts';
import { setUpcallMask } from './vcpu-info.ts';

const R11 = 11;
const GP = 13;
/** Words of struct iret_context. */
const FRAME = { rax: 0, r11: 1, rcx: 2, flags: 3, rip: 4, cs: 5, rflags: 6, rsp: 7, ss: 8 } as const;
const frame = new Int32Array(18);

/** The 64-bit frame into `frame`, low and high halves in turn. */
function readFrame(vcpu: Vcpu): boolean {
  const { guest, context } = vcpu;
  const sp = vcpu.regs.regLin(RSP);
  const at = (sp & 0xfff) <= 4096 - 72 ? guest.translate(sp, false) : -1;
  if (at !== -1) {
    for (let i = 0; i < 18; i++) frame[i] = context.ram.read32((at + i * 4) as never);
    return true;
  }
  for (let i = 0; i < 9; i++) {
    if (!guest.read64(sp + i * 8)) return false;
    frame[i * 2] = guest.lo;
    frame[i * 2 + 1] = guest.hi;
  }
  return true;
}
const lo = (word: number): number => frame[word * 2]!;
const hi = (word: number): number => frame[word * 2 + 1]!;

export function iret64(hv: Hypervisor, vcpu: Vcpu): void {
  const { regs, pv } = vcpu;
  if (!readFrame(vcpu)) {
    hv.console.xen(`${vcpu.name} Fault while reading IRET context from guest stack`);
    crashDomain(hv, vcpu, 'the IRET frame cannot be read');
    return;
  }
  const cs = lo(FRAME.cs) & 0xffff;
  const ss = lo(FRAME.ss) & 0xffff;
  const rflags = lo(FRAME.rflags);
  if ((cs & 3) === 3) {
    if (pv.guestTableUser === INVALID_MFN) {
      hv.console.xen(`${vcpu.name} Guest switching to user mode with no user page tables`);
      crashDomain(hv, vcpu, 'IRET to user mode without user page tables');
      return;
    }
    toggleGuestMode(vcpu);
  }
  if (hasArchitecturalIopl(vcpu)) pv.iopl = (rflags >>> 12) & 3;

  regs.setRegHalves(RAX, lo(FRAME.rax), hi(FRAME.rax));
  regs.setHalves(STATE.rip, lo(FRAME.rip), hi(FRAME.rip));
  regs.setRegHalves(RSP, lo(FRAME.rsp), hi(FRAME.rsp));
  regs.rflags = (rflags & ~(EFLAGS.IOPL | EFLAGS.VM)) | EFLAGS.IF;
  setUpcallMask(vcpu, rflags & EFLAGS.IF ? 0 : 1);
  asyncExceptionCleanup(vcpu);

  if (lo(FRAME.flags) & xen_x86_64.VGCF_in_syscall) {
    // RCX and R11 were not to be restored: SYSRET takes the short way out.
    returnBySysret(hv, vcpu, cs | 3);
    return;
  }
  regs.setRegHalves(R11, lo(FRAME.r11), hi(FRAME.r11));
  regs.setRegHalves(RCX, lo(FRAME.rcx), hi(FRAME.rcx));
  returnWithSelectors(hv, vcpu, cs | 3, ss | 3);
}

export function iret32(hv: Hypervisor, vcpu: Vcpu): void {
  const { regs, guest, pv } = vcpu;
  const sp = regs.regLo(RSP) >>> 0;
  const word = (i: number): number => guest.read32(sp + i * 4);
  const [eax, eip, csWord, eflags] = [word(0), word(1), word(2), word(3)];
  if (eax < 0 || eip < 0 || csWord < 0 || eflags < 0) {
    crashDomain(hv, vcpu, 'the IRET frame cannot be read');
    return;
  }
  const cs = csWord & 0xffff;
  if (hasArchitecturalIopl(vcpu)) pv.iopl = (eflags >>> 12) & 3;
  regs.setRegHalves(RAX, eax, 0);
  regs.setRegHalves(RSP, sp, 0);
  if (eflags & EFLAGS.VM) {
    refuseVm86(hv, vcpu, sp, eax, eflags);
    return;
  }
  let ss = regs.selector(SS);
  switch (cs & 3) {
    case 0:
      crashDomain(hv, vcpu, 'IRET to ring 0');
      return;
    case 1:
      regs.setRegHalves(RSP, (sp + 16) | 0, 0);
      break;
    default: {
      const [newSp, newSs] = [word(4), word(5)];
      if (newSp < 0 || newSs < 0) {
        crashDomain(hv, vcpu, 'the IRET frame cannot be read');
        return;
      }
      ss = newSs & 0xffff;
      regs.setRegHalves(RSP, newSp, 0);
    }
  }
  regs.rip = eip as Lin;
  regs.rflags = (eflags & ~EFLAGS.IOPL) | EFLAGS.IF;
  setUpcallMask(vcpu, eflags & EFLAGS.IF ? 0 : 1);
  asyncExceptionCleanup(vcpu);
  returnWithSelectors(hv, vcpu, cs, ss);
}

/**
 * There is no vm86 mode under a 64-bit hypervisor. The guest gets #GP as if its first vm86 instruction had faulted: the vm86 frame, moved
 * to where an exception from vm86 mode would have left it, with an error code of 0 below.
 */
function refuseVm86(hv: Hypervisor, vcpu: Vcpu, sp: number, eax: number, eflags: number): void {
  const { regs, guest, pv } = vcpu;
  const ksp = (pv.kernelSp - 40) % 0x1_0000_0000;
  hv.console.xen(`${vcpu.name} VM86 mode unavailable (ksp:${sp.toString(16).padStart(8, '0')}->${ksp.toString(16).padStart(8, '0')})`);
  const words = Array.from({ length: 9 }, (_, i) => guest.read32(sp + (i + 1) * 4));
  const isMoved = words.every((w, i) => w >= 0 && (ksp === sp || guest.write32(ksp + (i + 1) * 4, w)));
  if (!isMoved || !guest.write32(ksp, 0)) {
    crashDomain(hv, vcpu, 'a vm86 IRET frame cannot be moved');
    return;
  }
  // SAFE: 256 entries.
  const t = pv.trapTable[GP]!;
  const seen = t.ifFlag ? eflags & ~EFLAGS.IF : eflags;
  regs.setRegHalves(RAX, eax, 0);
  regs.setRegHalves(RSP, ksp | 0, 0);
  regs.rip = t.address;
  regs.rflags = (eflags & ~(EFLAGS.IOPL | EFLAGS.VM | EFLAGS.RF | EFLAGS.NT | EFLAGS.TF)) | EFLAGS.IF;
  setUpcallMask(vcpu, seen & EFLAGS.IF ? 0 : 1);
  asyncExceptionCleanup(vcpu);
  returnWithSelectors(hv, vcpu, t.selector, pv.kernelSs);
}
