// A guest's frame that the hypervisor writes into for as long as it is registered: vcpu_info, FIFO event words and control blocks.
// It is held by a reference and a writable type, so that it can become neither a page table nor another domain's page meanwhile.

import type { Domain } from './domain.ts';
import { PGT_writable_page } from './frame-types.ts';
import type { Hypervisor } from './hypervisor.ts';
import { type Gfn, INVALID_MFN, type Mfn } from './ids.ts';

/** The machine frame behind a gfn: the p2m's for a translated domain, else the gfn itself (PV domains name machine frames). */
export const gfnToMfn = (domain: Domain, gfn: number): Mfn => (domain.isTranslated ? domain.p2m.mfn(gfn as Gfn) : (gfn as Mfn));

/** INVALID_MFN when the frame is not the domain's or cannot be of writable type. Undo with putWritableFrame. */
export function getWritableFrame(hv: Hypervisor, domain: Domain, gfn: number): Mfn {
  const mfn = gfnToMfn(domain, gfn);
  if (mfn === INVALID_MFN || !hv.ram.contains(mfn * 4096, 4096)) return INVALID_MFN;
  return hv.frames.getPageAndType(mfn, PGT_writable_page, domain.id) === 0 ? mfn : INVALID_MFN;
}

export function putWritableFrame(hv: Hypervisor, mfn: Mfn): void {
  if (mfn !== INVALID_MFN) hv.frames.putPageAndType(mfn);
}
