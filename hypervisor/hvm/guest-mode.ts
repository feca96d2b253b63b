// In which mode an HVM vCPU runs (hvm_guest_x86_mode(), xen/arch/x86/hvm/hvm.c).

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { CS, EFLAGS, SEG, STATE } from '../machine/state.ts';
import { CR0, EFER } from '../machine/system/bits.ts';

/** Bytes of the code segment's default size, 1 for virtual-8086 mode, 0 for real mode. */
export type GuestMode = 0 | 1 | 2 | 4 | 8;

/** Of a vCPU that is out of the guest: its register block is complete. */
export function guestMode(hv: Hypervisor, vcpu: Vcpu): GuestMode {
  const { cr0, efer, rflags } = hv.hvm.paging(vcpu);
  if (!(cr0 & CR0.PE)) return 0;
  if (rflags & EFLAGS.VM) return 1;
  const attributes = vcpu.regs.u16(STATE.seg + CS * 16 + 2);
  if (efer & EFER.LMA && attributes & SEG.l) return 8;
  return attributes & SEG.db ? 4 : 2;
}
