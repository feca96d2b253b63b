// What guests read the time from: vcpu_time_info (the pvclock) and the wall clock in shared_info (xen/arch/x86/time.c).
//
// Both are under a version that is odd while the hypervisor writes. The TSC of all CPUs counts the same virtual cycles, but CPUs are run
// in turns, so a guest may see one a few microseconds behind another: XEN_PVCLOCK_TSC_STABLE_BIT is not given, as on a Xen whose clock
// source is not the TSC.

import { vcpu_time_info } from '@ringworld/abi';
import type { Domain } from './domain.ts';
import { asGuestKernel } from './guest-area.ts';
import type { Hypervisor } from './hypervisor.ts';
import { INVALID_MFN, type Maddr } from './ids.ts';
import { SHARED_INFO, sharedInfoAt } from './shared-info.ts';
import type { Vcpu } from './vcpu.ts';

/** All codecs of vcpu_time_info agree between the layouts except for alignment, which is the same at offset 32 of vcpu_info. */
const AT = {
  version: vcpu_time_info.offset('version', 'x86_64'),
  tscTimestamp: vcpu_time_info.offset('tsc_timestamp', 'x86_64'),
  systemTime: vcpu_time_info.offset('system_time', 'x86_64'),
  mul: vcpu_time_info.offset('tsc_to_system_mul', 'x86_64'),
  shift: vcpu_time_info.offset('tsc_shift', 'x86_64'),
  flags: vcpu_time_info.offset('flags', 'x86_64'),
  size: vcpu_time_info.size('x86_64'),
} as const;
const TWO32 = 0x1_0000_0000;

/** Brings the vCPU's time up to the stamp of the last second: to be called when it is switched to, and `force`d when vcpu_info moves. */
export function updateVcpuTime(hv: Hypervisor, vcpu: Vcpu, force = false): void {
  if (vcpu.domain.sharedInfoMfn === INVALID_MFN || vcpu.vcpuInfo === 0) return;
  const { ram } = hv;
  const at = vcpu.vcpuInfo + SHARED_INFO[vcpu.domain.abi].time;
  const stamp = hv.timeStamp();
  const word = (offset: number): Maddr => (at + offset) as Maddr;
  const same = ram.read32(word(AT.tscTimestamp)) === stamp.tsc % TWO32 && ram.read32(word(AT.mul)) === hv.clock.mul;
  if (same && !force && vcpu.timeInfoGuest === 0) return;

  const version = ((ram.read32(word(AT.version)) + 1) | 1) >>> 0;
  ram.write32(word(AT.version), version);
  ram.write32(word(AT.tscTimestamp), stamp.tsc % TWO32);
  ram.write32(word(AT.tscTimestamp + 4), Math.floor(stamp.tsc / TWO32));
  ram.write32(word(AT.systemTime), stamp.ns % TWO32);
  ram.write32(word(AT.systemTime + 4), Math.floor(stamp.ns / TWO32));
  ram.write32(word(AT.mul), hv.clock.mul);
  ram.write8(word(AT.shift), hv.clock.shift & 0xff);
  ram.write8(word(AT.flags), 0);
  ram.write32(word(AT.version), version + 1);
  updateTimeArea(hv, vcpu, word(0));
}

/** VCPUOP_register_vcpu_time_memory_area: the secondary copy, under its own version so that user space can read it. */
function updateTimeArea(hv: Hypervisor, vcpu: Vcpu, from: Maddr): void {
  const area = vcpu.timeInfoGuest;
  if (area === 0) return;
  asGuestKernel(vcpu, () => {
    const { guest } = vcpu;
    const old = guest.read32(area + AT.version);
    if (old === -1) return;
    const version = ((old + 1) | 1) >>> 0;
    if (!guest.write32(area + AT.version, version)) return;
    guest.copyTo(area + 4, hv.ram.readBytes((from + 4) as Maddr, AT.size - 4));
    guest.write32(area + AT.version, version + 1);
  });
}

/**
 * hvm_latch_shinfo_size(): an HVM guest that sets up its hypercall page or callback does so in the mode that its drivers run in; shared_info
 * has that layout from here on. Only the wall clock is written anew.
 */
export function latchSharedInfoSize(hv: Hypervisor, domain: Domain, is32bit: boolean): void {
  domain.is32bit = is32bit;
  updateWallclock(hv, domain);
}

/** update_domain_wallclock_time: wc_* hold the wall-clock time at system time 0, shifted by the domain's own offset. */
export function updateWallclock(hv: Hypervisor, domain: Domain): void {
  if (domain.sharedInfoMfn === INVALID_MFN) return;
  const { ram } = hv;
  const layout = SHARED_INFO[domain.abi];
  const at = (offset: number): Maddr => sharedInfoAt(domain, offset);
  const version = ((ram.read32(at(layout.wcVersion)) + 1) | 1) >>> 0;
  const seconds = hv.wallclock.sec + domain.timeOffsetSeconds;
  ram.write32(at(layout.wcVersion), version);
  ram.write32(at(layout.wcSec), seconds % TWO32);
  ram.write32(at(layout.wcNsec), hv.wallclock.nsec);
  ram.write32(at(layout.wcSecHi), Math.floor(seconds / TWO32));
  ram.write32(at(layout.wcVersion), version + 1);
}
