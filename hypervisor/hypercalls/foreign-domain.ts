// Whom a hypercall is about: the domain ids that callers give, and whether they may.

import { DOMID_IO, DOMID_SELF, DOMID_XEN } from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import type { HypercallContext } from './context.ts';

/**
 * get_pg_owner() of xen/arch/x86/mm.c: the id of the domain whose frames are meant, or -1 (-XEN_ESRCH) when there is none. A caller
 * names itself DOMID_SELF only.
 */
export function pageOwnerId(c: HypercallContext, domid: number): number {
  if (domid === DOMID_SELF) return c.domain.id;
  if (domid === c.domain.id) return -1;
  if (domid === DOMID_IO || domid === DOMID_XEN) return domid;
  return c.hv.domain(domid) ? domid : -1;
}

/** XSM_TARGET: may the caller act on that domain's memory? DOMID_IO is checked per frame. */
export const mayTarget = (c: HypercallContext, domid: number): boolean =>
  domid === c.domain.id || domid === DOMID_IO || c.domain.isPrivileged;

/** rcu_lock_domain_by_any_id(): DOMID_SELF or a number, the caller's own included. */
export const domainByAnyId = (c: HypercallContext, domid: number): Domain | undefined =>
  domid === DOMID_SELF ? c.domain : c.hv.domain(domid);
