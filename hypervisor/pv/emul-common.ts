// What the emulators share: reading the guest's code, and going on after an instruction that was carried out for it.

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Lin } from '../machine/addresses.ts';
import { CS, EFLAGS, SEG, STATE } from '../machine/state.ts';
import { injectException } from './inject.ts';

const DB = 1;
/** DR6.BS. */
const STEP = 0x4000n;
const MAX_LENGTH = 15;

/** pv_emul_instruction_done(): RIP to `rip`, RF cleared, a single step reported. */
export function instructionDone(hv: Hypervisor, vcpu: Vcpu, rip: Lin): void {
  const { regs, pv } = vcpu;
  regs.rip = rip;
  const eflags = regs.u32(STATE.eflags);
  regs.setU32(STATE.eflags, eflags & ~EFLAGS.RF);
  if (eflags & EFLAGS.TF) {
    pv.debugreg[6] = pv.debugreg[6]! | STEP | 0xffff_0ff0n;
    injectException(hv, vcpu, DB);
  }
}

export const codeBits = (vcpu: Vcpu): 16 | 32 | 64 => {
  const a = vcpu.regs.segAttributes(CS);
  return a & SEG.l ? 64 : a & SEG.db ? 32 : 16;
};

/** Linear address of an offset in CS; wraps at 4 GiB outside 64-bit code. */
export function codeAddress(vcpu: Vcpu, offset: number): Lin {
  const { regs } = vcpu;
  if (regs.segAttributes(CS) & SEG.l) return offset as Lin;
  return ((regs.segBase(CS) + offset) % 0x1_0000_0000) as Lin;
}

/** Up to 15 bytes at RIP: fewer where the next page cannot be read. `faultAt` is then the first unreadable address. */
export interface CodeBytes {
  readonly bytes: Uint8Array;
  readonly faultAt: Lin | null;
}
export function fetchCode(vcpu: Vcpu): CodeBytes {
  const at = codeAddress(vcpu, vcpu.regs.rip);
  const inPage = 4096 - (((at % 4096) + 4096) % 4096);
  const whole = vcpu.guest.copyFrom(at, MAX_LENGTH);
  if (whole !== null) return { bytes: whole, faultAt: null };
  const length = Math.min(MAX_LENGTH, inPage);
  const part = length < MAX_LENGTH ? vcpu.guest.copyFrom(at, length) : null;
  if (part === null) return { bytes: new Uint8Array(0), faultAt: at };
  return { bytes: part, faultAt: (at + length) as Lin };
}
