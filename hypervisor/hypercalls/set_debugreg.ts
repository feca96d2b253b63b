// set_debugreg: a debug register of the calling vCPU (do_set_debugreg, xen/arch/x86/pv/misc-hypercalls.c).

import { setDebugreg } from '../pv/debug.ts';
import type { HypercallHandler } from './context.ts';

export const set_debugreg: HypercallHandler = (c) =>
  setDebugreg(c.vcpu, c.argU32(0), (BigInt(c.argHi(1) >>> 0) << 32n) | BigInt(c.argLo(1) >>> 0));
