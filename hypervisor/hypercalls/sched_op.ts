// sched_op: giving up the CPU, waiting for events, ending (xen/common/sched/core.c, do_sched_op and do_poll).

import {
  SCHEDOP_block,
  SCHEDOP_pin_override,
  SCHEDOP_poll,
  SCHEDOP_remote_shutdown,
  SCHEDOP_shutdown,
  SCHEDOP_shutdown_code,
  SCHEDOP_watchdog,
  SCHEDOP_yield,
  sched_poll,
  sched_remote_shutdown,
  sched_shutdown,
  sched_watchdog,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringworld/abi';
import type { EvtchnPort } from '../core/ids.ts';
import { isUpcallMasked, isUpcallPending, setUpcallMask } from '../core/shared-info.ts';
import { domainWatchdog } from '../core/watchdog.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';

const MAX_POLL_PORTS = 128;

// TOUR hypercall 70: A handler, one file each, named as Xen names it. Arguments that are structures come by guest handle: readStruct
// copies them in through the vCPU's own page tables and decodes the private copy, so that the guest cannot change what was checked.
export const sched_op: HypercallHandler = (c) => {
  const arg = c.arg(1);
  switch (c.argU32(0)) {
    case SCHEDOP_yield:
      return yieldCpu(c);
    case SCHEDOP_block:
      return blockEnablingEvents(c);
    case SCHEDOP_shutdown: {
      const s = c.guest.readStruct(sched_shutdown, arg);
      if (s === null) return -XEN_EFAULT;
      c.domain.shutdown(s.reason & 0xff);
      return 0;
    }
    case SCHEDOP_poll:
      return poll(c, arg);
    case SCHEDOP_remote_shutdown: {
      const s = c.guest.readStruct(sched_remote_shutdown, arg);
      if (s === null) return -XEN_EFAULT;
      const d = c.hv.domain(s.domain_id);
      if (d === undefined) return -XEN_ESRCH;
      if (!c.domain.isPrivileged) return -XEN_EPERM;
      d.shutdown(s.reason & 0xff);
      return 0;
    }
    case SCHEDOP_shutdown_code: {
      const s = c.guest.readStruct(sched_shutdown, arg);
      if (s === null) return -XEN_EFAULT;
      c.domain.shutdownCode ??= s.reason & 0xff;
      return 0;
    }
    case SCHEDOP_watchdog: {
      const s = c.guest.readStruct(sched_watchdog, arg);
      return s === null ? -XEN_EFAULT : domainWatchdog(c.hv, c.domain, s.id, s.timeout);
    }
    case SCHEDOP_pin_override:
      return -XEN_EPERM;
    default:
      return -XEN_ENOSYS;
  }
};

export function yieldCpu(c: HypercallContext): number {
  if (!c.vcpu.isHosted) c.hv.scheduler.yield(c.vcpu);
  return 0;
}

const hasEventToDeliver = (c: HypercallContext): boolean => isUpcallPending(c.vcpu) && !isUpcallMasked(c.vcpu);

/** vcpu_block_enable_events. Events are looked for after unmasking, so that none that came before is slept through. */
export function blockEnablingEvents(c: HypercallContext): number {
  setUpcallMask(c.vcpu, false);
  if (!c.vcpu.isHosted && !hasEventToDeliver(c)) c.hv.scheduler.block(c.vcpu);
  return 0;
}

function poll(c: HypercallContext, arg: number): number {
  const s = c.guest.readStruct(sched_poll, arg);
  if (s === null) return -XEN_EFAULT;
  if (s.nr_ports > MAX_POLL_PORTS) return -XEN_EINVAL;
  if (hasEventToDeliver(c)) return 0;
  const { evtchn } = c.domain;
  let port = 0;
  for (let i = 0; i < s.nr_ports; i++) {
    port = c.guest.read32(s.ports + i * 4);
    if (port === -1) return -XEN_EFAULT;
    if (evtchn.channels[port] === undefined) return -XEN_EINVAL;
    if (evtchn.isPending(port as EvtchnPort)) return 0;
  }
  if (c.vcpu.isHosted) return 0;
  c.vcpu.isPolling = true;
  c.vcpu.pollPort = s.nr_ports === 1 ? (port as EvtchnPort) : -1;
  if (s.timeout !== 0) c.vcpu.timers.setPoll(s.timeout);
  c.hv.scheduler.block(c.vcpu);
  return 0;
}
