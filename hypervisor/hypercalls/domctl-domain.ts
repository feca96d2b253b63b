// Operations of domctl on a domain as a whole.

import {
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_get_address_size,
  XEN_DOMCTL_get_cpu_policy,
  XEN_DOMCTL_gettscinfo,
  XEN_DOMCTL_hypercall_init,
  XEN_DOMCTL_iomem_permission,
  XEN_DOMCTL_ioport_permission,
  XEN_DOMCTL_irq_permission,
  XEN_DOMCTL_max_mem,
  XEN_DOMCTL_max_vcpus,
  XEN_DOMCTL_pausedomain,
  XEN_DOMCTL_resumedomain,
  XEN_DOMCTL_SCHEDOP_getinfo,
  XEN_DOMCTL_SCHEDOP_putinfo,
  XEN_DOMCTL_scheduler_op,
  XEN_DOMCTL_set_address_size,
  XEN_DOMCTL_set_cpu_policy,
  XEN_DOMCTL_setdebugging,
  XEN_DOMCTL_setdomainhandle,
  XEN_DOMCTL_settimeoffset,
  XEN_DOMCTL_settscinfo,
  XEN_DOMCTL_setvnumainfo,
  XEN_DOMCTL_shadow_op,
  XEN_DOMCTL_subscribe,
  XEN_DOMCTL_unpausedomain,
  XEN_EACCES,
  XEN_EBUSY,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_SCHEDULER_CREDIT,
  xen_domctl_address_size,
  xen_domctl_hypercall_init,
  xen_domctl_max_mem,
  xen_domctl_max_vcpus,
  xen_domctl_scheduler_op,
  xen_domctl_setdomainhandle,
  xen_domctl_settimeoffset,
  xen_domctl_subscribe,
  xen_domctl_tsc_info,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { createVcpu } from '../core/domain-create.ts';
import { destroyDomain } from '../core/domain-destroy.ts';
import { pauseDomain, resumeDomain, unpauseDomain } from '../core/domain-shutdown.ts';
import { getWritableFrame, putWritableFrame } from '../core/guest-frame.ts';
import { INVALID_MFN, mfnToMaddr } from '../core/ids.ts';
import { updateWallclock } from '../core/pvclock.ts';
import type { HypercallContext } from './context.ts';
import { control } from './control-op.ts';

export type DomctlOp = (c: HypercallContext, d: Domain, at: number) => number;

const TSC_MODE_DEFAULT = 0;
const MAX_PAGES = 0xffff_ffff;

/** Changes how many the controller holds; a domain starts with one. */
const pause: DomctlOp = (c, d) => {
  if (d === c.domain) return -XEN_EINVAL;
  d.controllerPauseCount++;
  pauseDomain(c.hv, d);
  return 0;
};
const unpause: DomctlOp = (c, d) => {
  if (d.controllerPauseCount === 0) return -XEN_EINVAL;
  d.controllerPauseCount--;
  unpauseDomain(c.hv, d);
  return 0;
};

const destroy: DomctlOp = (c, d) => {
  if (d === c.domain) return -XEN_EINVAL;
  destroyDomain(c.hv, d);
  return 0;
};

const maxVcpus: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_max_vcpus, at, ({ max }) => {
    if (d === c.domain || max !== d.maxVcpus) return -XEN_EINVAL;
    for (let id = d.vcpus.length; id < max; id++) {
      const rc = createVcpu(c.hv, d, id);
      if (rc !== 0) return rc;
    }
    return 0;
  });

const maxMem: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_max_mem, at, ({ max_memkb }) => {
    d.maxPages = Math.min(Math.floor(max_memkb / 4), MAX_PAGES);
    return 0;
  });

/** switch_compat(): only before the domain has memory. */
const setAddressSize: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_address_size, at, ({ size }) => {
    if (d.isTranslated || (size !== 32 && size !== 64)) return -XEN_EINVAL;
    if (d.is32bit === (size === 32)) return 0;
    if (d.totPages > 0) return -XEN_EACCES;
    d.is32bit = size === 32;
    updateWallclock(c.hv, d);
    return c.hv.pv.addressSizeChanged(c.hv, d);
  });

const hypercallInit: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_hypercall_init, at, ({ gmfn }) => {
    const vcpu = d.vcpus[0];
    const mfn = getWritableFrame(c.hv, d, gmfn);
    if (mfn === INVALID_MFN) return -XEN_EACCES;
    if (vcpu !== undefined) {
      const page = new Uint8Array(4096);
      c.hv.hooksOf(vcpu).writeHypercallPage(c.hv, vcpu, page);
      c.hv.ram.writeBytes(mfnToMaddr(mfn), page);
    }
    putWritableFrame(c.hv, mfn);
    return 0;
  });

/** csched_dom_cntl(): a weight of 0 and a cap of all ones leave things as they are. Caps are not there: only "none" (0) is taken. */
const schedulerOp: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_scheduler_op, at, (op) => {
    if (op.sched_id !== XEN_SCHEDULER_CREDIT) return -XEN_EINVAL;
    if (op.cmd === XEN_DOMCTL_SCHEDOP_getinfo) return { ...op, u: { credit: { weight: d.weight, cap: 0 } } };
    if (op.cmd !== XEN_DOMCTL_SCHEDOP_putinfo) return -XEN_EINVAL;
    const { weight, cap } = op.u.credit;
    if (cap !== 0 && cap !== 0xffff) return -XEN_EOPNOTSUPP;
    if (weight !== 0) d.weight = weight;
    return 0;
  });

const nothing: DomctlOp = () => 0;

export const DOMAIN_OPS: Record<number, DomctlOp | undefined> = {
  [XEN_DOMCTL_pausedomain]: pause,
  [XEN_DOMCTL_unpausedomain]: unpause,
  [XEN_DOMCTL_destroydomain]: destroy,
  [XEN_DOMCTL_resumedomain]: (c, d) => {
    if (d === c.domain) return -XEN_EINVAL;
    resumeDomain(c.hv, d);
    return 0;
  },
  [XEN_DOMCTL_max_vcpus]: maxVcpus,
  [XEN_DOMCTL_max_mem]: maxMem,
  [XEN_DOMCTL_set_address_size]: setAddressSize,
  [XEN_DOMCTL_get_address_size]: (c, d, at) => control(c, xen_domctl_address_size, at, () => ({ size: d.is32bit ? 32 : 64 })),
  [XEN_DOMCTL_hypercall_init]: hypercallInit,
  [XEN_DOMCTL_setdomainhandle]: (c, d, at) =>
    control(c, xen_domctl_setdomainhandle, at, ({ handle }) => {
      d.handle = handle;
      return 0;
    }),
  [XEN_DOMCTL_settimeoffset]: (c, d, at) =>
    control(c, xen_domctl_settimeoffset, at, ({ time_offset_seconds }) => {
      d.timeOffsetSeconds = Number(time_offset_seconds);
      updateWallclock(c.hv, d);
      return 0;
    }),
  [XEN_DOMCTL_scheduler_op]: schedulerOp,
  [XEN_DOMCTL_subscribe]: (c, d, at) =>
    control(c, xen_domctl_subscribe, at, ({ port }) => {
      d.suspendEvtchn = port;
      return 0;
    }),
  [XEN_DOMCTL_gettscinfo]: (c, d, at) =>
    control(c, xen_domctl_tsc_info, at, (info) =>
      d === c.domain
        ? -XEN_EINVAL
        : { ...info, tsc_mode: TSC_MODE_DEFAULT, gtsc_khz: c.hv.clock.tscHz / 1000, incarnation: 0, elapsed_nsec: 0 },
    ),
  // The TSC is native to all domains; permissions over hardware that does not exist cost nothing to give.
  [XEN_DOMCTL_settscinfo]: nothing,
  [XEN_DOMCTL_iomem_permission]: nothing,
  [XEN_DOMCTL_ioport_permission]: nothing,
  [XEN_DOMCTL_irq_permission]: nothing,
  [XEN_DOMCTL_setdebugging]: (c, d) => (d === c.domain ? -XEN_EINVAL : 0),
  [XEN_DOMCTL_set_cpu_policy]: (_c, d) => (d.vcpus.some((v) => v.isInitialised) ? -XEN_EBUSY : 0),
  [XEN_DOMCTL_get_cpu_policy]: () => -XEN_EOPNOTSUPP,
  [XEN_DOMCTL_setvnumainfo]: () => -XEN_EOPNOTSUPP,
  [XEN_DOMCTL_shadow_op]: (c, d) => (d === c.domain ? -XEN_EPERM : -XEN_ENOSYS),
};
