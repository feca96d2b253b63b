// Ties the page-table rules to the rest of the hypervisor: descriptor checks, LDTs, per-domain mappings, translated domains.
// Whoever assembles a hypervisor calls installPageTables() once, before the first domain is made.

import type { Domain } from '../core/domain.ts';
import type { PageOwner } from '../core/frame-types.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { type Gfn, INVALID_MFN, type Mfn } from '../core/ids.ts';
import { checkDescriptor } from './check-descriptor.ts';
import { destroyLdt } from './ldt.ts';
import { PageTables } from './page-tables.ts';
import { perdomainL3 } from './perdomain.ts';

/** VMASST_TYPE_m2p_strict (public/xen.h) is bit 32: out of reach of 32-bit operators. */
const M2P_STRICT = 2 ** 32;

export function installPageTables(hv: Hypervisor): PageTables {
  if (hv.frames.validator instanceof PageTables) return hv.frames.validator;
  const pt = new PageTables(hv.frames);
  const domainOf = (owner: PageOwner): Domain | undefined => hv.domain(owner.id);
  pt.checkDescriptors = (owner, mfn) => checkDescriptorPage(pt, mfn, owner.is32bit);
  pt.dropLdt = (owner) => {
    let dropped = false;
    for (const v of domainOf(owner)?.vcpus ?? []) if (v && destroyLdt(hv, v)) dropped = true;
    if (dropped) hv.frames.flush();
  };
  pt.perDomainL3 = (owner) => {
    const d = domainOf(owner);
    return d ? perdomainL3(hv, d) : INVALID_MFN;
  };
  pt.isM2pStrict = (owner) => Math.floor((domainOf(owner)?.vmAssist ?? 0) / M2P_STRICT) % 2 === 1;
  pt.translateGfn = (owner, gfn, write) => {
    const d = domainOf(owner);
    if (!d) return -1;
    if (write && !d.p2m.isWritable(gfn as Gfn)) return -1;
    return d.p2m.mfn(gfn as Gfn);
  };
  return pt;
}

/** validate_segdesc_page(): all 512 descriptors fit, and those that must be changed to fit are changed. */
function checkDescriptorPage(pt: PageTables, mfn: Mfn, is32bit: boolean): boolean {
  for (let i = 0; i < 512; i++) {
    const lo = pt.lo(mfn, i);
    const hi = pt.hi(mfn, i);
    if (lo === 0 && hi === 0) continue;
    const fixed = checkDescriptor(is32bit, lo, hi);
    if (fixed === null) return false;
    if ((fixed.lo ^ lo) | (fixed.hi ^ hi)) pt.write(mfn, i, fixed.lo, fixed.hi);
  }
  return true;
}
