// The hypercall page: 128 slots of 32 bytes, slot n making hypercall n (hypercall_page_initialise, xen/arch/x86/pv/hypercall.c).

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';

const IRET = 23;

export function writeHypercallPage(_hv: Hypervisor, vcpu: Vcpu, page: Uint8Array): void {
  const is32bit = vcpu.domain.is32bit;
  page.fill(0xcc);
  for (let n = 0; n < 128; n++) {
    const code = n === IRET ? (is32bit ? iret32 : iret64) : is32bit ? call32(n) : call64(n);
    page.set(code, n * 32);
  }
}

/** push %rcx; push %r11; mov $n,%eax; syscall; pop %r11; pop %rcx; ret */
const call64 = (n: number): number[] => [0x51, 0x41, 0x53, 0xb8, n, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3];
/** Jumped to, not called: push %rcx; push %r11; push %rax; mov $__HYPERVISOR_iret,%eax; syscall */
const iret64 = [0x51, 0x41, 0x53, 0x50, 0xb8, IRET, 0, 0, 0, 0x0f, 0x05];
/** mov $n,%eax; int $0x82; ret */
const call32 = (n: number): number[] => [0xb8, n, 0, 0, 0, 0xcd, 0x82, 0xc3];
/** push %eax; mov $__HYPERVISOR_iret,%eax; int $0x82 */
const iret32 = [0x50, 0xb8, IRET, 0, 0, 0, 0xcd, 0x82];
