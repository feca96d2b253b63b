// The forced emulation prefix: UD2 followed by "xen" makes the CPUID after it the hypervisor's to answer
// (xen/arch/x86/pv/emul-inv-op.c; XEN_CPUID in the public headers).

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Lin } from '../machine/addresses.ts';
import { guestCpuid } from './cpuid.ts';
import { instructionDone } from './emul-common.ts';
import { isGuestKernel } from './guest-mode.ts';
import { injectGp, injectPageFault } from './inject.ts';

const SIGNATURE = [0x0f, 0x0b, 0x78, 0x65, 0x6e];
const CPUID = [0x0f, 0xa2];

/** True when the #UD is dealt with; RIP is at the UD2. */
export function emulateInvalidOp(hv: Hypervisor, vcpu: Vcpu): boolean {
  const { regs } = vcpu;
  const rip = regs.rip;
  const signature = fetch(vcpu, rip, SIGNATURE.length);
  if (typeof signature === 'number') {
    injectPageFault(hv, vcpu, 0, signature as Lin);
    return true;
  }
  if (!SIGNATURE.every((b, i) => signature[i] === b)) return false;
  const at = (rip + SIGNATURE.length) as Lin;
  const instruction = fetch(vcpu, at, CPUID.length);
  if (typeof instruction === 'number') {
    injectPageFault(hv, vcpu, 0, instruction as Lin);
    return true;
  }
  if (!CPUID.every((b, i) => instruction[i] === b)) return false;
  if (vcpu.pv.cpuidFaulting && !isGuestKernel(vcpu)) {
    regs.rip = at;
    injectGp(hv, vcpu, 0);
    return true;
  }
  vcpu.domain.count('forced emulation: cpuid');
  guestCpuid(hv, vcpu, 'forced');
  instructionDone(hv, vcpu, (at + CPUID.length) as Lin);
  return true;
}

/** The bytes, or the address of the first that cannot be read. */
function fetch(vcpu: Vcpu, at: Lin, length: number): Uint8Array | number {
  const bytes = vcpu.guest.copyFrom(at, length);
  if (bytes !== null) return bytes;
  for (let i = 0; i < length; i++) if (vcpu.guest.translate(at + i, false) === -1) return at + i;
  return at;
}
