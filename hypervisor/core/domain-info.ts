// What the toolstack is told of a domain: xen_domctl_getdomaininfo (xen/common/domctl.c, getdomaininfo).

import {
  type InferWrite,
  XEN_DOMINF_blocked,
  XEN_DOMINF_dying,
  XEN_DOMINF_hap,
  XEN_DOMINF_hvm_guest,
  XEN_DOMINF_paused,
  XEN_DOMINF_running,
  XEN_DOMINF_shutdown,
  XEN_DOMINF_shutdownshift,
  XEN_INVALID_MAX_VCPU_ID,
  type xen_domctl_getdomaininfo,
} from '@ringworld/abi';
import type { Domain } from './domain.ts';
import type { Hypervisor } from './hypervisor.ts';
import { cpuTime } from './runstate.ts';

export function domainInfo(hv: Hypervisor, d: Domain): InferWrite<typeof xen_domctl_getdomaininfo> {
  const now = hv.now();
  const online = d.vcpus.filter((v) => !v.isDown);
  // A domain is blocked when all its vCPUs are; a paused or dying one is not "running".
  let flags = online.every((v) => v.isBlocked) ? XEN_DOMINF_blocked : 0;
  // A kernel outside the machine runs when it asks.
  if (d.vcpus.some((v) => v.cpu !== null || v.isHosted)) flags |= XEN_DOMINF_running;
  if (d.isDying) flags |= XEN_DOMINF_dying;
  if (d.isShutDown) flags |= XEN_DOMINF_shutdown;
  if (d.controllerPauseCount > 0) flags |= XEN_DOMINF_paused;
  if (d.isTranslated) flags |= XEN_DOMINF_hvm_guest;
  if (d.hvm?.isHap) flags |= XEN_DOMINF_hap;
  return {
    domain: d.id,
    pad1: 0,
    flags: (flags | ((d.shutdownCode ?? 0) << XEN_DOMINF_shutdownshift)) >>> 0,
    tot_pages: d.totPages,
    max_pages: d.maxPages,
    outstanding_pages: 0,
    shr_pages: 0,
    paged_pages: 0,
    shared_info_frame: d.sharedInfoMfn,
    cpu_time: d.vcpus.reduce((sum, v) => sum + cpuTime(v, now), 0),
    nr_online_vcpus: online.length,
    max_vcpu_id: d.vcpus.length === 0 ? XEN_INVALID_MAX_VCPU_ID : d.vcpus.length - 1,
    ssidref: 0,
    handle: d.handle,
    cpupool: 0,
    gpaddr_bits: 32,
    pad2: new Uint8Array(7),
    arch_config: { emulation_flags: d.hvm?.emulationFlags ?? 0, misc_flags: 0 },
  };
}
