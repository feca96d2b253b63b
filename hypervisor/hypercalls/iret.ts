// iret: the guest kernel's way to its users, and back out of a handler (do_iret, compat_iret, xen/arch/x86/pv/iret.c).

import { iret32, iret64 } from '../pv/iret.ts';
import { type HypercallHandler, NO_RETURN } from './context.ts';

export const iret: HypercallHandler = (c) => {
  if (c.domain.is32bit) iret32(c.hv, c.vcpu);
  else iret64(c.hv, c.vcpu);
  return NO_RETURN;
};
