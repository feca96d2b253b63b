// Operations of domctl on one vCPU.

import {
  XEN_DOMCTL_getvcpuaffinity,
  XEN_DOMCTL_getvcpucontext,
  XEN_DOMCTL_getvcpuinfo,
  XEN_DOMCTL_SENDTRIGGER_NMI,
  XEN_DOMCTL_sendtrigger,
  XEN_DOMCTL_setvcpuaffinity,
  XEN_DOMCTL_setvcpucontext,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENODATA,
  XEN_ENOSYS,
  XEN_ESRCH,
  XEN_VCPUAFFINITY_HARD,
  xen_domctl_getvcpuinfo,
  xen_domctl_sendtrigger,
  xen_domctl_vcpuaffinity,
  xen_domctl_vcpucontext,
} from '@ringworld/abi';
import { pauseDomain, unpauseDomain } from '../core/domain-shutdown.ts';
import { cpuTime } from '../core/runstate.ts';
import { ALL_CPUS } from '../core/vcpu.ts';
import { control } from './control-op.ts';
import type { DomctlOp } from './domctl-domain.ts';
import { guestContextSize } from './guest-context.ts';

/** The context comes in the domain's own layout, whoever asks. A null handle resets the vCPU. */
const setContext: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_vcpucontext, at, ({ vcpu, ctxt }) => {
    const v = d.vcpus[vcpu];
    if (d === c.domain || v === undefined) return -XEN_EINVAL;
    // HVM vCPUs have their context by sethvmcontext.
    if (ctxt !== 0 && v.hvm !== null) return -XEN_EINVAL;
    if (ctxt === 0) {
      v.isInitialised = false;
      v.isDown = true;
      c.hv.scheduler.sleep(v);
      return 0;
    }
    const bytes = c.guest.copyFrom(ctxt, guestContextSize(d.abi));
    if (bytes === null) return -XEN_EFAULT;
    pauseDomain(c.hv, d);
    const rc = c.hv.pv.loadGuestContext(c.hv, v, bytes);
    if (rc === 0) v.isInitialised = true;
    unpauseDomain(c.hv, d);
    return rc;
  });

const getContext: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_vcpucontext, at, ({ vcpu, ctxt }) => {
    const v = d.vcpus[vcpu];
    if (d === c.domain || v === undefined) return -XEN_EINVAL;
    if (!v.isInitialised) return -XEN_ENODATA;
    if (v.hvm !== null) return -XEN_EINVAL;
    return c.guest.copyTo(ctxt, c.hv.pv.saveGuestContext(c.hv, v)) ? 0 : -XEN_EFAULT;
  });

const getInfo: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_getvcpuinfo, at, (info) => {
    const v = d.vcpus[info.vcpu];
    if (v === undefined) return info.vcpu >= d.maxVcpus ? -XEN_EINVAL : -XEN_ESRCH;
    return {
      ...info,
      online: v.isDown ? 0 : 1,
      blocked: v.isBlocked ? 1 : 0,
      running: v.cpu === null && !v.isHosted ? 0 : 1,
      cpu_time: cpuTime(v, c.hv.now()),
      cpu: v.cpu?.id ?? 0,
    };
  });

/** Hard affinity only; a bitmap of at most 32 CPUs counts. */
const affinity =
  (set: boolean): DomctlOp =>
  (c, d, at) =>
    control(c, xen_domctl_vcpuaffinity, at, (a) => {
      const v = d.vcpus[a.vcpu];
      if (v === undefined) return a.vcpu >= d.maxVcpus ? -XEN_EINVAL : -XEN_ESRCH;
      if (!(a.flags & XEN_VCPUAFFINITY_HARD)) return 0;
      const { bitmap, nr_bits } = a.cpumap_hard;
      const bytes = Math.min(4, Math.ceil(nr_bits / 8));
      const online = 2 ** Math.min(c.hv.pcpus.length, 32) - 1;
      if (!set) {
        const map = new Uint8Array(bytes).map((_, i) => ((v.affinity & online) >>> (8 * i)) & 0xff);
        return c.guest.copyTo(bitmap, map) ? 0 : -XEN_EFAULT;
      }
      const map = c.guest.copyFrom(bitmap, bytes);
      if (map === null) return -XEN_EFAULT;
      const wanted = map.reduce((bits, b, i) => bits | (b << (8 * i)), 0) & online;
      if (wanted === 0) return -XEN_EINVAL;
      v.affinity = wanted === (online | 0) ? ALL_CPUS : wanted;
      c.hv.scheduler.affinityChanged(v);
      return 0;
    });

/** An NMI is what a PV guest has; buttons and resets are an HVM guest's. */
const sendTrigger: DomctlOp = (c, d, at) =>
  control(c, xen_domctl_sendtrigger, at, ({ trigger, vcpu }) => {
    if (vcpu >= d.maxVcpus) return -XEN_EINVAL;
    const v = d.vcpus[vcpu];
    if (v === undefined) return -XEN_ESRCH;
    if (v.hvm !== null) return c.hv.hvm.sendTrigger(c.hv, v, trigger);
    if (trigger !== XEN_DOMCTL_SENDTRIGGER_NMI) return -XEN_ENOSYS;
    if (!v.pv.nmiPending) {
      v.pv.nmiPending = true;
      c.hv.kick(v);
    }
    return 0;
  });

export const VCPU_OPS: Record<number, DomctlOp | undefined> = {
  [XEN_DOMCTL_setvcpucontext]: setContext,
  [XEN_DOMCTL_getvcpucontext]: getContext,
  [XEN_DOMCTL_getvcpuinfo]: getInfo,
  [XEN_DOMCTL_sendtrigger]: sendTrigger,
  [XEN_DOMCTL_setvcpuaffinity]: affinity(true),
  [XEN_DOMCTL_getvcpuaffinity]: affinity(false),
};
