// createdomain, and getdomaininfo, whose domain id is an answer too.

import {
  DOMID_FIRST_RESERVED,
  type Domid,
  domid_t,
  HVM_MAX_VCPUS,
  type Infer,
  XEN_DOMCTL_CDF_hap,
  XEN_DOMCTL_CDF_hvm,
  XEN_DOMCTL_CDF_oos_off,
  XEN_DOMCTL_CDF_s3_integrity,
  XEN_DOMCTL_CDF_xs_domain,
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOMEM,
  XEN_EPERM,
  XEN_ESRCH,
  XEN_X86_EMU_ALL,
  XEN_X86_EMU_LAPIC,
  XEN_X86_EMU_USE_PIRQ,
  XEN_X86_EMU_VPCI,
  xen_domctl_createdomain,
  xen_domctl_getdomaininfo,
} from '@ringworld/abi';
import { createDomain, freeDomid } from '../core/domain-create.ts';
import { destroyDomain } from '../core/domain-destroy.ts';
import { domainInfo } from '../core/domain-info.ts';
import { MAPTRACK_PER_FRAME } from '../core/grant-limits.ts';
import type { HypercallContext } from './context.ts';

/** MAX_VIRT_CPUS of a PV domain. */
const MAX_VIRT_CPUS = 8192;

const KNOWN_FLAGS =
  XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap | XEN_DOMCTL_CDF_s3_integrity | XEN_DOMCTL_CDF_oos_off | XEN_DOMCTL_CDF_xs_domain;

type Config = Infer<typeof xen_domctl_createdomain>;

/** sanitise_domain_config() and arch_sanitise_domain_config(), xen/common/domctl.c and xen/arch/x86/domain.c. 0 or -XEN_EINVAL. */
function checkConfig({ flags, max_vcpus, arch }: Config): number {
  const isHvm = (flags & XEN_DOMCTL_CDF_hvm) !== 0;
  // IOMMU contexts, nested virtualization and vPMU are not to be had here.
  if (flags & ~KNOWN_FLAGS) return -XEN_EINVAL;
  if (max_vcpus === 0 || max_vcpus > (isHvm ? HVM_MAX_VCPUS : MAX_VIRT_CPUS)) return -XEN_EINVAL;
  if (!isHvm) return flags & (XEN_DOMCTL_CDF_hap | XEN_DOMCTL_CDF_s3_integrity | XEN_DOMCTL_CDF_oos_off) ? -XEN_EINVAL : 0;
  return hasEmulation(arch.emulation_flags) ? 0 : -XEN_EINVAL;
}

/** emulation_flags_ok() for a domU: the local APIC alone (PVH), or a whole PC with or without PIRQs. */
function hasEmulation(flags: number): boolean {
  const pc = XEN_X86_EMU_ALL & ~XEN_X86_EMU_VPCI;
  return flags === XEN_X86_EMU_LAPIC || flags === pc || flags === (pc & ~XEN_X86_EMU_USE_PIRQ);
}

/** A domain id of 0 or out of range asks for a free one, which is written to `domainAt`. */
export function createDomainOp(c: HypercallContext, domainAt: number, wanted: number, at: number): number {
  const arg = c.guest.readStruct(xen_domctl_createdomain, at);
  if (arg === null) return -XEN_EFAULT;
  if (wanted > 0 && wanted < DOMID_FIRST_RESERVED && c.hv.domain(wanted) !== undefined) return -XEN_EEXIST;
  const id = wanted > 0 && wanted < DOMID_FIRST_RESERVED ? (wanted as Domid) : freeDomid(c.hv);
  if (id === -1) return -XEN_ENOMEM;
  const rc = checkConfig(arg);
  if (rc !== 0) return rc;
  const { flags } = arg;
  const hvm = { isHap: (flags & XEN_DOMCTL_CDF_hap) !== 0, emulationFlags: arg.arch.emulation_flags };
  const isHvm = (flags & XEN_DOMCTL_CDF_hvm) !== 0;
  const d = createDomain(c.hv, { id, handle: arg.handle, maxVcpus: arg.max_vcpus, ...(isHvm && { hvm }) });
  if (d === null) return -XEN_ENOMEM;
  if (isHvm) {
    const failed = c.hv.hvm.domainCreated(c.hv, d);
    if (failed !== 0) {
      destroyDomain(c.hv, d);
      return failed;
    }
  }
  // Negative counts ask for the defaults.
  if (arg.max_grant_frames >= 0) d.grants.maxFrames = arg.max_grant_frames;
  if (arg.max_maptrack_frames >= 0) d.grants.maxMaptrack = arg.max_maptrack_frames * MAPTRACK_PER_FRAME;
  d.evtchn.maxPort = Math.min(arg.max_evtchn_port, 0x7fff_ffff);
  return c.guest.writeStruct(domid_t, domainAt, id) ? 0 : -XEN_EFAULT;
}

/** The first domain with an id of at least `wanted`. */
export function getDomainInfoOp(c: HypercallContext, domainAt: number, wanted: number, at: number): number {
  if (!c.domain.isPrivileged) return -XEN_EPERM;
  const d = [...c.hv.domains.values()].filter((o) => o.id >= wanted).sort((a, b) => a.id - b.id)[0];
  if (d === undefined) return -XEN_ESRCH;
  const done = c.guest.writeStruct(xen_domctl_getdomaininfo, at, domainInfo(c.hv, d)) && c.guest.writeStruct(domid_t, domainAt, d.id);
  return done ? 0 : -XEN_EFAULT;
}
