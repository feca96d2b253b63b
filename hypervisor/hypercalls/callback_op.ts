// callback_op: registers and withdraws the guest's entry points (do_callback_op, compat_callback_op, xen/arch/x86/pv/callback.c).

import {
  CALLBACKOP_register,
  CALLBACKOP_unregister,
  callback_register,
  callback_unregister,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
} from '@ringworld/abi';
import { registerCallback, unregisterCallback } from '../pv/callback-registration.ts';
import type { HypercallHandler } from './context.ts';

export const callback_op: HypercallHandler = (c) => {
  const { hv, vcpu, guest, domain } = c;
  switch (c.argU32(0)) {
    case CALLBACKOP_register: {
      const reg = guest.readStruct(callback_register, c.arg(1));
      if (reg === null) return -XEN_EFAULT;
      return registerCallback(hv, vcpu, { type: reg.type, flags: reg.flags, cs: reg.address.cs ?? 0, eip: reg.address.eip });
    }
    case CALLBACKOP_unregister: {
      const unreg = guest.readStruct(callback_unregister, c.arg(1));
      return unreg === null ? -XEN_EFAULT : unregisterCallback(vcpu, unreg.type);
    }
    default:
      return domain.is32bit ? -XEN_EINVAL : -XEN_ENOSYS;
  }
};
