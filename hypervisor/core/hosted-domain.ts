// An unprivileged domain whose kernel is TypeScript: translated like dom0, its RAM at gfn 0 on. For frontends that are written to measure
// backends, and for backends that are to run outside dom0.
import type { DomainPort } from '@ringworld/abi';
import type { Domain } from './domain.ts';
import { createDomain, createVcpu, freeDomid } from './domain-create.ts';
import { openDomainPort } from './domain-port.ts';
import type { Hypervisor } from './hypervisor.ts';
import { type Domid, type Gfn, INVALID_MFN } from './ids.ts';
import { P2M_TYPES } from './p2m.ts';

export interface HostedDomainOptions {
  /** Pages of RAM, mapped at gfns 0 .. pages-1. */
  readonly pages: number;
  readonly vcpus?: number;
}

/** Throws when the machine has too little memory. */
export function createHostedDomain(hv: Hypervisor, options: HostedDomainOptions): { domain: Domain; port: DomainPort } {
  const vcpus = options.vcpus ?? 1;
  const domain = createDomain(hv, { id: freeDomid(hv) as Domid, isTranslated: true, maxVcpus: vcpus });
  if (domain === null) throw new RangeError('no memory for a domain');
  for (let id = 0; id < vcpus; id++) {
    const rc = createVcpu(hv, domain, id, true);
    if (rc !== 0) throw new RangeError(`vCPU ${id} cannot be made: ${rc}`);
  }
  for (let gfn = 0; gfn < options.pages; gfn++) {
    const mfn = hv.frames.allocForDomain(domain);
    if (mfn === INVALID_MFN) throw new RangeError(`no memory for a domain: ${gfn} of ${options.pages} pages`);
    domain.p2m.set(gfn as Gfn, mfn, P2M_TYPES.ram_rw);
  }
  return { domain, port: openDomainPort(hv, domain) };
}
