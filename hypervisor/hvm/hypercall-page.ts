// The hypercall page of an HVM guest: 128 stubs of 32 bytes, the same in 32-bit and 64-bit mode (vmx_init_hypercall_page() and svm's).

import { __HYPERVISOR_iret } from '@ringworld/abi';
import { getWritableFrame, putWritableFrame } from '../core/guest-frame.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { INVALID_MFN, mfnToMaddr } from '../core/ids.ts';
import { latchSharedInfoSize } from '../core/pvclock.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { guestMode } from './guest-mode.ts';

const STUB = 32;
const INT3 = 0xcc;

/**
 * Fills a page's bytes with `mov $number, %eax; vmcall|vmmcall; ret`, `opcode` being that of VMCALL (0F 01 C1) or VMMCALL (0F 01 D9).
 * There is no iret: #UD.
 */
export function fillHypercallPage(page: Uint8Array, opcode: readonly [number, number, number]): void {
  page.fill(INT3);
  for (let nr = 0; nr < page.length / STUB; nr++) {
    const at = nr * STUB;
    if (nr === __HYPERVISOR_iret) page.set([0x0f, 0x0b], at);
    else page.set([0xb8, nr, 0, 0, 0, ...opcode, 0xc3], at);
  }
}

/**
 * guest_wrmsr_xen() on MSR 0x40000000: `value` has the frame in bits 63:12 and the number of the page, of which there is one, below.
 * False: #GP(0). The mode in which the guest does it becomes that of shared_info.
 */
export function placeHypercallPage(hv: Hypervisor, vcpu: Vcpu, value: bigint): boolean {
  if ((value & 0xfffn) !== 0n) return false;
  const mfn = getWritableFrame(hv, vcpu.domain, Number(value >> 12n));
  if (mfn === INVALID_MFN) return false;
  const page = new Uint8Array(4096);
  latchSharedInfoSize(hv, vcpu.domain, guestMode(hv, vcpu) !== 8);
  hv.hvm.writeHypercallPage(hv, vcpu, page);
  hv.ram.writeBytes(mfnToMaddr(mfn), page);
  putWritableFrame(hv, mfn);
  return true;
}
