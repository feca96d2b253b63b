// arch-x86/xen-x86_64.h: selectors, address-space split and register frames of 64-bit PV guests.
import { array, bytes } from '../../layout/array.ts';
import { u8, u16, u32, u64, ulong, ulong_number, vaddr_t } from '../../layout/scalars.ts';
import { struct } from '../../layout/struct.ts';
import { trap_info } from './xen.ts';

export const FLAT_RING3_CS32 = 0xe023;
export const FLAT_RING3_CS64 = 0xe033;
export const FLAT_RING3_DS32 = 0xe02b;
export const FLAT_RING3_DS64 = 0;
export const FLAT_RING3_SS32 = 0xe02b;
export const FLAT_RING3_SS64 = 0xe02b;

export const FLAT_KERNEL_DS64 = FLAT_RING3_DS64;
export const FLAT_KERNEL_DS32 = FLAT_RING3_DS32;
export const FLAT_KERNEL_DS = FLAT_KERNEL_DS64;
export const FLAT_KERNEL_CS64 = FLAT_RING3_CS64;
export const FLAT_KERNEL_CS32 = FLAT_RING3_CS32;
export const FLAT_KERNEL_CS = FLAT_KERNEL_CS64;
export const FLAT_KERNEL_SS64 = FLAT_RING3_SS64;
export const FLAT_KERNEL_SS32 = FLAT_RING3_SS32;
export const FLAT_KERNEL_SS = FLAT_KERNEL_SS64;

export const FLAT_USER_DS64 = FLAT_RING3_DS64;
export const FLAT_USER_DS32 = FLAT_RING3_DS32;
export const FLAT_USER_DS = FLAT_USER_DS64;
export const FLAT_USER_CS64 = FLAT_RING3_CS64;
export const FLAT_USER_CS32 = FLAT_RING3_CS32;
export const FLAT_USER_CS = FLAT_USER_CS64;
export const FLAT_USER_SS64 = FLAT_RING3_SS64;
export const FLAT_USER_SS32 = FLAT_RING3_SS32;
export const FLAT_USER_SS = FLAT_USER_SS64;

export const __HYPERVISOR_VIRT_START = 0xffff800000000000n;
export const __HYPERVISOR_VIRT_END = 0xffff880000000000n;
export const __MACH2PHYS_VIRT_START = 0xffff800000000000n;
export const __MACH2PHYS_VIRT_END = 0xffff804000000000n;

export const HYPERVISOR_VIRT_START = 0xffff800000000000n;
export const HYPERVISOR_VIRT_END = 0xffff880000000000n;

export const MACH2PHYS_VIRT_START = 0xffff800000000000n;
export const MACH2PHYS_VIRT_END = 0xffff804000000000n;
export const MACH2PHYS_NR_ENTRIES = 0x800000000;

export const SEGBASE_FS = 0;
export const SEGBASE_GS_USER = 1;
export const SEGBASE_GS_KERNEL = 2;
export const SEGBASE_GS_USER_SEL = 3;

export const _VGCF_in_syscall = 8;
export const VGCF_in_syscall = 1 << _VGCF_in_syscall;
export const VGCF_IN_SYSCALL = VGCF_in_syscall;

/** The frame that HYPERVISOR_iret takes from the guest's stack (%rsp at the hypercall points at rax). */
export const iret_context = struct(
  'iret_context',
  { rax: u64, r11: u64, rcx: u64, flags: u64, rip: u64, cs: u64, rflags: u64, rsp: u64, ss: u64 },
  { abis: ['x86_64'] },
);

export const cpu_user_regs = struct(
  'cpu_user_regs',
  {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbp: u64,
    rbx: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rax: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    error_code: u32,
    entry_vector: u32,
    rip: u64,
    cs: u16,
    _pad0: array(1, u16),
    saved_upcall_mask: u8,
    _pad1: bytes(3),
    rflags: u64,
    rsp: u64,
    ss: u16,
    _pad2: array(3, u16),
    es: u16,
    _pad3: array(3, u16),
    ds: u16,
    _pad4: array(3, u16),
    fs: u16,
    _pad5: array(3, u16),
    gs: u16,
    _pad6: array(3, u16),
  },
  { abis: ['x86_64'] },
);

/** The whole state of a 64-bit vCPU. The user page table rides in ctrlreg[1]. */
export const vcpu_guest_context = struct(
  'vcpu_guest_context',
  {
    fpu_ctxt: bytes(512),
    flags: ulong_number,
    user_regs: cpu_user_regs,
    trap_ctxt: array(256, trap_info),
    ldt_base: vaddr_t,
    ldt_ents: ulong_number,
    gdt_frames: array(16, ulong_number),
    gdt_ents: ulong_number,
    kernel_ss: ulong_number,
    kernel_sp: vaddr_t,
    ctrlreg: array(8, ulong),
    debugreg: array(8, ulong),
    event_callback_eip: vaddr_t,
    failsafe_callback_eip: vaddr_t,
    syscall_callback_eip: vaddr_t,
    vm_assist: ulong,
    fs_base: u64,
    gs_base_kernel: u64,
    gs_base_user: u64,
  },
  { abis: ['x86_64'] },
);
