// fpu_taskswitch: the guest's CR0.TS (do_fpu_taskswitch, xen/arch/x86/pv/misc-hypercalls.c).

import { setTaskSwitched } from '../pv/fpu.ts';
import type { HypercallHandler } from './context.ts';

export const fpu_taskswitch: HypercallHandler = (c) => {
  setTaskSwitched(c.vcpu, c.argU32(0) !== 0);
  return 0;
};
