// update_descriptor: one entry of a descriptor table by its machine address (do_update_descriptor, xen/arch/x86/pv/descriptor-tables.c).

import { XEN_EINVAL } from '@ringworld/abi';
import { PGT_seg_desc_page, PGT_writable_page } from '../core/frame-types.ts';
import type { Maddr, Mfn } from '../machine/addresses.ts';
import { checkDescriptor } from '../pv/check-descriptor.ts';
import type { HypercallHandler } from './context.ts';

export const update_descriptor: HypercallHandler = (c) => {
  const { hv, domain } = c;
  const { frames, ram } = hv;
  const compat = domain.is32bit;
  // Address and descriptor take two arguments each from a 32-bit guest.
  const pa = compat ? c.argU32(1) * 0x1_0000_0000 + c.argU32(0) : (c.argHi(0) >>> 0) * 0x1_0000_0000 + c.argU32(0);
  const lo = compat ? c.argLo(2) : c.argLo(1);
  const hi = compat ? c.argLo(3) : c.argHi(1);
  const mfn = Math.floor(pa / 4096) as Mfn;
  const fixed = checkDescriptor(compat, lo, hi);
  if (pa % 8 !== 0 || fixed === null || !frames.getPage(mfn, domain.id)) return -XEN_EINVAL;
  // A page that is a descriptor table stays one meanwhile; any other must be free to be written.
  const type = frames.type[mfn] === PGT_seg_desc_page ? PGT_seg_desc_page : PGT_writable_page;
  const rc = frames.getType(mfn, type);
  if (rc === 0) {
    ram.write32(pa as Maddr, fixed.lo);
    ram.write32((pa + 4) as Maddr, fixed.hi);
    frames.putType(mfn);
  }
  frames.putPage(mfn);
  return rc === 0 ? 0 : -XEN_EINVAL;
};
