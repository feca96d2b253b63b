// The p2m of a translated domain: guest frame number -> machine frame and what kind of mapping that is.
//
// Our dom0 is such a domain; its gfn space holds its RAM, foreign frames (XENMAPSPACE_gmfn_foreign) and mapped grants. The entries
// alone carry no page references: whoever adds an entry of a frame that is not the domain's own holds one for it.

import { type Gfn, INVALID_MFN, type Mfn } from './ids.ts';

/** Kinds of entries, the subset of xen/arch/x86/include/asm/p2m.h (p2m_type_t) that is in use. */
export const P2M_TYPES = {
  invalid: 0,
  ram_rw: 1,
  ram_ro: 2,
  map_foreign: 3,
  grant_map_rw: 4,
  grant_map_ro: 5,
  ram_logdirty: 6,
  mmio_dm: 7,
  ioreq_server: 8,
} as const;
export type P2mType = (typeof P2M_TYPES)[keyof typeof P2M_TYPES];

const GROW = 4096;

export class P2m {
  private frames = new Int32Array(GROW).fill(-1);
  private types = new Uint8Array(GROW);
  /** Told of every change of an entry, after it (HVM: nested or shadow tables follow it). */
  onChange: ((gfn: Gfn, oldType: P2mType) => void) | null = null;

  /** INVALID_MFN where nothing is mapped. */
  mfn(gfn: Gfn): Mfn {
    return (this.frames[gfn] ?? INVALID_MFN) as Mfn;
  }
  type(gfn: Gfn): P2mType {
    return (this.types[gfn] ?? P2M_TYPES.invalid) as P2mType;
  }
  isWritable(gfn: Gfn): boolean {
    const t = this.type(gfn);
    return t === P2M_TYPES.ram_rw || t === P2M_TYPES.ram_logdirty || t === P2M_TYPES.map_foreign || t === P2M_TYPES.grant_map_rw;
  }
  set(gfn: Gfn, mfn: Mfn, type: P2mType): void {
    if (gfn >= this.frames.length) this.grow(gfn);
    const oldType = this.types[gfn] as P2mType;
    const isChange = oldType !== type || this.frames[gfn] !== mfn;
    this.frames[gfn] = mfn;
    this.types[gfn] = type;
    if (isChange) this.onChange?.(gfn, oldType);
  }
  remove(gfn: Gfn): void {
    if (gfn < this.frames.length) this.set(gfn, INVALID_MFN, P2M_TYPES.invalid);
  }
  /** One past the highest gfn that may be mapped. */
  get size(): number {
    return this.frames.length;
  }
  *entries(): Generator<{ gfn: Gfn; mfn: Mfn; type: P2mType }> {
    for (let g = 0; g < this.frames.length; g++) {
      const mfn = this.frames[g]!;
      if (mfn !== -1) yield { gfn: g as Gfn, mfn: mfn as Mfn, type: this.types[g]! as P2mType };
    }
  }

  private grow(gfn: number): void {
    const size = Math.ceil((gfn + 1) / GROW) * GROW;
    const frames = new Int32Array(size).fill(-1);
    frames.set(this.frames);
    const types = new Uint8Array(size);
    types.set(this.types);
    this.frames = frames;
    this.types = types;
  }
}
