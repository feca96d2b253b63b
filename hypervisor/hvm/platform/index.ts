// The virtual platform of an HVM or PVH domain: the devices that Xen keeps in the hypervisor (xen/arch/x86/hvm: vlapic, vioapic, vpic, i8254,
// rtc, hpet, pmtimer, irq). The models are the machine's own; here they are put on a domain's time and interrupt lines.

export { HVM_EMULATION, type PlatformHooks, type PlatformOptions, PVH_EMULATION, vcpuApicId } from './options.ts';
export { createPlatform, Platform } from './platform.ts';
