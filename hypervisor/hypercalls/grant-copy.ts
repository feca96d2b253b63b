// GNTTABOP_copy and GNTTABOP_transfer: moving bytes, or whole pages, between domains (gnttab_copy and gnttab_transfer of
// xen/common/grant_table.c). Consecutive copies from or to one grant keep it pinned.

import {
  type Abi,
  DOMID_SELF,
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
  GTF_accept_transfer,
  GTF_transfer_committed,
  GTF_transfer_completed,
  gnttab_copy,
  gnttab_copy_ptr,
  gnttab_transfer,
  XEN_EFAULT,
  XEN_EINVAL,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { PGT_writable_page } from '../core/frame-types.ts';
import { acquireForCopy, getPagedFrame, releaseForCopy } from '../core/grant-status.ts';
import { gfnToMfn } from '../core/guest-frame.ts';
import { type Gfn, INVALID_MFN, type Maddr, type Mfn } from '../core/ids.ts';
import { addPage } from '../core/p2m-physmap.ts';
import { flushTlbAll } from '../pv/mm-flush.ts';
import type { HypercallContext } from './context.ts';
import { domainByAnyId } from './foreign-domain.ts';

/** One side of a copy, claimed: a frame with a reference, the bytes of it that may be used, and how to let go. */
interface Side {
  domid: number;
  isGref: boolean;
  /** Grant reference or frame number. */
  what: number;
  mfn: Mfn;
  offset: number;
  length: number;
  readonly: boolean;
  domain: Domain;
}

function release(c: HypercallContext, s: Side | null): void {
  if (s === null) return;
  if (!s.readonly) c.hv.frames.putType(s.mfn);
  letGo(c, s);
}
function letGo(c: HypercallContext, s: Side): void {
  if (s.isGref) releaseForCopy(c.hv, s.domain, s.what, s.readonly);
  c.hv.frames.putPage(s.mfn);
}

export function copyGrants(c: HypercallContext, uop: number, count: number): number {
  let source: Side | null = null;
  let dest: Side | null = null;
  let rc = 0;
  const at = c.guest.abi === 'x86_64' ? AT.x86_64 : AT.x86_32;
  for (let i = 0; i < count; i++) {
    const bytes = c.guest.copyFrom(uop + i * at.size, at.size);
    if (bytes === null) {
      rc = -XEN_EFAULT;
      break;
    }
    const op = new DataView(bytes.buffer, bytes.byteOffset, at.size);
    const flags = op.getUint16(at.flags, true);
    const fromGref = (flags & GNTCOPY_source_gref) !== 0;
    const toGref = (flags & GNTCOPY_dest_gref) !== 0;
    let status: number = GNTST_okay;
    const s = claim(c, source, op.getUint16(at.sourceDomid, true), fromGref, whatOf(op, at.source, fromGref, at.frameBytes), true);
    if (typeof s === 'number') {
      status = s;
      source = null;
    } else {
      source = s;
      const d = claim(c, dest, op.getUint16(at.destDomid, true), toGref, whatOf(op, at.dest, toGref, at.frameBytes), false);
      if (typeof d === 'number') {
        status = d;
        dest = null;
      } else {
        dest = d;
        const from = op.getUint16(at.sourceOffset, true);
        status = copyBytes(c, source, from, dest, op.getUint16(at.destOffset, true), op.getUint16(at.length, true));
      }
    }
    if (status !== GNTST_okay) {
      release(c, source);
      release(c, dest);
      source = null;
      dest = null;
    }
    STATUS.setInt16(0, status, true);
    if (!c.guest.copyTo(uop + i * at.size + at.status, STATUS_BYTES)) {
      rc = -XEN_EFAULT;
      break;
    }
  }
  release(c, source);
  release(c, dest);
  return rc;
}

/** Where things are in a gnttab_copy: it is read as bytes and only its status written, since backends make a copy for each page of data. */
const layout = (abi: Abi) => {
  const [source, dest] = [gnttab_copy.offset('source', abi), gnttab_copy.offset('dest', abi)];
  const [domid, offset] = [gnttab_copy_ptr.offset('domid', abi), gnttab_copy_ptr.offset('offset', abi)];
  return {
    size: gnttab_copy.size(abi),
    source,
    sourceDomid: source + domid,
    sourceOffset: source + offset,
    dest,
    destDomid: dest + domid,
    destOffset: dest + offset,
    length: gnttab_copy.offset('len', abi),
    flags: gnttab_copy.offset('flags', abi),
    status: gnttab_copy.offset('status', abi),
    /** Of u.gmfn; u.ref is a word in either. */
    frameBytes: domid,
  };
};
const AT = { x86_64: layout('x86_64'), x86_32: layout('x86_32') };
/** A reference or a frame number. */
function whatOf(op: DataView, at: number, isGref: boolean, frameBytes: number): number {
  const low = op.getUint32(at, true);
  return isGref || frameBytes === 4 ? low : low + op.getUint32(at + 4, true) * 0x1_0000_0000;
}
const STATUS_BYTES = new Uint8Array(2);
const STATUS = new DataView(STATUS_BYTES.buffer);

/** The side as it is claimed already, or claimed anew (letting the old one go); a GNTST_* error otherwise. */
function claim(c: HypercallContext, old: Side | null, domid: number, isGref: boolean, what: number, readonly: boolean): Side | number {
  if (old !== null) {
    if (old.domid === domid && old.isGref === isGref && old.what === what) return old;
    release(c, old);
  }
  // Only one's own frames may be named by number.
  if (domid !== DOMID_SELF && !isGref) return GNTST_permission_denied;
  const d = domainByAnyId(c, domid);
  if (d === undefined) return GNTST_bad_domain;
  const { hv } = c;
  const { frames } = hv;
  let mfn: Mfn;
  let offset = 0;
  let length = 4096;
  if (isGref) {
    const g = acquireForCopy(hv, d, what, c.domain.id, readonly, true);
    if (g.status !== GNTST_okay) return g.status;
    ({ mfn, offset, length } = g);
  } else {
    mfn = getPagedFrame(hv, d, what, readonly);
    if (mfn === INVALID_MFN) return GNTST_bad_page;
  }
  const side: Side = { domid, isGref, what, mfn, offset, length, readonly, domain: d };
  if (readonly || frames.getType(mfn, PGT_writable_page) === 0) return side;
  letGo(c, side);
  return GNTST_general_error;
}

function copyBytes(c: HypercallContext, source: Side, from: number, dest: Side, to: number, length: number): number {
  if (from + length > 4096 || to + length > 4096) return GNTST_bad_copy_arg;
  if (from < source.offset || from + length > source.offset + source.length) return GNTST_general_error;
  if (to < dest.offset || to + length > dest.offset + dest.length) return GNTST_general_error;
  c.hv.ram.copy((dest.mfn * 4096 + to) as Maddr, (source.mfn * 4096 + from) as Maddr, length);
  return GNTST_okay;
}

export function transferPages(c: HypercallContext, uop: number, count: number): number {
  for (let i = 0; i < count; i++) {
    const op = c.guest.readStruct(gnttab_transfer, uop, i);
    if (op === null) return -XEN_EFAULT;
    const status = transferOne(c, op.mfn, op.domid, op.ref);
    if (!c.guest.writeStruct(gnttab_transfer, uop, { ...op, status }, i)) return -XEN_EFAULT;
  }
  return 0;
}

function transferOne(c: HypercallContext, gmfn: number, domid: number, ref: number): number {
  const { hv } = c;
  const { frames } = hv;
  const mfn = gfnToMfn(c.domain, gmfn);
  if (!frames.isValid(mfn)) return GNTST_bad_page;
  // The backends that gave pages away ran in a PV dom0. Ours is translated, which Xen would refuse (paging_mode_external in steal_page());
  // it alone may, so that page flipping can be compared with what came after it.
  const { isTranslated } = c.domain;
  const rc = frames.steal(c.domain, mfn, false, isTranslated && c.domain.isPrivileged);
  if (rc !== 0) return rc === -XEN_EINVAL ? GNTST_bad_page : GNTST_general_error;
  if (isTranslated) {
    c.domain.p2m.remove(gmfn as Gfn);
    frames.m2p.invalidate(mfn);
  }
  flushTlbAll(hv);
  // From here on the page is nobody's: a failure frees it.
  const lose = (status: number): number => {
    frames.giveBack(mfn);
    return status;
  };
  const e = hv.domain(domid);
  if (e === undefined) return lose(GNTST_bad_domain);
  if (e.isDying || e.totPages >= e.maxPages || !prepareForTransfer(c, e, ref)) return lose(GNTST_general_error);
  if (frames.assign(e, mfn) !== 0) return lose(GNTST_general_error);
  finishTransfer(c, e, ref, mfn);
  return GNTST_okay;
}

/** gnttab_prepare_for_transfer(). */
function prepareForTransfer(c: HypercallContext, e: Domain, ref: number): boolean {
  if (ref >= e.grants.entries) return false;
  if (e.grants.flags(ref) !== GTF_accept_transfer || e.grants.grantee(ref) !== c.domain.id) return false;
  c.hv.ram.write16(e.grants.entryAt(ref), GTF_accept_transfer | GTF_transfer_committed);
  return true;
}

function finishTransfer(c: HypercallContext, e: Domain, ref: number, mfn: Mfn): void {
  const { ram } = c.hv;
  const at = e.grants.entryAt(ref);
  const frameAt = (at + (e.grants.version === 1 ? 4 : 8)) as Maddr;
  addPage(c.hv, e, ram.read32(frameAt), mfn);
  if (!e.isTranslated) {
    ram.write32(frameAt, mfn);
    if (e.grants.version === 2) ram.write32((frameAt + 4) as Maddr, 0);
  }
  ram.write16(at, ram.read16(at) | GTF_transfer_completed);
}
