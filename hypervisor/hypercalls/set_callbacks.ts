// set_callbacks: event, failsafe and (64-bit) syscall entry points in one call (do_set_callbacks, xen/arch/x86/pv/callback.c). It has
// never reported an error: an address that callback_op would refuse is left out.

import { CALLBACKTYPE_event, CALLBACKTYPE_failsafe, CALLBACKTYPE_syscall } from '@ringworld/abi';
import { registerCallback } from '../pv/callback-registration.ts';
import type { HypercallHandler } from './context.ts';

export const set_callbacks: HypercallHandler = (c) => {
  const { hv, vcpu } = c;
  if (c.domain.is32bit) {
    registerCallback(hv, vcpu, { type: CALLBACKTYPE_event, flags: 0, cs: c.argU32(0), eip: c.arg(1) });
    registerCallback(hv, vcpu, { type: CALLBACKTYPE_failsafe, flags: 0, cs: c.argU32(2), eip: c.arg(3) });
    return 0;
  }
  registerCallback(hv, vcpu, { type: CALLBACKTYPE_event, flags: 0, cs: 0, eip: c.arg(0) });
  registerCallback(hv, vcpu, { type: CALLBACKTYPE_failsafe, flags: 0, cs: 0, eip: c.arg(1) });
  registerCallback(hv, vcpu, { type: CALLBACKTYPE_syscall, flags: 0, cs: 0, eip: c.arg(2) });
  return 0;
};
