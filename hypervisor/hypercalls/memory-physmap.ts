// memory_op: placing pages in a translated domain's physical map, and taking them out (xen/common/memory.c, xen/arch/x86/mm.c and p2m.c).
// Our dom0 maps the frames of its guests this way. A PV domain has no such map and gets -XEN_EACCES.

import {
  DOMID_INVALID,
  DOMID_XEN,
  XEN_EACCES,
  XEN_EDOM,
  XEN_EFAULT,
  XEN_EILSEQ,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
  XENMAPIDX_grant_table_status,
  XENMAPSPACE_dev_mmio,
  XENMAPSPACE_gmfn,
  XENMAPSPACE_gmfn_foreign,
  XENMAPSPACE_gmfn_range,
  XENMAPSPACE_grant_table,
  XENMAPSPACE_shared_info,
  XENMEM_resource_grant_table,
  XENMEM_resource_grant_table_id_shared,
  XENMEM_resource_grant_table_id_status,
  XENMEM_resource_ioreq_server,
  xen_add_to_physmap,
  xen_add_to_physmap_batch,
  xen_mem_acquire_resource,
  xen_remove_from_physmap,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { type Gfn, INVALID_MFN, type Mfn } from '../core/ids.ts';
import { P2M_TYPES } from '../core/p2m.ts';
import { addForeign, addPage, addShared, clearEntry, isUsableGfn, putForeign } from '../core/p2m-physmap.ts';
import type { HypercallContext } from './context.ts';
import { domainByAnyId, mayTarget } from './foreign-domain.ts';
import { readFrame, writeFrame } from './memory-reservation.ts';

/** xatp_permission_check(). */
function mayPlace(c: HypercallContext, d: Domain, space: number): number {
  if (!d.isTranslated) return -XEN_EACCES;
  if (space === XENMAPSPACE_dev_mmio && (!c.domain.isPrivileged || d !== c.domain)) return -XEN_EACCES;
  return mayTarget(c, d.id) ? 0 : -XEN_EPERM;
}

export function addToPhysmap(c: HypercallContext, start: number, arg: number): number {
  if (start > 0xffff) return -XEN_EDOM;
  const x = c.guest.readStruct(xen_add_to_physmap, arg);
  if (x === null) return -XEN_EFAULT;
  // Foreign frames come by the batch form only, which has room for the other domain.
  if (x.space === XENMAPSPACE_gmfn_foreign) return -XEN_ENOSYS;
  const d = domainByAnyId(c, x.domid);
  if (d === undefined) return -XEN_ESRCH;
  const denied = mayPlace(c, d, x.space);
  if (denied !== 0) return denied;
  if (x.space !== XENMAPSPACE_gmfn_range) return addOne(c, d, x.space, DOMID_INVALID, x.idx, x.gpfn);
  if (x.size < start) return -XEN_EILSEQ;
  for (let i = start; i < x.size; i++) {
    const rc = addOne(c, d, XENMAPSPACE_gmfn, DOMID_INVALID, x.idx + i, x.gpfn + i);
    if (rc !== 0) return rc;
  }
  return 0;
}

export function addToPhysmapBatch(c: HypercallContext, start: number, arg: number): number {
  if (start > 0xffff) return -XEN_EDOM;
  const x = c.guest.readStruct(xen_add_to_physmap_batch, arg);
  if (x === null) return -XEN_EFAULT;
  if (x.space === XENMAPSPACE_gmfn_range) return -XEN_EOPNOTSUPP;
  const d = domainByAnyId(c, x.domid);
  if (d === undefined) return -XEN_ESRCH;
  const denied = mayPlace(c, d, x.space);
  if (denied !== 0) return denied;
  if (x.size < start) return -XEN_EILSEQ;
  if (x.space === XENMAPSPACE_dev_mmio && x.u.res0 !== 0) return -XEN_EOPNOTSUPP;
  for (let i = start; i < x.size; i++) {
    const idx = readFrame(c, x.idxs, i);
    const gpfn = readFrame(c, x.gpfns, i);
    if (idx === -1 || gpfn === -1) return -XEN_EFAULT;
    const rc = addOne(c, d, x.space, x.u.foreign_domid, idx, gpfn);
    if (!c.guest.write32(x.errs + i * 4, rc)) return -XEN_EFAULT;
  }
  return 0;
}

/** xenmem_add_to_physmap_one(). */
function addOne(c: HypercallContext, d: Domain, space: number, foreign: number, idx: number, gpfn: number): number {
  const { hv } = c;
  if (!isUsableGfn(gpfn)) return -XEN_EINVAL;
  switch (space) {
    case XENMAPSPACE_shared_info:
      return idx === 0 ? addShared(hv, d, gpfn, d.sharedInfoMfn) : -XEN_EINVAL;
    case XENMAPSPACE_grant_table: {
      const isStatus = idx >= XENMAPIDX_grant_table_status;
      const mfn = isStatus ? d.grants.statusFrame(idx - XENMAPIDX_grant_table_status, true) : d.grants.sharedFrame(idx, true);
      return mfn === INVALID_MFN ? -XEN_EINVAL : addShared(hv, d, gpfn, mfn);
    }
    case XENMAPSPACE_gmfn: {
      const mfn = d.p2m.mfn(idx as Gfn);
      if (mfn === INVALID_MFN || d.p2m.type(idx as Gfn) !== P2M_TYPES.ram_rw) return -XEN_EINVAL;
      if (idx === gpfn) return 0;
      if (d.p2m.mfn(gpfn as Gfn) !== INVALID_MFN) {
        const rc = clearEntry(hv, d, gpfn as Gfn, true);
        if (rc !== 0) return rc;
      }
      d.p2m.remove(idx as Gfn);
      return addPage(hv, d, gpfn, mfn);
    }
    case XENMAPSPACE_gmfn_foreign:
      return addForeignOf(c, d, gpfn, foreign, idx);
    default:
      return -XEN_EINVAL;
  }
}

/** p2m_add_foreign(): of another domain, or of the hypervisor's shared pages (the machine-to-physical table). */
function addForeignOf(c: HypercallContext, d: Domain, gpfn: number, foreign: number, idx: number): number {
  // Other domains have no way of dropping foreign entries when they die.
  if (!d.isPrivileged) return -XEN_EPERM;
  if (foreign === DOMID_XEN) return c.hv.frames.getPage(idx, DOMID_XEN) ? putForeign(c.hv, d, gpfn as Gfn, idx as Mfn) : -XEN_EINVAL;
  const from = domainByAnyId(c, foreign);
  if (from === undefined) return -XEN_ESRCH;
  return mayTarget(c, from.id) ? addForeign(c.hv, d, gpfn, from, idx) : -XEN_EPERM;
}

export function removeFromPhysmap(c: HypercallContext, arg: number): number {
  const x = c.guest.readStruct(xen_remove_from_physmap, arg);
  if (x === null) return -XEN_EFAULT;
  const d = domainByAnyId(c, x.domid);
  if (d === undefined) return -XEN_ESRCH;
  if (!mayTarget(c, d.id)) return -XEN_EPERM;
  if (d.isTranslated) return isUsableGfn(x.gpfn) ? clearEntry(c.hv, d, x.gpfn as Gfn, false) : -XEN_ENOENT;
  return c.hv.frames.isValid(x.gpfn) && c.hv.frames.owner[x.gpfn] === d.id ? 0 : -XEN_ENOENT;
}

/** The frames of a resource: how many there are, and each by number (INVALID_MFN: there is none). */
interface Resource {
  readonly size: number;
  frame(i: number): Mfn;
}
function resourceOf(c: HypercallContext, d: Domain, type: number, id: number): Resource | number {
  if (type === XENMEM_resource_ioreq_server) {
    if (!d.isHvm) return -XEN_EINVAL;
    const servers = d.hvm?.ioreqServers;
    const server = servers?.get(id, c.domain) ?? -XEN_ENOENT;
    if (typeof server === 'number') return server;
    return { size: 2, frame: (i) => servers!.resourceFrame(server, i) };
  }
  if (type !== XENMEM_resource_grant_table) return -XEN_EOPNOTSUPP;
  const { grants } = d;
  if (id === XENMEM_resource_grant_table_id_shared) return { size: grants.maxFrames, frame: (i) => grants.sharedFrame(i, true) };
  if (id === XENMEM_resource_grant_table_id_status) return { size: grants.maxStatusFrames, frame: (i) => grants.statusFrame(i, true) };
  return -XEN_EINVAL;
}

/** XENMEM_acquire_resource: of what there is to acquire, grant table frames and the pages of device models. */
export function acquireResource(c: HypercallContext, start: number, arg: number): number {
  const x = c.guest.readStruct(xen_mem_acquire_resource, arg);
  if (x === null) return -XEN_EFAULT;
  if (x.pad !== 0) return -XEN_EINVAL;
  const d = c.hv.domain(x.domid);
  if (d === c.domain) return -XEN_EPERM;
  if (d === undefined) return -XEN_ESRCH;
  if (!c.domain.isPrivileged) return -XEN_EPERM;
  const resource = resourceOf(c, d, x.type, x.id);
  if (typeof resource === 'number') return resource;
  if (x.frame_list === 0) {
    if (x.nr_frames !== 0 || start !== 0) return -XEN_EINVAL;
    return c.guest.writeStruct(xen_mem_acquire_resource, arg, { ...x, nr_frames: resource.size }) ? 0 : -XEN_EFAULT;
  }
  for (let i = start; i < x.nr_frames; i++) {
    const mfn = resource.frame(x.frame + i);
    if (mfn === INVALID_MFN) return -XEN_EINVAL;
    if (!c.domain.isTranslated) {
      if (!writeFrame(c, x.frame_list, i, mfn)) return -XEN_EFAULT;
      continue;
    }
    const gfn = readFrame(c, x.frame_list, i);
    if (gfn === -1) return -XEN_EFAULT;
    if (!isUsableGfn(gfn) || !c.hv.frames.getPage(mfn, d.id)) return -XEN_EINVAL;
    const rc = putForeign(c.hv, c.domain, gfn as Gfn, mfn);
    if (rc !== 0) return rc;
  }
  return 0;
}
