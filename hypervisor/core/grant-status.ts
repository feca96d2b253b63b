// Pinning and unpinning a grant: the protocol on the shared entry's flags (_set_status, acquire_grant_for_copy of
// xen/common/grant_table.c). The entry is read once: a guest that changes it meanwhile has changed it too late.

import {
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_type_mask,
  GTF_writing,
} from '@ringworld/abi';
import type { Domain } from './domain.ts';
import { PIN } from './grant-limits.ts';
import type { ActiveGrant } from './grant-table.ts';
import type { Hypervisor } from './hypervisor.ts';
import { type Gfn, INVALID_MFN, type Maddr, type Mfn } from './ids.ts';
import { P2M_TYPES } from './p2m.ts';

/** _set_status(): sets GTF_reading, and GTF_writing unless `readonly`, if the entry allows it for `grantee`. */
export function setStatus(
  hv: Hypervisor,
  rd: Domain,
  ref: number,
  act: ActiveGrant,
  readonly: boolean,
  isMap: boolean,
  grantee: number,
): number {
  const { grants } = rd;
  const flags = grants.flags(ref);
  const mask = isMap ? GTF_type_mask | GTF_sub_page : GTF_type_mask;
  if (act.pin === 0) {
    const type = flags & mask;
    const fits = type === GTF_permit_access || (grants.version === 2 && type === GTF_transitive);
    if (!fits || grants.grantee(ref) !== grantee) return GNTST_general_error;
  }
  if (!readonly && flags & GTF_readonly) return GNTST_general_error;
  const at = grants.statusAt(ref);
  hv.ram.write16(at, hv.ram.read16(at) | (readonly ? GTF_reading : GTF_reading | GTF_writing));
  return GNTST_okay;
}

/** After pins went away, or a status was set in vain: takes back what the pins no longer warrant. */
export function fixStatus(rd: Domain, ref: number, act: ActiveGrant, wasWrite: boolean): void {
  let clear = 0;
  if (wasWrite && !(act.pin & PIN.writeMask)) clear |= GTF_writing;
  if (act.pin === 0) clear |= GTF_reading;
  rd.grants.clearStatus(ref, clear);
}

/** get_paged_frame(): the frame behind a guest's gfn, with a reference; INVALID_MFN for GNTST_bad_page. */
export function getPagedFrame(hv: Hypervisor, d: Domain, gfn: number, readonly: boolean): Mfn {
  let mfn = gfn as Mfn;
  if (d.isTranslated) {
    const type = d.p2m.type(gfn as Gfn);
    if (type !== P2M_TYPES.ram_rw && !(readonly && type === P2M_TYPES.ram_ro)) return INVALID_MFN;
    mfn = d.p2m.mfn(gfn as Gfn);
  }
  return hv.frames.getPage(mfn, d.id) ? mfn : INVALID_MFN;
}

/** The frame number that an entry names. */
export function grantFrame(hv: Hypervisor, rd: Domain, ref: number): number {
  const at = rd.grants.entryAt(ref);
  if (rd.grants.version === 1) return hv.ram.read32((at + 4) as Maddr);
  return hv.ram.read32((at + 12) as Maddr) * 0x1_0000_0000 + hv.ram.read32((at + 8) as Maddr);
}

export interface CopyGrant {
  status: number;
  /** With a reference when status is GNTST_okay. */
  mfn: Mfn;
  offset: number;
  length: number;
}
const failed = (status: number): CopyGrant => ({ status, mfn: INVALID_MFN, offset: 0, length: 0 });

/** A status that was set in vain. */
function withdraw(rd: Domain, ref: number, act: ActiveGrant, readonly: boolean, status: number): CopyGrant {
  fixStatus(rd, ref, act, !readonly);
  return failed(status);
}

/** acquire_grant_for_copy(): pins a grant of rd for the domain `grantee`. Undone by releaseForCopy() and putPage(). */
export function acquireForCopy(
  hv: Hypervisor,
  rd: Domain,
  ref: number,
  grantee: number,
  readonly: boolean,
  allowTransitive: boolean,
): CopyGrant {
  const { grants } = rd;
  const { ram, frames } = hv;
  if (ref >= grants.entries) return failed(GNTST_bad_gntref);
  const act = grants.activeEntry(ref);
  if (act.pin !== 0 && (act.domid !== grantee || act.pin & PIN.overflowMask)) return failed(GNTST_general_error);
  const mustSet = act.pin === 0 || (!readonly && !(act.pin & PIN.writeMask));
  const at = grants.entryAt(ref);

  let mfn: Mfn;
  if (grants.version === 2 && (grants.flags(ref) & GTF_type_mask) === GTF_transitive) {
    if (mustSet) {
      const rc = setStatus(hv, rd, ref, act, readonly, false, grantee);
      if (rc !== GNTST_okay) return failed(rc);
    }
    const transDomid = ram.read16((at + 4) as Maddr);
    const transRef = ram.read32((at + 8) as Maddr);
    if (!allowTransitive || transDomid === rd.id) return withdraw(rd, ref, act, readonly, GNTST_general_error);
    const td = hv.domain(transDomid);
    if (td === undefined) return withdraw(rd, ref, act, readonly, GNTST_general_error);
    const t = acquireForCopy(hv, td, transRef, rd.id, readonly, false);
    if (t.status !== GNTST_okay) return withdraw(rd, ref, act, readonly, t.status);
    mfn = t.mfn;
    if (act.pin === 0) fillActive(act, grantee, mfn, t.offset, t.length, true, transDomid, transRef);
    else if (act.mfn !== mfn || act.transDomid !== transDomid || act.transRef !== transRef || !act.isSubPage) {
      releaseForCopy(hv, td, transRef, readonly);
      frames.putPage(mfn);
      return withdraw(rd, ref, act, readonly, GNTST_general_error);
    }
  } else if (mustSet) {
    const rc = setStatus(hv, rd, ref, act, readonly, false, grantee);
    if (rc !== GNTST_okay) return failed(rc);
    const isSubPage = grants.version === 2 && (grants.flags(ref) & GTF_sub_page) !== 0;
    const offset = isSubPage ? ram.read16((at + 4) as Maddr) : 0;
    const length = isSubPage ? ram.read16((at + 6) as Maddr) : 4096;
    mfn = getPagedFrame(hv, rd, grantFrame(hv, rd, ref), readonly);
    if (mfn === INVALID_MFN) return withdraw(rd, ref, act, readonly, GNTST_bad_page);
    if (act.pin === 0) fillActive(act, grantee, mfn, offset, length, isSubPage, rd.id, ref);
    else if (act.mfn !== mfn) {
      // The entry was rewritten under a read pin; what is pinned is what counts.
      frames.putPage(mfn);
      mfn = act.mfn;
      if (!frames.getPage(mfn, rd.id)) return withdraw(rd, ref, act, readonly, GNTST_bad_domain);
    }
  } else {
    mfn = act.mfn;
    if (rd.isDying || !frames.getPage(mfn, rd.id)) return withdraw(rd, ref, act, readonly, GNTST_bad_domain);
  }
  act.pin += readonly ? PIN.hstr : PIN.hstw;
  return { status: GNTST_okay, mfn, offset: act.start, length: act.length };
}

/** What is trusted of a grant from now on until its last pin is gone. */
export function fillActive(
  act: ActiveGrant,
  domid: number,
  mfn: Mfn,
  start: number,
  length: number,
  isSubPage: boolean,
  transDomid: number,
  transRef: number,
): void {
  act.domid = domid;
  act.mfn = mfn;
  act.start = start;
  act.length = length;
  act.isSubPage = isSubPage;
  act.transDomid = transDomid;
  act.transRef = transRef;
}

/** release_grant_for_copy(): page references are the caller's. */
export function releaseForCopy(hv: Hypervisor, rd: Domain, ref: number, readonly: boolean): void {
  const act = rd.grants.activeEntry(ref);
  const { transDomid, transRef } = act;
  act.pin -= readonly ? PIN.hstr : PIN.hstw;
  fixStatus(rd, ref, act, !readonly);
  if (rd.grants.version === 2 && transDomid !== rd.id) {
    const td = hv.domain(transDomid);
    if (td) releaseForCopy(hv, td, transRef, readonly);
  }
}
