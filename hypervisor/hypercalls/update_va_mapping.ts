// update_va_mapping: one L1 entry, named by the linear address that it maps, with the TLB flush that goes with the change.
// __do_update_va_mapping() of xen/arch/x86/mm.c (4.17). A 32-bit guest passes the entry in two registers, which moves the flags along.

import {
  MMU_NORMAL_PT_UPDATE,
  UVMF_ALL,
  UVMF_FLUSHTYPE_MASK,
  UVMF_INVLPG,
  UVMF_LOCAL,
  UVMF_TLB_FLUSH,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EPERM,
} from '@ringworld/abi';
import { PGT_l1_page_table } from '../core/frame-types.ts';
import type { Lin, Mfn } from '../machine/addresses.ts';
import { modL1Entry } from '../pv/mm-entries.ts';
import { flushTlbAll, flushTlbLocal, invlpgAll, invlpgLocal, readVcpuMask } from '../pv/mm-flush.ts';
import { guestL1Entry } from '../pv/mm-walk.ts';
import { pageTablesOf } from '../pv/page-tables.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';
import { mayTarget } from './foreign-domain.ts';

export const update_va_mapping: HypercallHandler = (c) => updateVaMapping(c, c.domain.id);

export function updateVaMapping(c: HypercallContext, pgOwner: number): number {
  if (c.domain.isTranslated) return -XEN_ENOSYS;
  if (!mayTarget(c, pgOwner)) return -XEN_EPERM;
  const compat = c.domain.is32bit;
  const lin = c.arg(0) as Lin;
  const rc = compat ? change(c, lin, c.argLo(1), c.argLo(2), pgOwner) : change(c, lin, c.argLo(1), c.argHi(1), pgOwner);
  if (rc !== 0) return rc;
  const flags = c.arg(compat ? 3 : 2);
  const type = flags & UVMF_FLUSHTYPE_MASK;
  return type === 0 ? 0 : flush(c, lin, type, flags - type);
}

function change(c: HypercallContext, lin: Lin, lo: number, hi: number, pgOwner: number): number {
  const { frames } = c.hv;
  const pt = pageTablesOf(frames);
  const at = guestL1Entry(pt, c.vcpu, lin);
  if (at === -1) return -XEN_EINVAL;
  const table = (at >>> 12) as Mfn;
  if (frames.owner[table] !== c.domain.id || frames.type[table] !== PGT_l1_page_table) return -XEN_EINVAL;
  if (frames.typeCount[table] === 0 || !frames.isValidated(table)) return -XEN_EINVAL;
  return modL1Entry(pt, at, lo, hi, MMU_NORMAL_PT_UPDATE, c.domain, pgOwner);
}

/** `whom`: UVMF_LOCAL, UVMF_ALL or the address of a vCPU bitmap. */
function flush(c: HypercallContext, lin: Lin, type: number, whom: number): number {
  if (whom === UVMF_LOCAL) {
    if (type === UVMF_TLB_FLUSH) flushTlbLocal(c.hv, c.vcpu);
    else if (type === UVMF_INVLPG) invlpgLocal(c.vcpu, lin);
    return 0;
  }
  if (whom !== UVMF_ALL) {
    const any = readVcpuMask(c.vcpu, whom);
    if (any === -1) return -XEN_EFAULT;
    if (any === 0) return 0;
  }
  if (type === UVMF_TLB_FLUSH) flushTlbAll(c.hv);
  else if (type === UVMF_INVLPG) invlpgAll(c.hv, lin);
  return 0;
}
