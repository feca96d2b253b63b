// grant_table_op: the table itself: its frames, its size and its version (xen/common/grant_table.c).

import {
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_virt_addr,
  GNTST_eagain,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
  GNTTAB_CACHE_CLEAN,
  GNTTAB_CACHE_INVAL,
  GNTTAB_NR_RESERVED_ENTRIES,
  GTF_permit_access,
  GTF_reading,
  GTF_transitive,
  GTF_type_mask,
  GTF_writing,
  gnttab_cache_flush,
  gnttab_get_status_frames,
  gnttab_get_version,
  gnttab_query_size,
  gnttab_set_version,
  gnttab_setup_table,
  gnttab_swap_grant_ref,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOMEM,
  XEN_EPERM,
  XEN_ERANGE,
  XEN_ESRCH,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import type { Maddr, Mfn } from '../core/ids.ts';
import type { HypercallContext } from './context.ts';
import { domainByAnyId, mayTarget } from './foreign-domain.ts';
import { writeFrame } from './memory-reservation.ts';

/** What a PV domain knows the frame by: itself; a translated domain: where it has mapped it. */
const frameName = (c: HypercallContext, d: Domain, mfn: Mfn): number => (d.isTranslated ? c.hv.frames.m2p.pfn(mfn) : mfn);

export function setupTable(c: HypercallContext, uop: number, count: number): number {
  if (count !== 1) return -XEN_EINVAL;
  const op = c.guest.readStruct(gnttab_setup_table, uop);
  if (op === null) return -XEN_EFAULT;
  const status = setup(c, op.dom, op.nr_frames, op.frame_list);
  return c.guest.writeStruct(gnttab_setup_table, uop, { ...op, status }) ? 0 : -XEN_EFAULT;
}

function setup(c: HypercallContext, dom: number, n: number, list: number): number {
  const d = domainByAnyId(c, dom);
  if (d === undefined) return GNTST_bad_domain;
  if (!mayTarget(c, d.id)) return GNTST_permission_denied;
  if (!d.grants.grow(n)) return GNTST_general_error;
  for (let i = 0; i < n; i++) if (!writeFrame(c, list, i, frameName(c, d, d.grants.shared[i]!))) return GNTST_bad_virt_addr;
  return GNTST_okay;
}

export function querySize(c: HypercallContext, uop: number, count: number): number {
  if (count !== 1) return -XEN_EINVAL;
  const op = c.guest.readStruct(gnttab_query_size, uop);
  if (op === null) return -XEN_EFAULT;
  const d = domainByAnyId(c, op.dom);
  let out = op;
  if (d === undefined) out = { ...op, status: GNTST_bad_domain };
  else if (!mayTarget(c, d.id)) out = { ...op, status: GNTST_permission_denied };
  else out = { ...op, nr_frames: d.grants.shared.length, max_nr_frames: d.grants.maxFrames, status: GNTST_okay };
  return c.guest.writeStruct(gnttab_query_size, uop, out) ? 0 : -XEN_EFAULT;
}

export function getStatusFrames(c: HypercallContext, uop: number, count: number): number {
  if (count !== 1) return -XEN_EINVAL;
  const op = c.guest.readStruct(gnttab_get_status_frames, uop);
  if (op === null) return -XEN_EFAULT;
  const status = statusFrames(c, op.dom, op.nr_frames, op.frame_list);
  return c.guest.writeStruct(gnttab_get_status_frames, uop, { ...op, status }) ? 0 : -XEN_EFAULT;
}

function statusFrames(c: HypercallContext, dom: number, n: number, list: number): number {
  const d = domainByAnyId(c, dom);
  if (d === undefined) return GNTST_bad_domain;
  if (!mayTarget(c, d.id)) return GNTST_permission_denied;
  if (n > d.grants.status.length) return GNTST_general_error;
  let status: number = GNTST_okay;
  for (let i = 0; i < n; i++) {
    // uint64_t in both layouts.
    if (!c.guest.write64(list + i * 8, frameName(c, d, d.grants.status[i]!), 0)) status = GNTST_bad_virt_addr;
  }
  return status;
}

export function getVersion(c: HypercallContext, uop: number): number {
  const op = c.guest.readStruct(gnttab_get_version, uop);
  if (op === null) return -XEN_EFAULT;
  const d = domainByAnyId(c, op.dom);
  if (d === undefined) return -XEN_ESRCH;
  if (!mayTarget(c, d.id)) return -XEN_EPERM;
  return c.guest.writeStruct(gnttab_get_version, uop, { ...op, version: d.grants.version }) ? 0 : -XEN_EFAULT;
}

export function setVersion(c: HypercallContext, uop: number): number {
  const op = c.guest.readStruct(gnttab_set_version, uop);
  if (op === null) return -XEN_EFAULT;
  const { grants } = c.domain;
  let rc = 0;
  if (op.version !== 1 && op.version !== 2) rc = -XEN_EINVAL;
  else if (op.version !== grants.version) rc = op.version === 2 ? toVersion2(c) : toVersion1(c);
  return c.guest.writeStruct(gnttab_set_version, uop, { version: grants.version }) ? rc : -XEN_EFAULT;
}

/** Grants in use beyond the reserved ones, which the toolstack keeps mapped, forbid a change of version. */
function isInUse(d: Domain): boolean {
  for (let ref = GNTTAB_NR_RESERVED_ENTRIES; ref < d.grants.entries; ref++) if (d.grants.isPinned(ref)) return true;
  return false;
}

interface Reserved {
  flags: number;
  domid: number;
  frame: number;
}

function toVersion2(c: HypercallContext): number {
  const { grants } = c.domain;
  const { ram } = c.hv;
  if (isInUse(c.domain)) return -XEN_EBUSY;
  const reserved: Reserved[] = [];
  const n = grants.shared.length === 0 ? 0 : GNTTAB_NR_RESERVED_ENTRIES;
  for (let ref = 0; ref < n; ref++) {
    reserved.push({ flags: grants.flags(ref), domid: grants.grantee(ref), frame: ram.read32((grants.entryAt(ref) + 4) as Maddr) });
  }
  grants.version = 2;
  if (!grants.populateStatus()) {
    grants.version = 1;
    return -XEN_ENOMEM;
  }
  clearTable(c);
  reserved.forEach((r, ref) => {
    const at = grants.entryAt(ref);
    ram.write16(at, r.flags & ~(GTF_reading | GTF_writing));
    ram.write16((at + 2) as Maddr, r.domid);
    ram.write32((at + 8) as Maddr, r.frame);
    ram.write16(grants.statusAt(ref), r.flags & (GTF_reading | GTF_writing));
  });
  return 0;
}

function toVersion1(c: HypercallContext): number {
  const { grants } = c.domain;
  const { ram } = c.hv;
  if (isInUse(c.domain)) return -XEN_EBUSY;
  const reserved: Reserved[] = [];
  const n = grants.shared.length === 0 ? 0 : GNTTAB_NR_RESERVED_ENTRIES;
  for (let ref = 0; ref < n; ref++) {
    const flags = grants.flags(ref);
    const at = grants.entryAt(ref);
    const type = flags & GTF_type_mask;
    if (type === GTF_transitive || (type === GTF_permit_access && ram.read32((at + 12) as Maddr) !== 0)) return -XEN_ERANGE;
    if (type !== GTF_permit_access) reserved.push({ flags: 0, domid: 0, frame: 0 });
    else
      reserved.push({
        flags: flags | ram.read16(grants.statusAt(ref)),
        domid: grants.grantee(ref),
        frame: ram.read32((at + 8) as Maddr),
      });
  }
  if (!grants.unpopulateStatus()) return -XEN_EBUSY;
  grants.version = 1;
  clearTable(c);
  reserved.forEach((r, ref) => {
    const at = grants.entryAt(ref);
    ram.write16(at, r.flags);
    ram.write16((at + 2) as Maddr, r.domid);
    ram.write32((at + 4) as Maddr, r.frame);
  });
  return 0;
}

function clearTable(c: HypercallContext): void {
  for (const f of c.domain.grants.shared) c.hv.ram.fill((f * 4096) as Maddr, 0, 4096);
}

export function swapGrantRefs(c: HypercallContext, uop: number, count: number): number {
  for (let i = 0; i < count; i++) {
    const op = c.guest.readStruct(gnttab_swap_grant_ref, uop, i);
    if (op === null) return -XEN_EFAULT;
    const status = swap(c, op.ref_a, op.ref_b);
    if (!c.guest.writeStruct(gnttab_swap_grant_ref, uop, { ...op, status }, i)) return -XEN_EFAULT;
  }
  return 0;
}

function swap(c: HypercallContext, a: number, b: number): number {
  const { grants } = c.domain;
  const { ram } = c.hv;
  if (a >= grants.entries || b >= grants.entries) return GNTST_bad_gntref;
  if (a === b) return GNTST_okay;
  if (grants.isPinned(a) || grants.isPinned(b)) return GNTST_eagain;
  const size = grants.version === 1 ? 8 : 16;
  const [x, y] = [ram.readBytes(grants.entryAt(a), size), ram.readBytes(grants.entryAt(b), size)];
  ram.writeBytes(grants.entryAt(a), y);
  ram.writeBytes(grants.entryAt(b), x);
  if (grants.version === 2) {
    const [p, q] = [ram.read16(grants.statusAt(a)), ram.read16(grants.statusAt(b))];
    ram.write16(grants.statusAt(a), q);
    ram.write16(grants.statusAt(b), p);
  }
  return GNTST_okay;
}

/** Caches are coherent here, so a permitted flush has nothing to do. */
export function cacheFlush(c: HypercallContext, uop: number, count: number): number {
  for (let i = 0; i < count; i++) {
    const op = c.guest.readStruct(gnttab_cache_flush, uop, i);
    if (op === null) return -XEN_EFAULT;
    if (op.offset >= 4096 || op.length > 4096 || op.offset + op.length > 4096) return -XEN_EINVAL;
    if (op.op & ~(GNTTAB_CACHE_INVAL | GNTTAB_CACHE_CLEAN)) return -XEN_EINVAL;
    if (op.length === 0 || op.op === 0) continue;
    const mfn = Math.floor(op.a.dev_bus_addr / 4096) as Mfn;
    if (!c.hv.frames.isValid(mfn)) return -XEN_EINVAL;
    const owner = c.hv.domain(c.hv.frames.owner[mfn]!);
    if (owner === undefined || c.hv.frames.refs[mfn] === 0) return -XEN_EPERM;
    if (owner !== c.domain && !hasMapped(c.domain, owner, mfn)) return -XEN_EINVAL;
  }
  return 0;
}

/** grant_map_exists(). */
function hasMapped(d: Domain, owner: Domain, mfn: Mfn): boolean {
  return d.grants.maptrack.some((m) => m.flags !== 0 && m.domid === owner.id && owner.grants.activeEntry(m.ref).mfn === mfn);
}
