// The frame table: who owns each machine frame, how often it is referred to, and as what. All of PV's memory safety rests on it.
//
// Two counts per frame, as in Xen (the comment at the head of xen/arch/x86/mm.c): `refs` keeps a frame from being freed; `typeCount`
// counts uses in the frame's present type, which can change only while it is zero. A frame is thus never writable by a guest and a
// page table at once. Nothing here is preemptible, so Xen's PGT_partial and PGT_locked states do not exist.

import { DOMID_IO, DOMID_XEN, XEN_E2BIG, XEN_EINVAL, XEN_EOPNOTSUPP } from '@ringworld/abi';
import type { Maddr, Mfn } from '../machine/addresses.ts';
import type { Ram } from '../machine/mmu/ram.ts';
import { FrameAllocator } from './frame-allocator.ts';
import {
  NO_OWNER,
  type PageOwner,
  type PageTypeValidator,
  PGC_allocated,
  PGC_xen_heap,
  PGT_l4_page_table,
  PGT_none,
  PGT_pae_xen_l2,
  PGT_pinned,
  PGT_shared_page,
  PGT_validated,
  PGT_writable_page,
} from './frame-types.ts';
import { INVALID_MFN } from './ids.ts';
import { MachPhys } from './p2m-machphys.ts';

/** The first MiB of a PC is I/O space to Xen whatever the e820 says (arch_init_memory). */
const LOW_IO_FRAMES = 0x100;

export class FrameTable {
  readonly ram: Ram;
  /** Frames of RAM: max_page. */
  readonly size: number;
  readonly type: Uint8Array;
  readonly typeFlags: Uint8Array;
  readonly typeCount: Uint32Array;
  readonly refs: Uint32Array;
  readonly refFlags: Uint8Array;
  /** Domain ids. */
  readonly owner: Uint16Array;
  /** Freed and not yet cleared: that is done when the frame is used again (as Xen scrubs, lazily), if it ever is. */
  private readonly needsScrub: Uint8Array;
  /** Positive: linear entries that this table holds; negative: uses of this table as a linear one (XSA-240). */
  readonly linear: Int16Array;
  /** TLB epoch in which the last writable mapping, or the last reference, went away. */
  private readonly stamp: Uint32Array;
  private epoch = 1;
  readonly heap: FrameAllocator;
  readonly m2p: MachPhys;
  private readonly domains: (PageOwner | undefined)[] = [];

  validator: PageTypeValidator = {
    validate: () => -XEN_EINVAL,
    devalidate: () => {},
  };
  /** Drops all translations of all address spaces on all CPUs. */
  flushTlbs: () => void;

  constructor(ram: Ram, flushTlbs: () => void = () => {}) {
    this.ram = ram;
    this.flushTlbs = flushTlbs;
    const n = ram.size / 4096;
    this.size = n;
    this.type = new Uint8Array(n);
    this.typeFlags = new Uint8Array(n);
    this.typeCount = new Uint32Array(n);
    this.refs = new Uint32Array(n);
    this.refFlags = new Uint8Array(n);
    this.owner = new Uint16Array(n).fill(NO_OWNER);
    this.needsScrub = new Uint8Array(n);
    this.linear = new Int16Array(n);
    this.stamp = new Uint32Array(n);
    this.heap = new FrameAllocator(n);
    for (let f = 0; f < Math.min(LOW_IO_FRAMES, n); f++) {
      this.heap.reserve(f);
      this.refs[f] = 1;
      this.refFlags[f] = PGC_allocated;
      this.owner[f] = DOMID_IO;
      this.type[f] = PGT_writable_page;
      this.typeFlags[f] = PGT_validated;
      this.typeCount[f] = 1;
    }
    this.m2p = new MachPhys(this);
  }

  register(domain: PageOwner): void {
    this.domains[domain.id] = domain;
  }
  unregister(domain: PageOwner): void {
    delete this.domains[domain.id];
  }
  domain(domid: number): PageOwner | undefined {
    return this.domains[domid];
  }
  *registered(): Generator<PageOwner> {
    for (const d of this.domains) if (d) yield d;
  }

  /** mfn_valid(). */
  isValid(mfn: number): boolean {
    return mfn >= 0 && mfn < this.size;
  }

  // --- references

  /** A reference to a frame of that domain; false when it is not the domain's, or not a frame. */
  getPage(mfn: number, domid: number): boolean {
    if (!(mfn >= 0 && mfn < this.size) || this.owner[mfn] !== domid || this.refs[mfn] === 0) return false;
    this.refs[mfn]!++;
    return true;
  }

  putPage(mfn: Mfn): void {
    const n = this.refs[mfn]! - 1;
    this.refs[mfn] = n;
    if (n === 0) this.release(mfn);
  }

  /** Drops the reference that being allocated is: what freeing a page by its owner comes down to. */
  putAllocated(mfn: Mfn): void {
    if (!(this.refFlags[mfn]! & PGC_allocated)) return;
    this.refFlags[mfn] = this.refFlags[mfn]! & ~PGC_allocated;
    this.putPage(mfn);
  }

  /** get_page_type(): one more use as `type`; validates on the first. 0 or -XEN_EINVAL (or what validation said). */
  getType(mfn: Mfn, type: number, pae = 0): number {
    const count = this.typeCount[mfn]!;
    const flags = this.typeFlags[mfn]!;
    if (count === 0) {
      if (this.type[mfn] !== type || pae !== 0) this.changeType(mfn, type, pae);
      this.typeCount[mfn] = 1;
    } else {
      if (this.type[mfn] !== type || (flags & PGT_pae_xen_l2) !== pae || !(flags & PGT_validated)) return -XEN_EINVAL;
      this.typeCount[mfn] = count + 1;
      return 0;
    }
    if (this.typeFlags[mfn]! & PGT_validated) return 0;
    this.linear[mfn] = 0;
    const rc = this.validator.validate(mfn, type, pae);
    if (rc === 0) {
      this.typeFlags[mfn] = this.typeFlags[mfn]! | PGT_validated;
      return 0;
    }
    this.type[mfn] = PGT_none;
    this.typeFlags[mfn] = 0;
    this.typeCount[mfn] = 0;
    return rc;
  }

  /** `parent`: the table whose entry goes away, so that a linear use is told from a real one. */
  putType(mfn: Mfn, parent: Mfn = INVALID_MFN): void {
    const type = this.type[mfn]!;
    const isLinear = parent !== INVALID_MFN && this.type[parent] === type;
    if (this.typeCount[mfn] === 1) {
      if (type >= 1 && type <= PGT_l4_page_table && this.typeFlags[mfn]! & PGT_validated) {
        this.tableGeneration++;
        this.typeFlags[mfn] = this.typeFlags[mfn]! & ~PGT_validated;
        this.validator.devalidate(mfn, type);
        this.typeFlags[mfn] = this.typeFlags[mfn]! & ~PGT_pae_xen_l2;
      }
      this.stamp[mfn] = this.epoch;
    }
    if (isLinear) {
      this.linear[mfn]!++;
      this.linear[parent]!--;
    }
    this.typeCount[mfn]!--;
  }

  /** get_page_and_type_from_mfn(). */
  getPageAndType(mfn: number, type: number, domid: number, pae = 0): number {
    if (!this.getPage(mfn, domid)) return -XEN_EINVAL;
    const rc = this.getType(mfn as Mfn, type, pae);
    if (rc !== 0) this.putPage(mfn as Mfn);
    return rc;
  }
  putPageAndType(mfn: Mfn, parent: Mfn = INVALID_MFN): void {
    this.putType(mfn, parent);
    this.putPage(mfn);
  }

  // --- allocation

  /** Frames without an owner, `1 << order` of them in a row, aligned; INVALID_MFN when there are none. */
  alloc(order: number, below = this.size): Mfn {
    const mfn = this.heap.alloc(order, below);
    if (mfn !== INVALID_MFN) this.prepare(mfn, 1 << order);
    return mfn;
  }

  /** Frames for the hypervisor itself, from the top of memory. Zeroed. */
  allocXen(order = 0): Mfn {
    const mfn = this.heap.allocTop(order);
    if (mfn === INVALID_MFN) return mfn;
    this.prepare(mfn, 1 << order);
    for (let i = 0; i < 1 << order; i++) this.owner[mfn + i] = DOMID_XEN;
    return mfn;
  }
  freeXen(mfn: Mfn, order = 0): void {
    for (let i = 0; i < 1 << order; i++) this.giveBack((mfn + i) as Mfn);
  }

  /** assign_pages(): gives unowned frames to a domain. -XEN_E2BIG over its limit, -XEN_EINVAL when it is dying. */
  assign(domain: PageOwner, mfn: Mfn, order = 0, noRefcount = false): number {
    const n = 2 ** order;
    if (domain.isDying) return -XEN_EINVAL;
    if (!noRefcount) {
      if (domain.totPages + n > domain.maxPages) return -XEN_E2BIG;
      domain.totPages += n;
    }
    for (let i = 0; i < n; i++) {
      const f = (mfn + i) as Mfn;
      this.owner[f] = domain.id;
      this.refs[f] = 1;
      this.refFlags[f] = PGC_allocated;
      domain.pageList.add(f);
    }
    return 0;
  }

  /** alloc_domheap_pages(). INVALID_MFN when out of memory or over the domain's limit. */
  allocForDomain(domain: PageOwner, order = 0, below = this.size): Mfn {
    const mfn = this.alloc(order, below);
    if (mfn === INVALID_MFN) return mfn;
    if (this.assign(domain, mfn, order) === 0) return mfn;
    for (let i = 0; i < 1 << order; i++) this.giveBack((mfn + i) as Mfn);
    return INVALID_MFN;
  }

  /** share_xen_page_with_guest(): a frame of the hypervisor's that the domain may map. Freed by unshare() when the last mapping is gone. */
  share(mfn: Mfn, domid: number, writable: boolean): void {
    this.type[mfn] = writable ? PGT_writable_page : PGT_none;
    this.typeFlags[mfn] = PGT_validated;
    this.typeCount[mfn] = 1;
    this.owner[mfn] = domid;
    this.refs[mfn] = 1;
    this.refFlags[mfn] = PGC_allocated | PGC_xen_heap;
    this.m2p.invalidate(mfn);
  }
  /** A new zeroed page shared with the domain (shared_info, grant table frames). */
  allocShared(domid: number, writable = true): Mfn {
    const mfn = this.allocXen(0);
    if (mfn !== INVALID_MFN) this.share(mfn, domid, writable);
    return mfn;
  }
  /** Takes such a frame back: at once, or when the last mapping of it is gone; until then nobody can make new ones. */
  unshare(mfn: Mfn): void {
    if (this.refs[mfn]! > 1) this.owner[mfn] = DOMID_XEN;
    this.putAllocated(mfn);
  }

  /**
   * steal_page(): takes a frame that is referred to by nothing but its allocation out of its domain. Xen refuses that to translated domains;
   * with `evenTranslated` it is done, and the caller sees to the p2m.
   */
  steal(domain: PageOwner, mfn: Mfn, noRefcount = false, evenTranslated = false): number {
    if (domain.isTranslated && !evenTranslated) return -XEN_EOPNOTSUPP;
    if (!this.isValid(mfn) || this.owner[mfn] !== domain.id || this.refFlags[mfn] !== PGC_allocated || this.refs[mfn] !== 1) {
      return -XEN_EINVAL;
    }
    this.detach(mfn, noRefcount);
    return 0;
  }
  /** Frees a frame that steal() took, or that alloc() gave and nobody got. */
  giveBack(mfn: Mfn): void {
    this.clear(mfn);
    this.needsScrub[mfn] = 1;
    this.stamp[mfn] = this.epoch;
    this.m2p.invalidate(mfn);
    this.heap.free(mfn);
  }

  isXenHeap(mfn: Mfn): boolean {
    return (this.refFlags[mfn]! & PGC_xen_heap) !== 0;
  }
  isPinned(mfn: Mfn): boolean {
    return (this.typeFlags[mfn]! & PGT_pinned) !== 0;
  }
  isValidated(mfn: Mfn): boolean {
    return (this.typeFlags[mfn]! & PGT_validated) !== 0;
  }

  // --- TLB discipline

  /**
   * Counts what makes translations untrue: present entries of page tables in use that are changed or taken away, tables that go out of use.
   * While it stands still, a TLB that was flushed has nothing in it that a flush would have to take out.
   */
  tableGeneration = 0;

  /** To be called when all translations of all CPUs have been dropped for another reason: spares a flush later. */
  noteFlushed(): void {
    this.epoch++;
  }
  flush(): void {
    this.epoch++;
    this.flushTlbs();
  }

  /** Before frames have a new user: nothing of the old one's is left in them, nor in a TLB. */
  private prepare(mfn: Mfn, n: number): void {
    for (let f = mfn as number; f < mfn + n; f++) {
      if (!this.needsScrub[f]) continue;
      this.needsScrub[f] = 0;
      this.ram.fill((f * 4096) as Maddr, 0, 4096);
    }
    this.flushStale(mfn, n);
  }
  private flushStale(mfn: Mfn, n: number): void {
    for (let i = 0; i < n; i++) {
      if (this.stamp[mfn + i] === this.epoch) {
        this.flush();
        return;
      }
    }
  }

  /**
   * Xen flushes the CPUs that may hold stale translations of a frame that changes type (_get_page_type). Only two kinds matter to
   * safety: a writable translation of a frame that becomes something else, and translations cached under a root that is made anew.
   */
  private changeType(mfn: Mfn, type: number, pae: number): void {
    const old = this.type[mfn]!;
    if (this.stamp[mfn] === this.epoch && (old === PGT_writable_page || type === PGT_l4_page_table)) this.flush();
    this.type[mfn] = type;
    const keep = this.typeFlags[mfn]! & ~(PGT_validated | PGT_pae_xen_l2);
    this.typeFlags[mfn] = keep | pae | (type === PGT_writable_page || type === PGT_shared_page ? PGT_validated : 0);
  }

  private release(mfn: Mfn): void {
    this.detach(mfn, false);
    this.giveBack(mfn);
  }

  private detach(mfn: Mfn, noRefcount: boolean): void {
    if (!(this.refFlags[mfn]! & PGC_xen_heap)) {
      const d = this.domains[this.owner[mfn]!];
      if (d?.pageList.delete(mfn) && !noRefcount) d.totPages--;
    }
    this.clear(mfn);
    this.stamp[mfn] = this.epoch;
  }

  private clear(mfn: Mfn): void {
    this.owner[mfn] = NO_OWNER;
    this.refs[mfn] = 0;
    this.refFlags[mfn] = 0;
    this.type[mfn] = PGT_none;
    this.typeFlags[mfn] = 0;
    this.typeCount[mfn] = 0;
    this.linear[mfn] = 0;
  }
}
