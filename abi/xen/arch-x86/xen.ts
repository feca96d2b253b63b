// arch-x86/xen.h: what both x86 ABIs share: traps, virtual CPU contexts, the architecture's part of the shared page, domain
// configuration. arch_vcpu_info and xen_callback_t, which the header keeps in its two per-ABI files, are one declaration here.
import { bytesPerAbi } from '../../layout/array.ts';
import { u8, u16, u32, u64, ulong, ulong_number, vaddr_t, xen_pfn_t } from '../../layout/scalars.ts';
import { only, struct } from '../../layout/struct.ts';

export const FIRST_RESERVED_GDT_PAGE = 14;
export const FIRST_RESERVED_GDT_BYTE = 0xe000;
export const FIRST_RESERVED_GDT_ENTRY = 0x1c00;

export const XEN_LEGACY_MAX_VCPUS = 32;

export const trap_info = struct('trap_info', {
  vector: u8,
  flags: u8,
  cs: u16,
  address: vaddr_t,
});

export const VGCF_I387_VALID = 1 << 0;
export const VGCF_IN_KERNEL = 1 << 2;
export const _VGCF_i387_valid = 0;
export const VGCF_i387_valid = 1 << _VGCF_i387_valid;
export const _VGCF_in_kernel = 2;
export const VGCF_in_kernel = 1 << _VGCF_in_kernel;
export const _VGCF_failsafe_disables_events = 3;
export const VGCF_failsafe_disables_events = 1 << _VGCF_failsafe_disables_events;
export const _VGCF_syscall_disables_events = 4;
export const VGCF_syscall_disables_events = 1 << _VGCF_syscall_disables_events;
export const _VGCF_online = 5;
export const VGCF_online = 1 << _VGCF_online;

/** Where the guest tells the tools how to find its p2m: the three-level tree, or the linear list when p2m_cr3 is not 0. */
export const arch_shared_info = struct('arch_shared_info', {
  max_pfn: ulong_number,
  pfn_to_mfn_frame_list_list: xen_pfn_t,
  nmi_reason: ulong_number,
  p2m_cr3: ulong,
  p2m_vaddr: vaddr_t,
  p2m_generation: ulong_number,
  wc_sec_hi: only('x86_32', u32),
});

export const xen_arch_domainconfig = struct('xen_arch_domainconfig', {
  emulation_flags: u32,
  misc_flags: u32,
});

export const _XEN_X86_EMU_LAPIC = 0;
export const XEN_X86_EMU_LAPIC = 1 << _XEN_X86_EMU_LAPIC;
export const _XEN_X86_EMU_HPET = 1;
export const XEN_X86_EMU_HPET = 1 << _XEN_X86_EMU_HPET;
export const _XEN_X86_EMU_PM = 2;
export const XEN_X86_EMU_PM = 1 << _XEN_X86_EMU_PM;
export const _XEN_X86_EMU_RTC = 3;
export const XEN_X86_EMU_RTC = 1 << _XEN_X86_EMU_RTC;
export const _XEN_X86_EMU_IOAPIC = 4;
export const XEN_X86_EMU_IOAPIC = 1 << _XEN_X86_EMU_IOAPIC;
export const _XEN_X86_EMU_PIC = 5;
export const XEN_X86_EMU_PIC = 1 << _XEN_X86_EMU_PIC;
export const _XEN_X86_EMU_VGA = 6;
export const XEN_X86_EMU_VGA = 1 << _XEN_X86_EMU_VGA;
export const _XEN_X86_EMU_IOMMU = 7;
export const XEN_X86_EMU_IOMMU = 1 << _XEN_X86_EMU_IOMMU;
export const _XEN_X86_EMU_PIT = 8;
export const XEN_X86_EMU_PIT = 1 << _XEN_X86_EMU_PIT;
export const _XEN_X86_EMU_USE_PIRQ = 9;
export const XEN_X86_EMU_USE_PIRQ = 1 << _XEN_X86_EMU_USE_PIRQ;
export const _XEN_X86_EMU_VPCI = 10;
export const XEN_X86_EMU_VPCI = 1 << _XEN_X86_EMU_VPCI;
export const XEN_X86_EMU_ALL = 0x7ff;
export const XEN_X86_MSR_RELAXED = 1 << 0;
export const XEN_X86_MISC_FLAGS_MAX = XEN_X86_MSR_RELAXED;

export const xen_cpuid_leaf = struct('xen_cpuid_leaf', {
  leaf: u32,
  subleaf: u32,
  a: u32,
  b: u32,
  c: u32,
  d: u32,
});

export const XEN_CPUID_NO_SUBLEAF = 0xffffffff;

export const xen_msr_entry = struct('xen_msr_entry', {
  idx: u32,
  flags: u32,
  val: u64,
});

export const XEN_HVM_DEBUGCONS_IOPORT = 0xe9;

/** Pads vcpu_info to 64 bytes in either ABI. */
export const arch_vcpu_info = struct('arch_vcpu_info', {
  cr2: vaddr_t,
  pad: bytesPerAbi({ x86_64: 8, x86_32: 20 }),
});

/** A code pointer: just an offset for 64-bit guests (an unsigned long in the header), selector and offset for 32-bit ones. */
export const xen_callback_t = struct(
  'xen_callback',
  {
    cs: only('x86_32', ulong_number),
    eip: vaddr_t,
  },
  { abis: ['x86_32'] },
);
