// The grant table of a domain: the frames that it shares with the hypervisor, what is in use of them, and what the domain has mapped of
// others (xen/common/grant_table.c, 4.17).
//
// The shared entries are the guest's to write at any time; what the hypervisor trusts is the active entry, filled when a grant is first
// pinned and unchanged until it is unpinned. The guest may not withdraw a grant while GTF_reading or GTF_writing is set in its entry.

import { GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly, GTF_reading, GTF_writing } from '@ringworld/abi';
import type { Domain } from './domain.ts';
import type { FrameTable } from './frame-table.ts';
import { DEFAULT_MAX_GRANT_FRAMES, DEFAULT_MAX_MAPTRACK_FRAMES, MAPTRACK_PER_FRAME, PIN, STATUS_PER_FRAME } from './grant-limits.ts';
import type { Hypervisor } from './hypervisor.ts';
import { INVALID_MFN, type Maddr, type Mfn } from './ids.ts';

/** A grant that is pinned; `pin` packs four 8-bit counts as Xen's GNTPIN_* (grant-limits.ts). */
export interface ActiveGrant {
  pin: number;
  /** Who may use it. */
  domid: number;
  mfn: Mfn;
  start: number;
  length: number;
  isSubPage: boolean;
  /** The grant that a transitive one goes back to; the grant itself otherwise. */
  transDomid: number;
  transRef: number;
}

/** What this domain has mapped: an entry of its maptrack, whose index is the handle. flags 0: free. */
export interface GrantMapping {
  domid: number;
  ref: number;
  flags: number;
}

export class GrantTable {
  readonly domain: Domain;
  private readonly hv: Hypervisor;
  version: 1 | 2 = 1;
  maxFrames = DEFAULT_MAX_GRANT_FRAMES;
  maxMaptrack = DEFAULT_MAX_MAPTRACK_FRAMES * MAPTRACK_PER_FRAME;
  readonly shared: Mfn[] = [];
  readonly status: Mfn[] = [];
  private readonly active: (ActiveGrant | undefined)[] = [];
  readonly maptrack: GrantMapping[] = [];
  private readonly freeHandles: number[] = [];

  constructor(hv: Hypervisor, domain: Domain) {
    this.hv = hv;
    this.domain = domain;
    // A table has a frame from the start (INITIAL_NR_GRANT_FRAMES); for want of memory it gets it later.
    this.grow(1);
  }

  private get frames(): FrameTable {
    return this.hv.frames;
  }

  // --- frames

  /** nr_grant_entries(). */
  get entries(): number {
    return this.shared.length * (this.version === 1 ? 512 : 256);
  }
  /** grant_to_status_frames(): how many a table of n frames needs. */
  statusFramesFor(n: number): number {
    return Math.ceil((n * 256) / STATUS_PER_FRAME);
  }
  get maxStatusFrames(): number {
    return this.statusFramesFor(this.maxFrames);
  }

  /** gnttab_grow_table(): at least `n` frames; false when that is over the limit or memory is out. */
  grow(n: number): boolean {
    const want = Math.max(n, 1);
    if (want > this.maxFrames) return false;
    while (this.shared.length < want) {
      const mfn = this.frames.allocShared(this.domain.id);
      if (mfn === INVALID_MFN) return false;
      this.shared.push(mfn);
    }
    return this.version === 1 || this.populateStatus();
  }
  populateStatus(): boolean {
    while (this.status.length < this.statusFramesFor(this.shared.length)) {
      const mfn = this.frames.allocShared(this.domain.id);
      if (mfn === INVALID_MFN) return false;
      this.status.push(mfn);
    }
    return true;
  }
  /** gnttab_unpopulate_status_frames(): false while the guest still maps one of them. */
  unpopulateStatus(): boolean {
    if (this.status.some((f) => this.frames.refs[f] !== 1)) return false;
    for (const f of this.status.splice(0)) this.frames.unshare(f);
    return true;
  }
  sharedFrame(i: number, grow: boolean): Mfn {
    if (grow && i >= this.shared.length && !this.grow(i + 1)) return INVALID_MFN;
    return this.shared[i] ?? INVALID_MFN;
  }
  statusFrame(i: number, grow: boolean): Mfn {
    if (this.version !== 2) return INVALID_MFN;
    if (grow && i >= this.status.length && !this.grow(Math.ceil(((i + 1) * STATUS_PER_FRAME) / 256))) return INVALID_MFN;
    return this.status[i] ?? INVALID_MFN;
  }

  // --- entries as they lie in the shared pages

  entryAt(ref: number): Maddr {
    const perFrame = this.version === 1 ? 512 : 256;
    const size = 4096 / perFrame;
    return (this.shared[Math.floor(ref / perFrame)]! * 4096 + (ref % perFrame) * size) as Maddr;
  }
  /** Where GTF_reading and GTF_writing of an entry are: in its flags, or in the status frames of version 2. */
  statusAt(ref: number): Maddr {
    if (this.version === 1) return this.entryAt(ref);
    return (this.status[Math.floor(ref / STATUS_PER_FRAME)]! * 4096 + (ref % STATUS_PER_FRAME) * 2) as Maddr;
  }
  flags(ref: number): number {
    return this.hv.ram.read16(this.entryAt(ref));
  }
  grantee(ref: number): number {
    return this.hv.ram.read16((this.entryAt(ref) + 2) as Maddr);
  }
  clearStatus(ref: number, flags: number): void {
    if (flags === 0) return;
    const at = this.statusAt(ref);
    this.hv.ram.write16(at, this.hv.ram.read16(at) & ~flags);
  }

  activeEntry(ref: number): ActiveGrant {
    let a = this.active[ref];
    if (a === undefined) {
      a = { pin: 0, domid: 0, mfn: INVALID_MFN, start: 0, length: 0, isSubPage: false, transDomid: 0, transRef: 0 };
      this.active[ref] = a;
    }
    return a;
  }
  isPinned(ref: number): boolean {
    return (this.active[ref]?.pin ?? 0) !== 0;
  }

  // --- maptrack

  /** -1 when the domain has mapped as much as it may. */
  getHandle(): number {
    const free = this.freeHandles.pop();
    if (free !== undefined) return free;
    if (this.maptrack.length >= this.maxMaptrack) return -1;
    this.maptrack.push({ domid: 0, ref: 0, flags: 0 });
    return this.maptrack.length - 1;
  }
  putHandle(handle: number): void {
    const m = this.maptrack[handle]!;
    m.flags = 0;
    this.freeHandles.push(handle);
  }

  /**
   * gnttab_release_mappings(): the domain is dying and lets go of what it mapped. Of a PV domain the host mappings' page references
   * go with its page tables, so only the pins go here.
   */
  release(): void {
    for (let handle = 0; handle < this.maptrack.length; handle++) {
      const m = this.maptrack[handle]!;
      if (!(m.flags & (GNTMAP_device_map | GNTMAP_host_map))) continue;
      const rd = this.hv.domain(m.domid);
      if (rd) this.releaseOne(m, rd);
      this.putHandle(handle);
    }
  }

  private releaseOne(m: GrantMapping, rd: Domain): void {
    const { frames } = this;
    const act = rd.grants.activeEntry(m.ref);
    const readonly = (m.flags & GNTMAP_readonly) !== 0;
    const external = this.domain.isTranslated;
    if (m.flags & GNTMAP_device_map) {
      act.pin -= readonly ? PIN.devr : PIN.devw;
      if (!readonly) frames.putType(act.mfn);
      frames.putPage(act.mfn);
    }
    if (m.flags & GNTMAP_host_map) {
      act.pin -= readonly ? PIN.hstr : PIN.hstw;
      if (external) {
        if (!readonly && (this.domain === rd || !rd.isTranslated)) frames.putType(act.mfn);
        frames.putPage(act.mfn);
      }
    }
    let clear = 0;
    if (!readonly && !(act.pin & PIN.writeMask)) clear |= GTF_writing;
    if (act.pin === 0) clear |= GTF_reading;
    rd.grants.clearStatus(m.ref, clear);
  }

  /** The domain is gone for good: its frames go back. */
  destroy(): void {
    for (const f of this.shared.splice(0)) this.frames.unshare(f);
    for (const f of this.status.splice(0)) this.frames.unshare(f);
  }
}
