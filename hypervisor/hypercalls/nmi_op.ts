// nmi_op: the guest's NMI handler (do_nmi_op, compat_nmi_op, xen/arch/x86/pv/callback.c).

import {
  CALLBACKTYPE_nmi,
  XEN_EFAULT,
  XEN_ENOSYS,
  XENNMI_register_callback,
  XENNMI_unregister_callback,
  xennmi_callback,
} from '@ringworld/abi';
import type { Lin } from '../machine/addresses.ts';
import { registerNmi, unregisterCallback } from '../pv/callback-registration.ts';
import type { HypercallHandler } from './context.ts';

export const nmi_op: HypercallHandler = (c) => {
  switch (c.argU32(0)) {
    case XENNMI_register_callback: {
      const cb = c.guest.readStruct(xennmi_callback, c.arg(1));
      return cb === null ? -XEN_EFAULT : registerNmi(c.hv, c.vcpu, cb.handler_address as number as Lin);
    }
    case XENNMI_unregister_callback:
      return unregisterCallback(c.vcpu, CALLBACKTYPE_nmi);
    default:
      return -XEN_ENOSYS;
  }
};
