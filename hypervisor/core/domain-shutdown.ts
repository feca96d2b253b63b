// The end of a domain's running, and its return: shutdown, crash, resume (xen/common/domain.c). Destruction is in domain-destroy.ts.

import { SHUTDOWN_crash, SHUTDOWN_suspend, VIRQ_DOM_EXC } from '@ringworld/abi';
import type { Domain } from './domain.ts';
import type { Hypervisor } from './hypervisor.ts';

const REASONS = ['poweroff', 'reboot', 'suspend', 'crash', 'watchdog', 'soft reset'] as const;

/** domain_shutdown's second half; the domain has noted the reason. */
export function stopForShutdown(hv: Hypervisor, domain: Domain, reason: number): void {
  const why = domain.crashReason === null ? '' : `: ${domain.crashReason}`;
  if (reason === SHUTDOWN_crash) hv.console.xen(`Domain ${domain.id} crashed${why}`);
  else hv.console.xen(`Domain ${domain.id} shutdown: ${REASONS[reason] ?? `reason ${reason}`}`);
  for (const v of domain.vcpus) {
    if (v.isPausedForShutdown) continue;
    v.isPausedForShutdown = true;
    hv.scheduler.pause(v);
  }
  domain.isShutDown = true;
  domain.onStopOrGo();
  if (reason === SHUTDOWN_suspend && domain.suspendEvtchn !== 0) domain.evtchn.send(domain.suspendEvtchn);
  else hv.sendGlobalVirq(VIRQ_DOM_EXC);
}

/** domain_resume: after a suspend that was cancelled, or in the restored copy. */
export function resumeDomain(hv: Hypervisor, domain: Domain): void {
  if (!domain.isShuttingDown) return;
  domain.isShuttingDown = false;
  domain.isShutDown = false;
  domain.shutdownCode = null;
  domain.onStopOrGo();
  for (const v of domain.vcpus) {
    if (!v.isPausedForShutdown) continue;
    v.isPausedForShutdown = false;
    hv.scheduler.unpause(v);
  }
}

/** domain_pause: nests. */
export function pauseDomain(hv: Hypervisor, domain: Domain): void {
  domain.pauseCount++;
  domain.onStopOrGo();
  for (const v of domain.vcpus) hv.scheduler.sleep(v);
}
export function unpauseDomain(hv: Hypervisor, domain: Domain): void {
  if (--domain.pauseCount !== 0) return;
  domain.onStopOrGo();
  for (const v of domain.vcpus) hv.scheduler.wake(v);
}
