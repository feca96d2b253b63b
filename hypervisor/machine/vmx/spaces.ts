// Under which number a processor keeps a guest's translations: one for each VPID with each EPT pointer (SDM Vol 3C, 28.4: combined mappings
// are tagged with both; this machine's TLB holds nothing but those).

export interface GuestSpace {
  readonly vpid: number;
  /** Frame of the EPT's root, -1 without EPT. */
  readonly ept: number;
  /** As NonRoot.space: not 0. */
  readonly space: number;
}

export class GuestSpaces {
  private readonly byKey = new Map<number, GuestSpace>();
  private last: GuestSpace | undefined = undefined;

  /** The number for a VPID (0 where VPIDs are off) and the frame of an EPT's root, -1 for none. */
  of(vpid: number, ept: number): number {
    const { last } = this;
    if (last !== undefined && last.vpid === vpid && last.ept === ept) return last.space;
    const key = (ept + 1) * 0x1_0000 + vpid;
    let s = this.byKey.get(key);
    if (s === undefined) {
      s = { vpid, ept, space: this.byKey.size + 1 };
      this.byKey.set(key, s);
    }
    this.last = s;
    return s.space;
  }

  each(f: (s: GuestSpace) => void): void {
    for (const s of this.byKey.values()) f(s);
  }
}
