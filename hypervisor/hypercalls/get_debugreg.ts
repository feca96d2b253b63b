// get_debugreg: the value itself is the result (do_get_debugreg, xen/arch/x86/pv/misc-hypercalls.c).

import { XEN_ENODEV } from '@ringworld/abi';
import { getDebugreg } from '../pv/debug.ts';
import type { HypercallHandler } from './context.ts';

export const get_debugreg: HypercallHandler = (c) => {
  const v = getDebugreg(c.vcpu, c.argU32(0));
  // Breakpoint addresses are canonical, DR6 and DR7 have 32 bits: a signed number holds any of them.
  return v === undefined ? -XEN_ENODEV : Number(BigInt.asIntN(64, v));
};
