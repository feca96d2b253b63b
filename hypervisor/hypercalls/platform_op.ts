// platform_op: the machine, for the privileged domain. A domU is refused whatever it asks (xen/arch/x86/platform_hypercall.c).

import {
  XEN_EACCES,
  XEN_EFAULT,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_PCPU_FLAGS_INVALID,
  XEN_PCPU_FLAGS_ONLINE,
  XENPF_get_cpuinfo,
  XENPF_INTERFACE_VERSION,
  XENPF_settime64,
  xen_platform_op,
  xenpf_pcpuinfo,
  xenpf_settime64,
} from '@ringworld/abi';
import { SECONDS } from '../core/clock.ts';
import { updateWallclock } from '../core/pvclock.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';

function setTime(c: HypercallContext, at: number): number {
  const t = c.guest.readStruct(xenpf_settime64, at);
  if (t === null) return -XEN_EFAULT;
  // The time given was true at that system time; kept is the time at boot. Seconds and nanoseconds apart: together they exceed 2^53.
  const nsec = t.nsecs - (t.system_time % SECONDS);
  c.hv.wallclock.sec = Number(t.secs) - Math.floor(t.system_time / SECONDS) + Math.floor(nsec / SECONDS);
  c.hv.wallclock.nsec = ((nsec % SECONDS) + SECONDS) % SECONDS;
  for (const d of c.hv.domains.values()) updateWallclock(c.hv, d);
  return 0;
}

function getCpuinfo(c: HypercallContext, at: number): number {
  const info = c.guest.readStruct(xenpf_pcpuinfo, at);
  if (info === null) return -XEN_EFAULT;
  const last = c.hv.pcpus.length - 1;
  const known = info.xen_cpuid <= last;
  const answer = {
    ...info,
    max_present: last,
    flags: known ? XEN_PCPU_FLAGS_ONLINE : XEN_PCPU_FLAGS_INVALID,
    apic_id: info.xen_cpuid,
    acpi_id: info.xen_cpuid,
  };
  return c.guest.writeStruct(xenpf_pcpuinfo, at, answer) ? 0 : -XEN_EFAULT;
}

export const platform_op: HypercallHandler = (c) => {
  const arg = c.arg(0);
  const head = c.guest.copyFrom(arg, xen_platform_op.size(c.abi));
  if (head === null) return -XEN_EFAULT;
  const view = new DataView(head.buffer);
  const version = view.getUint32(xen_platform_op.offset('interface_version', c.abi), true);
  if (version !== XENPF_INTERFACE_VERSION) return -XEN_EACCES;
  if (!c.domain.isPrivileged) return -XEN_EPERM;
  const at = arg + xen_platform_op.offset('u', c.abi);
  switch (view.getUint32(0, true)) {
    case XENPF_settime64:
      return setTime(c, at);
    case XENPF_get_cpuinfo:
      return getCpuinfo(c, at);
    default:
      return -XEN_ENOSYS;
  }
};
