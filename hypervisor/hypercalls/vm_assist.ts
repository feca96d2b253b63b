// vm_assist: optional behaviours that a guest turns on, one bit each in Domain.vmAssist (xen/common/kernel.c, do_vm_assist).

import {
  VMASST_CMD_disable,
  VMASST_CMD_enable,
  VMASST_TYPE_4gb_segments,
  VMASST_TYPE_4gb_segments_notify,
  VMASST_TYPE_architectural_iopl,
  VMASST_TYPE_m2p_strict,
  VMASST_TYPE_pae_extended_cr3,
  VMASST_TYPE_runstate_update_flag,
  VMASST_TYPE_writable_pagetables,
  XEN_EINVAL,
  XEN_ENOSYS,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import type { HypercallHandler } from './context.ts';

const PV_ASSISTS: readonly number[] = [
  VMASST_TYPE_4gb_segments,
  VMASST_TYPE_4gb_segments_notify,
  VMASST_TYPE_writable_pagetables,
  VMASST_TYPE_pae_extended_cr3,
  VMASST_TYPE_architectural_iopl,
  VMASST_TYPE_runstate_update_flag,
];

/** Bits go beyond 31: m2p_strict is 32, for 64-bit guests only. */
export const hasAssist = (domain: Domain, type: number): boolean => Math.floor(domain.vmAssist / 2 ** type) % 2 === 1;

function isValid(domain: Domain, type: number): boolean {
  if (domain.isTranslated) return type === VMASST_TYPE_runstate_update_flag;
  return PV_ASSISTS.includes(type) || (type === VMASST_TYPE_m2p_strict && !domain.is32bit);
}

export const vm_assist: HypercallHandler = (c) => {
  const { domain } = c;
  const type = c.argU32(1);
  if (!isValid(domain, type)) return -XEN_EINVAL;
  const on = hasAssist(domain, type);
  switch (c.argU32(0)) {
    case VMASST_CMD_enable:
      if (!on) domain.vmAssist += 2 ** type;
      return 0;
    case VMASST_CMD_disable:
      if (on) domain.vmAssist -= 2 ** type;
      return 0;
    default:
      return -XEN_ENOSYS;
  }
};
