// mmu_update: a list of (machine address, value) pairs, each an update of a page-table entry or of the machine-to-physical table.
// do_mmu_update() of xen/arch/x86/mm.c (4.17). A long list is continued, which the PREEMPTED bit of count says.

import {
  MMU_MACHPHYS_UPDATE,
  MMU_NORMAL_PT_UPDATE,
  MMU_PT_UPDATE_NO_TRANSLATE,
  MMU_PT_UPDATE_PRESERVE_AD,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import type { Maddr, Mfn } from '../machine/addresses.ts';
import { updateEntry } from '../pv/mm-entries.ts';
import { pageTablesOf } from '../pv/page-tables.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';
import { mayTarget, pageOwnerId } from './foreign-domain.ts';

export const MMU_UPDATE_PREEMPTED = 0x8000_0000;

export const mmu_update: HypercallHandler = (c) => {
  // hypercall-defs.c: PV only.
  if (c.domain.isTranslated) return -XEN_ENOSYS;
  const { guest } = c;
  const handle = c.arg(0);
  let count = c.argU32(1);
  const pdone = c.arg(2);
  const foreigndom = c.argU32(3);
  let done = 0;
  if (count >= MMU_UPDATE_PREEMPTED) {
    count -= MMU_UPDATE_PREEMPTED;
    if (pdone !== 0) done = Math.max(guest.read32(pdone), 0);
  }

  let ptOwner: Domain = c.domain;
  if (foreigndom >>> 16 !== 0) {
    const d = c.hv.domain((foreigndom >>> 16) - 1);
    if (d === undefined) return -XEN_ESRCH;
    if (d.vcpus.length === 0) return -XEN_EINVAL;
    ptOwner = d;
  }
  const pgOwner = pageOwnerId(c, foreigndom & 0xffff);
  if (pgOwner === -1) return -XEN_ESRCH;

  let i = 0;
  let rc = 0;
  const end = Math.min(count, c.workLeft);
  for (; i < end; i++) {
    const at = handle + i * 16;
    if (!guest.read64(at)) {
      rc = -XEN_EFAULT;
      break;
    }
    const ptrLo = guest.lo;
    const ptrHi = guest.hi;
    if (!guest.read64(at + 8)) {
      rc = -XEN_EFAULT;
      break;
    }
    rc = update(c, ptrLo, ptrHi, guest.lo, guest.hi, ptOwner, pgOwner);
    if (rc !== 0) break;
  }
  c.work += i;
  if (pdone !== 0) guest.write32(pdone, done + i);
  if (rc === 0 && i < count) return c.continueWith(handle + i * 16, MMU_UPDATE_PREEMPTED + count - i);
  return rc;
};

function update(c: HypercallContext, ptrLo: number, ptrHi: number, lo: number, hi: number, ptOwner: Domain, pgOwner: number): number {
  const { frames } = c.hv;
  const cmd = ptrLo & 7;
  switch (cmd) {
    case MMU_NORMAL_PT_UPDATE:
    case MMU_PT_UPDATE_PRESERVE_AD:
    case MMU_PT_UPDATE_NO_TRANSLATE: {
      if (ptOwner.isTranslated) return -XEN_EOPNOTSUPP;
      if (!mayTarget(c, pgOwner) || !mayTarget(c, ptOwner.id)) return -XEN_EPERM;
      // Machine memory ends below 4 GiB.
      if (ptrHi !== 0) return -XEN_EINVAL;
      return updateEntry(pageTablesOf(frames), ((ptrLo & ~7) >>> 0) as Maddr, lo, hi, cmd, ptOwner, pgOwner);
    }
    case MMU_MACHPHYS_UPDATE: {
      if (c.domain !== ptOwner) return -XEN_EPERM;
      if (c.hv.domain(pgOwner)?.isTranslated) return -XEN_EINVAL;
      if (!mayTarget(c, pgOwner)) return -XEN_EPERM;
      const mfn = (ptrLo >>> 12) as Mfn;
      if (ptrHi !== 0 || !frames.getPage(mfn, pgOwner)) return -XEN_EINVAL;
      frames.m2p.set(mfn, lo, hi);
      frames.putPage(mfn);
      return 0;
    }
    default:
      return -XEN_ENOSYS;
  }
}
