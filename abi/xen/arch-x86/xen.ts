// arch-x86/xen.h: what both x86 ABIs share: traps, virtual CPU contexts, the shared page, the domain configuration.

export const FIRST_RESERVED_GDT_PAGE = 14;
export const FIRST_RESERVED_GDT_BYTE = 0xe000;
export const FIRST_RESERVED_GDT_ENTRY = 0x1c00;

export const XEN_LEGACY_MAX_VCPUS = 32;

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

export const XEN_CPUID_NO_SUBLEAF = 0xffffffff;

export const XEN_HVM_DEBUGCONS_IOPORT = 0xe9;
