// What a domain's platform is made of: the XEN_X86_EMU_* bits of public/arch-x86/xen.h, and what it asks of the rest of hvm/.

import {
  XEN_X86_EMU_ALL,
  XEN_X86_EMU_HPET,
  XEN_X86_EMU_IOAPIC,
  XEN_X86_EMU_LAPIC,
  XEN_X86_EMU_PIC,
  XEN_X86_EMU_PIT,
  XEN_X86_EMU_PM,
  XEN_X86_EMU_RTC,
  XEN_X86_EMU_USE_PIRQ,
  XEN_X86_EMU_VPCI,
} from '@ringworld/abi';
import type { Vcpu } from '../../core/vcpu.ts';

/** What libxl asks for (libxl__arch_domain_prepare_config), and what Xen accepts (emulation_flags_ok, arch/x86/domain.c). */
export const PVH_EMULATION = XEN_X86_EMU_LAPIC;
export const HVM_EMULATION = XEN_X86_EMU_ALL & ~(XEN_X86_EMU_VPCI | XEN_X86_EMU_USE_PIRQ);

/** The parts that lie here; VGA, PCI and the IOMMU do not. */
export const EMULATED = {
  lapic: XEN_X86_EMU_LAPIC,
  ioapic: XEN_X86_EMU_IOAPIC,
  pic: XEN_X86_EMU_PIC,
  pit: XEN_X86_EMU_PIT,
  rtc: XEN_X86_EMU_RTC,
  hpet: XEN_X86_EMU_HPET,
  pm: XEN_X86_EMU_PM,
} as const;

/** APIC ID of a vCPU, as CPUID and the MADT must say it too: Xen leaves every other one out (SET_xAPIC_ID in vlapic_init). */
export const vcpuApicId = (vcpuId: number): number => 2 * vcpuId;

/** Called while a guest or a timer is being served; they may change the vCPU's state but not run it. */
export interface PlatformHooks {
  /** INIT: the vCPU waits for a start-up IPI (vCPU 0 too: Xen has no bootstrap exception). Its vlapic has been reset (SDM Vol 3A, 10.4.7.3). */
  onInit(vcpu: Vcpu): void;
  /** Start-up IPI: real mode at vector << 12, if the vCPU waits for one; else to be ignored. */
  onStartup(vcpu: Vcpu, vector: number): void;
  /**
   * SLP_EN was written to PM1a_CNT with this SLP_TYP (0 is S5 in Xen's DSDT). With this hook the platform answers PM1a_CNT; without it the
   * register is the device model's, as in Xen.
   */
  onSleep?(type: number): void;
}

export interface PlatformOptions {
  /** XEN_X86_EMU_* bits: PVH_EMULATION, HVM_EMULATION or what XEN_DOMCTL_createdomain said. A local APIC is always there. */
  readonly emulation: number;
  readonly hooks: PlatformHooks;
  /** What the guest's CPUID offers of the vlapic; both unless said otherwise, as Xen emulates both on any hardware. */
  readonly hasX2apic?: boolean;
  readonly hasTscDeadline?: boolean;
  /** Width of guest-physical addresses, bits. 48 unless given. */
  readonly physicalBits?: number;
  /** What the guest's TSC reads at virtual cycle 0. 0 unless given. */
  readonly tscOffset?: (vcpu: Vcpu) => number;
  /**
   * Bytes of the battery-backed RAM by register (machine/devices/rtc-cmos.ts). With them the platform answers all of CMOS; without, Xen's
   * registers 0 to 13 only, and the rest is the device model's.
   */
  readonly cmos?: ReadonlyMap<number, number>;
}
