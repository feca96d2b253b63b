// set_segment_base: FS and GS bases, which a 64-bit guest kernel cannot write in ring 3 (do_set_segment_base,
// xen/arch/x86/pv/misc-hypercalls.c).

import { XEN_EINVAL, XEN_ENOSYS, xen_x86_64 } from '@ringworld/abi';
import { isCanonical, type Lin } from '../machine/addresses.ts';
import { FS, GS, STATE } from '../machine/state.ts';
import { loadDataSegment } from '../pv/segment-load.ts';
import type { HypercallHandler } from './context.ts';

const { SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER, SEGBASE_GS_USER_SEL } = xen_x86_64;

export const set_segment_base: HypercallHandler = (c) => {
  const { hv, vcpu } = c;
  const { regs } = vcpu;
  if (c.domain.is32bit) return -XEN_ENOSYS;
  const base = c.arg(1);
  const which = c.argU32(0);
  if (which === SEGBASE_GS_USER_SEL) {
    // The user's GS is loaded from the tables while the kernel's base is put aside: SWAPGS, MOV, SWAPGS. An error leaves a null selector.
    const sel = c.argU32(1) & 0xffff;
    const kernelBase = regs.segBase(GS);
    loadDataSegment(hv, vcpu, GS, sel > 3 ? sel | 3 : sel);
    regs.setLin(STATE.kernelGsBase, regs.segBase(GS));
    regs.setSegBase(GS, kernelBase);
    return 0;
  }
  if (which > SEGBASE_GS_USER_SEL || !isCanonical(base as Lin)) return -XEN_EINVAL;
  switch (which) {
    case SEGBASE_FS:
      regs.setSegBase(FS, base);
      break;
    case SEGBASE_GS_USER:
      regs.setLin(STATE.kernelGsBase, base);
      break;
    case SEGBASE_GS_KERNEL:
      regs.setSegBase(GS, base);
      break;
  }
  return 0;
};
