// stack_switch: where the guest kernel is entered from user mode (do_stack_switch, xen/arch/x86/pv/misc-hypercalls.c).

import type { Lin } from '../machine/addresses.ts';
import { fixupSelector } from '../pv/selectors.ts';
import type { HypercallHandler } from './context.ts';

export const stack_switch: HypercallHandler = (c) => {
  c.vcpu.pv.kernelSs = fixupSelector(c.domain.is32bit, c.argU32(0));
  c.vcpu.pv.kernelSp = c.arg(1) as Lin;
  return 0;
};
