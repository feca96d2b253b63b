// createdomain, and getdomaininfo, whose domain id is an answer too.

import {
  DOMID_FIRST_RESERVED,
  type Domid,
  domid_t,
  XEN_DOMCTL_CDF_hvm,
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOMEM,
  XEN_EPERM,
  XEN_ESRCH,
  xen_domctl_createdomain,
  xen_domctl_getdomaininfo,
} from '@ringworld/abi';
import { createDomain, freeDomid } from '../core/domain-create.ts';
import { domainInfo } from '../core/domain-info.ts';
import { MAPTRACK_PER_FRAME } from '../core/grant-limits.ts';
import type { HypercallContext } from './context.ts';

/** MAX_VIRT_CPUS of a PV domain. */
const MAX_VIRT_CPUS = 8192;

/** A domain id of 0 or out of range asks for a free one, which is written to `domainAt`. */
export function createDomainOp(c: HypercallContext, domainAt: number, wanted: number, at: number): number {
  const arg = c.guest.readStruct(xen_domctl_createdomain, at);
  if (arg === null) return -XEN_EFAULT;
  if (wanted > 0 && wanted < DOMID_FIRST_RESERVED && c.hv.domain(wanted) !== undefined) return -XEN_EEXIST;
  const id = wanted > 0 && wanted < DOMID_FIRST_RESERVED ? (wanted as Domid) : freeDomid(c.hv);
  if (id === -1) return -XEN_ENOMEM;
  // Only PV domains so far.
  if (arg.flags & XEN_DOMCTL_CDF_hvm) return -XEN_EINVAL;
  if (arg.max_vcpus === 0 || arg.max_vcpus > MAX_VIRT_CPUS) return -XEN_EINVAL;
  const d = createDomain(c.hv, { id, handle: arg.handle, maxVcpus: arg.max_vcpus });
  if (d === null) return -XEN_ENOMEM;
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
