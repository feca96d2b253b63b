// Domain watchdogs: two timers per domain that shut it down unless it keeps setting them (xen/common/sched/core.c, domain_watchdog).

import { SHUTDOWN_watchdog, XEN_EINVAL, XEN_ENOSPC } from '@ringworld/abi';
import { SECONDS } from './clock.ts';
import type { Domain } from './domain.ts';
import type { Hypervisor } from './hypervisor.ts';
import { Timer } from './timers.ts';

const NR_DOMAIN_WATCHDOG_TIMERS = 2;

/** SCHEDOP_watchdog: id 0 asks for a free one and gives its id; timeout 0 stops. Seconds. */
export function domainWatchdog(hv: Hypervisor, domain: Domain, id: number, timeout: number): number {
  if (id > NR_DOMAIN_WATCHDOG_TIMERS) return -XEN_EINVAL;
  const at = hv.now() + timeout * SECONDS;
  if (id === 0) {
    if (timeout === 0) return -XEN_EINVAL;
    for (let i = 0; i < NR_DOMAIN_WATCHDOG_TIMERS; i++) {
      if (domain.watchdogs[i]?.isActive) continue;
      const timer = new Timer(() => {
        hv.console.xen(`Watchdog timer ${i} fired for d${domain.id}`);
        domain.shutdown(SHUTDOWN_watchdog);
      });
      domain.watchdogs[i] = timer;
      hv.timers.set(timer, at);
      return i + 1;
    }
    return -XEN_ENOSPC;
  }
  const timer = domain.watchdogs[id - 1];
  if (!timer?.isActive) return -XEN_EINVAL;
  if (timeout === 0) hv.timers.stop(timer);
  else hv.timers.set(timer, at);
  return 0;
}

export function stopWatchdogs(hv: Hypervisor, domain: Domain): void {
  for (const t of domain.watchdogs) hv.timers.stop(t);
}
