// The end of a domain: everything that it held is released in steps (xen/common/domain.c domain_kill, xen/arch/x86/domain.c
// domain_relinquish_resources). A frame that others still map stays with the dead domain until they let go.

import { VIRQ_DOM_EXC } from '@ringworld/abi';
import type { Domain } from './domain.ts';
import { pauseDomain } from './domain-shutdown.ts';
import { PGT_pinned } from './frame-types.ts';
import { putWritableFrame } from './guest-frame.ts';
import type { Hypervisor } from './hypervisor.ts';
import { INVALID_MFN, type Mfn } from './ids.ts';
import { P2M_TYPES } from './p2m.ts';
import { stopWatchdogs } from './watchdog.ts';

/** XEN_DOMCTL_destroydomain. */
export function destroyDomain(hv: Hypervisor, domain: Domain): void {
  if (domain.isDying) return;
  pauseDomain(hv, domain);
  takeOffCpus(hv, domain);
  domain.isDying = true;
  domain.evtchn.destroy();
  domain.grants.release();
  domain.hvm?.ioreqServers?.destroyAll();
  stopWatchdogs(hv, domain);
  for (const v of domain.vcpus) {
    v.timers.stopAll();
    v.runstateGuest = 0;
    v.timeInfoGuest = 0;
    putWritableFrame(hv, v.vcpuInfoMfn);
    v.vcpuInfoMfn = INVALID_MFN;
    if (!domain.isTranslated || v.hvm !== null) hv.hooksOf(v).vcpuDestroyed(hv, v);
  }
  domain.p2m.onChange = null;
  if (domain.isHvm) hv.hvm.domainDestroyed(hv, domain);
  else if (!domain.isTranslated) hv.pv.domainDestroyed(hv, domain);
  dropForeignMappings(hv, domain);
  relinquishMemory(hv, domain);
  hv.sendGlobalVirq(VIRQ_DOM_EXC);
  hv.reapDomains();
}

/** Frames of dead domains come back one by one: forgets the domains that have none left. */
export function reapDomain(hv: Hypervisor, domain: Domain): boolean {
  if (!domain.isDying || domain.pageList.size > 0) return false;
  domain.isDead = true;
  domain.grants.destroy();
  for (const v of domain.vcpus) hv.machine.freeContext(v.context);
  if (domain.sharedInfoMfn !== INVALID_MFN) hv.frames.unshare(domain.sharedInfoMfn);
  domain.sharedInfoMfn = INVALID_MFN;
  hv.frames.unregister(domain);
  hv.domains.delete(domain.id);
  hv.sendGlobalVirq(VIRQ_DOM_EXC);
  return true;
}

function takeOffCpus(hv: Hypervisor, domain: Domain): void {
  for (const p of hv.pcpus) if (p.current?.domain === domain) hv.vacate(p);
}

/** What a translated domain had mapped of others. */
function dropForeignMappings(hv: Hypervisor, domain: Domain): void {
  if (!domain.isTranslated) return;
  for (const { gfn, mfn, type } of domain.p2m.entries()) {
    domain.p2m.remove(gfn);
    if (type === P2M_TYPES.map_foreign) hv.frames.putPage(mfn);
  }
}

/**
 * Drops pins first, from the top level down, so that tables are devalidated from their roots; then the reference that being allocated
 * is. Frames with a reference left (foreign or grant mappings) keep their owner.
 */
function relinquishMemory(hv: Hypervisor, domain: Domain): void {
  const { frames } = hv;
  const frozen: Mfn[] = [...domain.pageList];
  for (let level = 4; level >= 1; level--) {
    for (const mfn of frozen) {
      if (frames.type[mfn] !== level || !frames.isPinned(mfn)) continue;
      frames.typeFlags[mfn]! &= ~PGT_pinned;
      frames.putPageAndType(mfn);
    }
  }
  for (const mfn of frozen) if (domain.pageList.has(mfn)) frames.putAllocated(mfn);
}
