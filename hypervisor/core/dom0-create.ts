// Domain 0: translated, privileged, its kernel TypeScript. Its RAM is mapped at gfn 0 on, as a PVH dom0 finds it; shared_info, foreign
// frames and grants it maps itself, above its RAM.

import type { DomainPort } from '@ringworld/abi';
import type { Domain } from './domain.ts';
import { createDomain, createVcpu } from './domain-create.ts';
import { openDomainPort } from './domain-port.ts';
import { unpauseDomain } from './domain-shutdown.ts';
import type { Hypervisor } from './hypervisor.ts';
import { type Domid, type Gfn, INVALID_MFN } from './ids.ts';
import { P2M_TYPES } from './p2m.ts';

export interface Dom0Options {
  /** Pages of RAM, mapped at gfns 0 .. pages-1. */
  pages?: number;
  vcpus?: number;
}

const DEFAULT_PAGES = 1024;

/** Throws when the machine has too little memory: nothing can run then. */
export function createDom0(hv: Hypervisor, options: Dom0Options = {}): { domain: Domain; port: DomainPort } {
  const pages = options.pages ?? DEFAULT_PAGES;
  const vcpus = options.vcpus ?? 1;
  const domain = createDomain(hv, { id: 0 as Domid, isPrivileged: true, isTranslated: true, maxVcpus: vcpus });
  if (domain === null) throw new RangeError('no memory for domain 0');
  for (let id = 0; id < vcpus; id++) {
    const rc = createVcpu(hv, domain, id, true);
    if (rc !== 0) throw new RangeError(`vCPU ${id} of domain 0 cannot be made: ${rc}`);
  }
  for (let gfn = 0; gfn < pages; gfn++) {
    const mfn = hv.frames.allocForDomain(domain);
    if (mfn === INVALID_MFN) throw new RangeError(`no memory for domain 0: ${gfn} of ${pages} pages`);
    domain.p2m.set(gfn as Gfn, mfn, P2M_TYPES.ram_rw);
  }
  for (const v of domain.vcpus) {
    v.isInitialised = true;
    v.isDown = false;
  }
  domain.controllerPauseCount = 0;
  unpauseDomain(hv, domain);
  return { domain, port: openDomainPort(hv, domain) };
}
