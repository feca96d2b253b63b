// Grants that stay mapped because the frontend uses the same ones again (feature-persistent of blkif.h; Linux's xen-blkback,
// purge_persistent_gnt). There is a bound; where it is passed, and after a while without use, the least recently used ones go.

/** Linux's LRU_INTERVAL and LRU_PERCENT_CLEAN. */
const INTERVAL_NS = 100e6;
const PERCENT_CLEAN = 5;

export interface PersistentGrant {
  readonly gref: number;
  /** Where it is mapped: index into the pool of frames, and Xen's handle. */
  readonly slot: number;
  readonly handle: number;
  isActive: boolean;
  lastUsed: number;
}

export class PersistentGrants {
  private readonly grants = new Map<number, PersistentGrant>();
  private readonly max: number;
  private readonly unusedNs: number;
  private hasOverflowed = false;
  private nextPurge = 0;

  constructor(max: number, unusedNs: number) {
    this.max = max;
    this.unusedNs = unusedNs;
  }

  get count(): number {
    return this.grants.size;
  }

  /** The mapping of a grant, now in use; null when there is none or another segment is using it: then it is to be mapped for itself. */
  take(gref: number): PersistentGrant | null {
    const grant = this.grants.get(gref);
    if (grant === undefined || grant.isActive) return null;
    grant.isActive = true;
    return grant;
  }

  /** Keeps a mapping that was just made, in use. Null when there is no room, or one of this grant already. */
  add(gref: number, slot: number, handle: number, now: number): PersistentGrant | null {
    if (this.grants.has(gref)) return null;
    if (this.grants.size >= this.max) {
      this.hasOverflowed = true;
      return null;
    }
    const grant: PersistentGrant = { gref, slot, handle, isActive: true, lastUsed: now };
    this.grants.set(gref, grant);
    return grant;
  }

  put(grant: PersistentGrant, now: number): void {
    grant.isActive = false;
    grant.lastUsed = now;
  }

  /**
   * Takes out what is to be unmapped: grants unused for too long, and a twentieth of the bound when it was passed. To be called when there
   * was work: a timer of its own would keep the machine awake for nothing.
   */
  purge(now: number): PersistentGrant[] {
    if (now < this.nextPurge) return [];
    this.nextPurge = now + INTERVAL_NS;
    const { max } = this;
    const isFull = this.grants.size > max || (this.grants.size === max && this.hasOverflowed);
    const wanted = isFull ? this.grants.size - max + Math.floor(max / 100) * PERCENT_CLEAN : 0;
    const idle = [...this.grants.values()].filter((g) => !g.isActive).sort((a, b) => a.lastUsed - b.lastUsed);
    const purged = idle.filter((g, i) => i < wanted || now - g.lastUsed >= this.unusedNs);
    for (const g of purged) this.grants.delete(g.gref);
    if (purged.length > 0) this.hasOverflowed = false;
    return purged;
  }

  /** Takes out all. */
  clear(): PersistentGrant[] {
    const all = [...this.grants.values()];
    this.grants.clear();
    return all;
  }
}
