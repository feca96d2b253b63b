// callback.h: callback_op: where Xen enters a PV guest.

import { u16 } from '../layout/scalars.ts';
import { struct } from '../layout/struct.ts';
import { xen_callback_t } from './arch-x86/xen.ts';

export const CALLBACKTYPE_event = 0;
export const CALLBACKTYPE_failsafe = 1;
export const CALLBACKTYPE_syscall = 2;
export const CALLBACKTYPE_sysenter_deprecated = 3;
export const CALLBACKTYPE_nmi = 4;
export const CALLBACKTYPE_sysenter = 5;
export const CALLBACKTYPE_syscall32 = 7;

export const _CALLBACKF_mask_events = 0;
export const CALLBACKF_mask_events = 1 << _CALLBACKF_mask_events;

export const CALLBACKOP_register = 0;

/** address is a code pointer: an offset for 64-bit guests, selector and offset for 32-bit ones. */
export const callback_register = struct('callback_register', {
  type: u16,
  flags: u16,
  address: xen_callback_t,
});

export const CALLBACKOP_unregister = 1;

export const callback_unregister = struct('callback_unregister', {
  type: u16,
  _unused: u16,
});
