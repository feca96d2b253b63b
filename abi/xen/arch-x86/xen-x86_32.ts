// arch-x86/xen-x86_32.h: selectors, address-space split and register frames of 32-bit PAE guests.
import { array, bytes } from '../../layout/array.ts';
import { u8, u16, u32, ulong, ulong_number, vaddr_t } from '../../layout/scalars.ts';
import { struct } from '../../layout/struct.ts';
import { trap_info } from './xen.ts';

export const FLAT_RING1_CS = 0xe019;
export const FLAT_RING1_DS = 0xe021;
export const FLAT_RING1_SS = 0xe021;
export const FLAT_RING3_CS = 0xe02b;
export const FLAT_RING3_DS = 0xe033;
export const FLAT_RING3_SS = 0xe033;

export const FLAT_KERNEL_CS = FLAT_RING1_CS;
export const FLAT_KERNEL_DS = FLAT_RING1_DS;
export const FLAT_KERNEL_SS = FLAT_RING1_SS;
export const FLAT_USER_CS = FLAT_RING3_CS;
export const FLAT_USER_DS = FLAT_RING3_DS;
export const FLAT_USER_SS = FLAT_RING3_SS;

export const __HYPERVISOR_VIRT_START_PAE = 0xf5800000;
export const __MACH2PHYS_VIRT_START_PAE = 0xf5800000;
export const __MACH2PHYS_VIRT_END_PAE = 0xf6800000;
export const HYPERVISOR_VIRT_START_PAE = 0xf5800000;
export const MACH2PHYS_VIRT_START_PAE = 0xf5800000;
export const MACH2PHYS_VIRT_END_PAE = 0xf6800000;

export const __HYPERVISOR_VIRT_START_NONPAE = 0xfc000000;
export const __MACH2PHYS_VIRT_START_NONPAE = 0xfc000000;
export const __MACH2PHYS_VIRT_END_NONPAE = 0xfc400000;
export const HYPERVISOR_VIRT_START_NONPAE = 0xfc000000;
export const MACH2PHYS_VIRT_START_NONPAE = 0xfc000000;
export const MACH2PHYS_VIRT_END_NONPAE = 0xfc400000;

export const __HYPERVISOR_VIRT_START = __HYPERVISOR_VIRT_START_PAE;
export const __MACH2PHYS_VIRT_START = __MACH2PHYS_VIRT_START_PAE;
export const __MACH2PHYS_VIRT_END = __MACH2PHYS_VIRT_END_PAE;

export const HYPERVISOR_VIRT_START = 0xf5800000;

export const MACH2PHYS_VIRT_START = 0xf5800000;
export const MACH2PHYS_VIRT_END = 0xf6800000;
export const MACH2PHYS_NR_ENTRIES = 0x400000;

export const cpu_user_regs = struct(
  'cpu_user_regs',
  {
    ebx: u32,
    ecx: u32,
    edx: u32,
    esi: u32,
    edi: u32,
    ebp: u32,
    eax: u32,
    error_code: u16,
    entry_vector: u16,
    eip: u32,
    cs: u16,
    saved_upcall_mask: u8,
    _pad0: u8,
    eflags: u32,
    esp: u32,
    ss: u16,
    _pad1: u16,
    es: u16,
    _pad2: u16,
    ds: u16,
    _pad3: u16,
    fs: u16,
    _pad4: u16,
    gs: u16,
    _pad5: u16,
  },
  { abis: ['x86_32'] },
);

/** The whole state of a 32-bit vCPU. */
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
    event_callback_cs: ulong_number,
    event_callback_eip: vaddr_t,
    failsafe_callback_cs: ulong_number,
    failsafe_callback_eip: vaddr_t,
    vm_assist: ulong,
  },
  { abis: ['x86_32'] },
);

/** A page-table base above 4 GiB in a 32-bit CR3: the frame number rotated left by 12. */
export const xen_pfn_to_cr3 = (pfn: number): number => ((pfn << 12) | (pfn >>> 20)) >>> 0;
export const xen_cr3_to_pfn = (cr3: number): number => ((cr3 >>> 12) | (cr3 << 20)) >>> 0;
