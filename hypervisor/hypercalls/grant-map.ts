// GNTTABOP_map_grant_ref, unmap_grant_ref, unmap_and_replace (map_grant_ref, unmap_common and unmap_common_complete of
// xen/common/grant_table.c). Failures are the status of each element; the hypercall itself fails only when the list cannot be copied.

import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_no_device_space,
  GNTST_okay,
  gnttab_map_grant_ref,
  gnttab_unmap_and_replace,
  gnttab_unmap_grant_ref,
  XEN_EFAULT,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { PGT_writable_page } from '../core/frame-types.ts';
import { PIN } from '../core/grant-limits.ts';
import { fillActive, fixStatus, getPagedFrame, grantFrame, setStatus } from '../core/grant-status.ts';
import { type Gfn, INVALID_MFN, type Mfn } from '../core/ids.ts';
import { P2M_TYPES } from '../core/p2m.ts';
import { clearEntry, isUsableGfn } from '../core/p2m-physmap.ts';
import { flushTlbAll } from '../pv/mm-flush.ts';
import { createPvMapping, replacePvMapping } from '../pv/mm-grant.ts';
import type { HypercallContext } from './context.ts';

export function mapGrantRefs(c: HypercallContext, uop: number, count: number): number {
  for (let i = 0; i < count; i++) {
    const op = c.guest.readStruct(gnttab_map_grant_ref, uop, i);
    if (op === null) return -XEN_EFAULT;
    const r = mapOne(c, op.flags, op.dom, op.ref, op.host_addr);
    if (!c.guest.writeStruct(gnttab_map_grant_ref, uop, { ...op, ...r } as typeof op, i)) return -XEN_EFAULT;
  }
  return 0;
}

type MapResult = { status: number } | { status: number; handle: number; dev_bus_addr: number };

function mapOne(c: HypercallContext, flags: number, dom: number, ref: number, address: number): MapResult {
  const ld = c.domain;
  if ((flags & (GNTMAP_device_map | GNTMAP_host_map)) === 0) return { status: GNTST_bad_gntref };
  if (ld.isTranslated && flags & (GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte)) return { status: GNTST_general_error };
  const rd = c.hv.domain(dom);
  if (rd === undefined) return { status: GNTST_bad_domain };
  const handle = ld.grants.getHandle();
  if (handle === -1) return { status: GNTST_no_device_space };
  const r = pinAndMap(c, rd, ref, flags, address);
  if (r.status !== GNTST_okay) {
    ld.grants.putHandle(handle);
    return { status: r.status };
  }
  Object.assign(ld.grants.maptrack[handle]!, { domid: dom, ref, flags });
  return { status: GNTST_okay, handle, dev_bus_addr: r.mfn * 4096 };
}

/** What map_grant_ref() does between finding the domains and entering the handle: status and, on success, the frame. */
function pinAndMap(c: HypercallContext, rd: Domain, ref: number, flags: number, address: number): { status: number; mfn: Mfn } {
  const { hv } = c;
  const ld = c.domain;
  const rgt = rd.grants;
  const readonly = (flags & GNTMAP_readonly) !== 0;
  if (ref >= rgt.entries) return failed(GNTST_bad_gntref);
  const act = rgt.activeEntry(ref);
  if (act.pin !== 0 && (act.domid !== ld.id || act.pin & PIN.overflowMask || act.isSubPage)) return failed(GNTST_general_error);

  let mfn = act.mfn;
  let hasRef = false;
  if (act.pin === 0 || (!readonly && !(act.pin & PIN.writeMask))) {
    const rc = setStatus(hv, rd, ref, act, readonly, true, ld.id);
    if (rc !== GNTST_okay) return failed(rc);
    if (act.pin === 0) {
      mfn = getPagedFrame(hv, rd, grantFrame(hv, rd, ref), readonly);
      if (mfn === INVALID_MFN) {
        fixStatus(rd, ref, act, !readonly);
        return failed(GNTST_bad_page);
      }
      hasRef = true;
      fillActive(act, ld.id, mfn, 0, 4096, false, rd.id, ref);
    }
  }
  const pins = pinIncrement(flags, readonly);
  act.pin += pins;
  const status = hasRef || hv.frames.getPage(mfn, rd.id) ? mapFrame(c, rd, mfn, flags, address) : GNTST_general_error;
  if (status === GNTST_okay) return { status, mfn };
  act.pin -= pins;
  fixStatus(rd, ref, act, !readonly);
  return failed(status);
}

const failed = (status: number): { status: number; mfn: Mfn } => ({ status, mfn: INVALID_MFN });

/** One reference is held by the caller; each kind of mapping needs one of its own, and a writable type. All are dropped on failure. */
function mapFrame(c: HypercallContext, rd: Domain, mfn: Mfn, flags: number, address: number): number {
  const { frames } = c.hv;
  const ld = c.domain;
  const readonly = (flags & GNTMAP_readonly) !== 0;
  let refs = 1;
  let types = 0;
  let status: number = GNTST_okay;
  if (flags & GNTMAP_device_map && !readonly) {
    if (frames.getType(mfn, PGT_writable_page) === 0) types++;
    else status = GNTST_general_error;
  }
  if (flags & GNTMAP_host_map && status === GNTST_okay) {
    if (flags & GNTMAP_device_map) {
      frames.getPage(mfn, rd.id);
      refs++;
    }
    if (takesType(readonly, ld, rd)) {
      if (frames.getType(mfn, PGT_writable_page) === 0) types++;
      else status = GNTST_general_error;
    }
    if (status === GNTST_okay) {
      status = ld.isTranslated ? createP2mMapping(c, address, mfn, flags) : createPvMapping(c.hv, c.vcpu, address, mfn, flags);
    }
  }
  if (status === GNTST_okay) return status;
  while (types-- > 0) frames.putType(mfn);
  while (refs-- > 0) frames.putPage(mfn);
  return status;
}

function pinIncrement(flags: number, readonly: boolean): number {
  let n = 0;
  if (flags & GNTMAP_device_map) n += readonly ? PIN.devr : PIN.devw;
  if (flags & GNTMAP_host_map) n += readonly ? PIN.hstr : PIN.hstw;
  return n;
}

/** gnttab_host_mapping_get_page_type(). */
const takesType = (readonly: boolean, ld: Domain, rd: Domain): boolean => !readonly && (ld === rd || !rd.isTranslated);

/** create_grant_p2m_mapping(). */
function createP2mMapping(c: HypercallContext, address: number, mfn: Mfn, flags: number): number {
  if ((flags & ~GNTMAP_readonly) !== GNTMAP_host_map) return GNTST_general_error;
  const gfn = Math.floor(address / 4096);
  if (!isUsableGfn(gfn)) return GNTST_general_error;
  if (c.domain.p2m.mfn(gfn as Gfn) !== INVALID_MFN && clearEntry(c.hv, c.domain, gfn as Gfn, false) !== 0) return GNTST_general_error;
  c.domain.p2m.set(gfn as Gfn, mfn, flags & GNTMAP_readonly ? P2M_TYPES.grant_map_ro : P2M_TYPES.grant_map_rw);
  return GNTST_okay;
}

/** replace_grant_p2m_mapping(). */
function removeP2mMapping(c: HypercallContext, address: number, mfn: Mfn, newAddress: number, flags: number): number {
  if (newAddress !== 0 || flags & GNTMAP_contains_pte) return GNTST_general_error;
  const gfn = Math.floor(address / 4096) as Gfn;
  const { p2m } = c.domain;
  const type = p2m.type(gfn);
  if ((type !== P2M_TYPES.grant_map_rw && type !== P2M_TYPES.grant_map_ro) || p2m.mfn(gfn) !== mfn) return GNTST_general_error;
  p2m.remove(gfn);
  return GNTST_okay;
}

export function unmapGrantRefs(c: HypercallContext, uop: number, count: number): number {
  return unmapAll(c, count, (i) => {
    const op = c.guest.readStruct(gnttab_unmap_grant_ref, uop, i);
    if (op === null) return null;
    const u = unmapCommon(c, op.handle, op.host_addr, op.dev_bus_addr, 0);
    return c.guest.writeStruct(gnttab_unmap_grant_ref, uop, { ...op, status: u.status }, i) ? u : { ...u, isFault: true };
  });
}

export function unmapAndReplace(c: HypercallContext, uop: number, count: number): number {
  return unmapAll(c, count, (i) => {
    const op = c.guest.readStruct(gnttab_unmap_and_replace, uop, i);
    if (op === null) return null;
    const u = unmapCommon(c, op.handle, op.host_addr, 0, op.new_addr);
    return c.guest.writeStruct(gnttab_unmap_and_replace, uop, { ...op, status: u.status }, i) ? u : { ...u, isFault: true };
  });
}

interface Unmapped {
  status: number;
  /** GNTMAP_* bits that went, with GNTMAP_readonly as it was mapped. */
  done: number;
  rd: Domain | null;
  ref: number;
  isFault?: boolean;
}

/** The entries go first, for all elements; then TLBs are flushed; only then are the frames let go. */
function unmapAll(c: HypercallContext, count: number, unmap: (i: number) => Unmapped | null): number {
  const list: Unmapped[] = [];
  let rc = 0;
  for (let i = 0; i < count && rc === 0; i++) {
    const u = unmap(i);
    if (u !== null) list.push(u);
    if (u === null || u.isFault) rc = -XEN_EFAULT;
  }
  if (!c.domain.isTranslated && list.some((u) => u.done !== 0)) flushTlbAll(c.hv);
  for (const u of list) if (u.done !== 0 && u.rd !== null) complete(c, u.rd, u.ref, u.done);
  return rc;
}

const notUnmapped = (status: number): Unmapped => ({ status, done: 0, rd: null, ref: 0 });

function unmapCommon(c: HypercallContext, handle: number, hostAddr: number, devBusAddr: number, newAddr: number): Unmapped {
  const ld = c.domain;
  const map = ld.grants.maptrack[handle];
  if (map === undefined || map.flags === 0) return notUnmapped(GNTST_bad_handle);
  const rd = c.hv.domain(map.domid);
  if (rd === undefined) {
    // The granter is gone although this handle pinned its page: the mapping was removed behind the grant's back.
    ld.crash(`grant handle ${handle} of vanished domain ${map.domid}`);
    return notUnmapped(GNTST_bad_handle);
  }
  const { ref, flags } = map;
  const { mfn } = rd.grants.activeEntry(ref);
  if (devBusAddr !== 0 && devBusAddr !== mfn * 4096) return notUnmapped(GNTST_general_error);
  let done = 0;
  if (hostAddr !== 0 && flags & GNTMAP_host_map) {
    const rc = ld.isTranslated
      ? removeP2mMapping(c, hostAddr, mfn, newAddr, flags)
      : replacePvMapping(c.hv, c.vcpu, hostAddr, mfn, newAddr, flags);
    if (rc < 0) return notUnmapped(rc);
    map.flags &= ~GNTMAP_host_map;
    done |= GNTMAP_host_map | (flags & GNTMAP_readonly);
  }
  if (devBusAddr !== 0 && flags & GNTMAP_device_map) {
    map.flags &= ~GNTMAP_device_map;
    done |= GNTMAP_device_map | (flags & GNTMAP_readonly);
  }
  if (!(map.flags & (GNTMAP_device_map | GNTMAP_host_map))) ld.grants.putHandle(handle);
  return { status: GNTST_okay, done, rd, ref };
}

function complete(c: HypercallContext, rd: Domain, ref: number, done: number): void {
  const { frames } = c.hv;
  const act = rd.grants.activeEntry(ref);
  const readonly = (done & GNTMAP_readonly) !== 0;
  if (done & GNTMAP_device_map) {
    act.pin -= readonly ? PIN.devr : PIN.devw;
    if (!readonly) frames.putType(act.mfn);
    frames.putPage(act.mfn);
  }
  if (done & GNTMAP_host_map) {
    act.pin -= readonly ? PIN.hstr : PIN.hstw;
    if (takesType(readonly, c.domain, rd)) frames.putType(act.mfn);
    frames.putPage(act.mfn);
  }
  fixStatus(rd, ref, act, !readonly);
  if (rd.isDying) c.hv.reapDomains();
}
