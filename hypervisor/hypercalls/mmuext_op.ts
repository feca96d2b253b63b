// mmuext_op: everything about page tables that is no entry: pins, base pointers, TLB flushes, LDT, clearing and copying pages.
// do_mmuext_op() of xen/arch/x86/mm.c (4.17); struct mmuext_op is read by hand, since kernels issue it on every context switch.

import {
  MMUEXT_CLEAR_PAGE,
  MMUEXT_COPY_PAGE,
  MMUEXT_FLUSH_CACHE,
  MMUEXT_FLUSH_CACHE_GLOBAL,
  MMUEXT_INVLPG_ALL,
  MMUEXT_INVLPG_LOCAL,
  MMUEXT_INVLPG_MULTI,
  MMUEXT_MARK_SUPER,
  MMUEXT_NEW_BASEPTR,
  MMUEXT_NEW_USER_BASEPTR,
  MMUEXT_PIN_L1_TABLE,
  MMUEXT_PIN_L4_TABLE,
  MMUEXT_SET_LDT,
  MMUEXT_TLB_FLUSH_ALL,
  MMUEXT_TLB_FLUSH_LOCAL,
  MMUEXT_TLB_FLUSH_MULTI,
  MMUEXT_UNMARK_SUPER,
  MMUEXT_UNPIN_TABLE,
  XEN_EACCES,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { PGT_l1_page_table, PGT_writable_page } from '../core/frame-types.ts';
import type { Lin, Maddr, Mfn } from '../machine/addresses.ts';
import { setLdt } from '../pv/ldt.ts';
import { newGuestCr3, setGuestTableUser } from '../pv/mm-baseptr.ts';
import { flushTlbAll, flushTlbLocal, invlpgAll, invlpgLocal, readVcpuMask } from '../pv/mm-flush.ts';
import { isGuestAddress } from '../pv/mm-walk.ts';
import { pageTablesOf } from '../pv/page-tables.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';
import { mayTarget, pageOwnerId } from './foreign-domain.ts';
import { MMU_UPDATE_PREEMPTED } from './mmu_update.ts';

export const mmuext_op: HypercallHandler = (c) => {
  const { guest } = c;
  const handle = c.arg(0);
  let count = c.argU32(1);
  const pdone = c.arg(2);
  let done = 0;
  if (count >= MMU_UPDATE_PREEMPTED) {
    count -= MMU_UPDATE_PREEMPTED;
    if (pdone !== 0) done = Math.max(guest.read32(pdone), 0);
  }
  const ownerId = pageOwnerId(c, c.argU32(3) & 0xffff);
  if (ownerId === -1) return -XEN_ESRCH;
  const owner = c.hv.domain(ownerId);
  if (owner === undefined || owner.isTranslated) return -XEN_EINVAL;
  if (!mayTarget(c, ownerId)) return -XEN_EPERM;

  let i = 0;
  let rc = 0;
  const end = Math.min(count, c.workLeft);
  for (; i < end; i++) {
    rc = readAndPerform(c, handle, i, owner);
    if (rc !== 0) break;
  }
  c.work += i;
  if (pdone !== 0) guest.write32(pdone, done + i);
  if (rc === 0 && i < count) return c.continueWith(handle + i * (c.domain.is32bit ? 12 : 24), MMU_UPDATE_PREEMPTED + count - i);
  return rc;
};

function readAndPerform(c: HypercallContext, handle: number, i: number, owner: Domain): number {
  const { guest } = c;
  const compat = c.domain.is32bit;
  const size = compat ? 4 : 8;
  const at = handle + i * size * 3;
  const cmd = guest.read32(at);
  if (cmd === -1) return -XEN_EFAULT;
  let arg1: number;
  let arg2: number;
  if (compat) {
    arg1 = guest.read32(at + 4);
    arg2 = guest.read32(at + 8);
    if (arg1 === -1 || arg2 === -1) return -XEN_EFAULT;
  } else {
    if (!guest.read64(at + 8)) return -XEN_EFAULT;
    arg1 = guest.hi * 0x1_0000_0000 + (guest.lo >>> 0);
    if (!guest.read64(at + 16)) return -XEN_EFAULT;
    arg2 = guest.hi * 0x1_0000_0000 + (guest.lo >>> 0);
  }
  return perform(c, cmd, arg1, arg2, owner);
}

function perform(c: HypercallContext, cmd: number, arg1: number, arg2: number, owner: Domain): number {
  const { hv, vcpu } = c;
  const pt = pageTablesOf(hv.frames);
  const own = owner === c.domain;
  if (cmd >= MMUEXT_PIN_L1_TABLE && cmd <= MMUEXT_PIN_L4_TABLE) {
    // A 32-bit guest's L4 is none of its business: ignored, as Xen does.
    if (cmd === MMUEXT_PIN_L4_TABLE && owner.is32bit) return 0;
    return pt.pin(arg1, PGT_l1_page_table + cmd - MMUEXT_PIN_L1_TABLE, owner.id);
  }
  if (cmd === MMUEXT_UNPIN_TABLE) return pt.unpin(arg1, owner.id);
  // A translated caller may only pin and unpin for others.
  if (c.domain.isTranslated) return -XEN_EOPNOTSUPP;

  switch (cmd) {
    case MMUEXT_NEW_BASEPTR:
      return own ? newGuestCr3(hv, vcpu, arg1) : -XEN_EPERM;
    case MMUEXT_NEW_USER_BASEPTR:
      // compat_mmuext_op: a 32-bit guest has one set of tables.
      if (c.domain.is32bit) return -XEN_EINVAL;
      return own ? setGuestTableUser(hv, vcpu, arg1) : -XEN_EPERM;
    case MMUEXT_TLB_FLUSH_LOCAL:
      if (!own) return -XEN_EPERM;
      flushTlbLocal(hv, vcpu);
      return 0;
    case MMUEXT_INVLPG_LOCAL:
      if (!own) return -XEN_EPERM;
      invlpgLocal(vcpu, arg1 as Lin);
      return 0;
    case MMUEXT_TLB_FLUSH_MULTI:
    case MMUEXT_INVLPG_MULTI: {
      if (!own) return -XEN_EPERM;
      const any = readVcpuMask(vcpu, arg2);
      if (any === -1) return -XEN_EINVAL;
      if (any === 0) return 0;
      if (cmd === MMUEXT_TLB_FLUSH_MULTI) flushTlbAll(hv);
      else if (isGuestAddress(arg1)) invlpgAll(hv, arg1 as Lin);
      return 0;
    }
    case MMUEXT_TLB_FLUSH_ALL:
      if (!own) return -XEN_EPERM;
      flushTlbAll(hv);
      return 0;
    case MMUEXT_INVLPG_ALL:
      if (!own) return -XEN_EPERM;
      if (isGuestAddress(arg1)) invlpgAll(hv, arg1 as Lin);
      return 0;
    // Caches are coherent and a domU without devices may not flush them (cache_flush_permitted).
    case MMUEXT_FLUSH_CACHE:
      return own ? -XEN_EACCES : -XEN_EPERM;
    case MMUEXT_FLUSH_CACHE_GLOBAL:
      return own ? -XEN_EINVAL : -XEN_EPERM;
    case MMUEXT_SET_LDT:
      return own ? checkAndSetLdt(c, arg1, arg2 >>> 0) : -XEN_EPERM;
    case MMUEXT_CLEAR_PAGE:
      return clearPage(c, arg1, owner);
    case MMUEXT_COPY_PAGE:
      return copyPage(c, arg1, arg2, owner);
    case MMUEXT_MARK_SUPER:
    case MMUEXT_UNMARK_SUPER:
      return -XEN_EOPNOTSUPP;
    default:
      return -XEN_ENOSYS;
  }
}

function checkAndSetLdt(c: HypercallContext, base: number, ents: number): number {
  const lin = ents === 0 ? 0 : base;
  if (lin % 4096 !== 0 || !isGuestAddress(lin) || ents > 8192) return -XEN_EINVAL;
  setLdt(c.hv, c.vcpu, lin as Lin, ents);
  return 0;
}

function clearPage(c: HypercallContext, mfn: number, owner: Domain): number {
  const { frames } = c.hv;
  const rc = frames.getPageAndType(mfn, PGT_writable_page, owner.id);
  if (rc !== 0) return -XEN_EINVAL;
  c.hv.ram.fill((mfn * 4096) as Maddr, 0, 4096);
  frames.putPageAndType(mfn as Mfn);
  return 0;
}

function copyPage(c: HypercallContext, to: number, from: number, owner: Domain): number {
  const { frames } = c.hv;
  if (!frames.getPage(from, owner.id)) return -XEN_EINVAL;
  const rc = frames.getPageAndType(to, PGT_writable_page, owner.id);
  if (rc === 0) {
    c.hv.ram.copy((to * 4096) as Maddr, (from * 4096) as Maddr, 4096);
    frames.putPageAndType(to as Mfn);
  }
  frames.putPage(from as Mfn);
  return rc === 0 ? 0 : -XEN_EINVAL;
}
