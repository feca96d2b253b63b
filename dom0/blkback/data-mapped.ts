// Pages mapped into dom0: for each request, or, where frontend and backend have agreed on it, for good (persistent.ts). Copying between a
// mapped page and a request's buffer is what a disk controller does by DMA on a real host: it costs dom0 no work, and is not counted as such.
import { type Gfn, gfn, type PageView } from '@ringworld/abi';
import type { Dom0 } from '../kernel/dom0.ts';
import { GrantMapBatch, isMapped } from '../kernel/grant-map.ts';
import type { DeviceName } from '../kernel/observe.ts';
import type { BackendNode } from '../kernel/xenbus.ts';
import type { DataPath, GrantPages } from './data-path.ts';
import type { PersistentGrants } from './persistent.ts';

/** Frames are reserved as many at a time. */
const CHUNK = 64;

export class MappedPages implements DataPath {
  private readonly dom0: Dom0;
  private readonly device: DeviceName;
  private readonly batch: GrantMapBatch;
  /** Null: each request maps for itself. */
  private readonly persistent: PersistentGrants | null;
  private readonly frames: Gfn[] = [];
  private readonly views: PageView[] = [];
  private readonly free: number[] = [];
  private readonly chunks: Gfn[] = [];
  /** For each slot its handle while it is mapped and belongs to a request. */
  private readonly owned = new Map<number, number>();
  /** Operations of the batch in the making: whose they are. */
  private readonly claimed: { pages: GrantPages; index: number; slot: number }[] = [];
  /** Slots of which the unmapping is in the batch. */
  private readonly leaving: number[] = [];
  private mapped = 0;
  private unmapped = 0;

  constructor(dom0: Dom0, node: BackendNode, persistent: PersistentGrants | null) {
    this.dom0 = dom0;
    this.device = node.name;
    this.persistent = persistent;
    this.batch = new GrantMapBatch(dom0.xen, dom0.observer, node.frontend, (status, handle, tag) => this.arrived(status, handle, tag));
  }

  claim(pages: GrantPages, isReadonly: boolean): void {
    for (let i = 0; i < pages.count; i++) {
      const gref = pages.grefs[i]!;
      const kept = this.persistent?.take(gref) ?? null;
      if (kept !== null) {
        pages.persistent[i] = kept;
        pages.slots[i] = kept.slot;
        continue;
      }
      const slot = this.free.pop() ?? this.grow();
      const tag = this.claimed.length;
      this.claimed.push({ pages, index: i, slot });
      // A page that is kept will be written to by a later request.
      this.batch.map(gref, this.frames[slot]!, isReadonly && this.persistent === null, tag);
      this.mapped++;
    }
  }

  load(pages: GrantPages, into: Uint8Array): void {
    if (pages.isBad) return;
    for (let i = 0, to = 0; i < pages.count; i++) {
      const length = pages.lengths[i]!;
      this.views[pages.slots[i]!]!.readInto(pages.offsets[i]!, into.subarray(to, to + length));
      to += length;
    }
  }

  store(pages: GrantPages, from: Uint8Array): void {
    if (pages.isBad) return;
    for (let i = 0, at = 0; i < pages.count; i++) {
      const length = pages.lengths[i]!;
      this.views[pages.slots[i]!]!.writeBytes(pages.offsets[i]!, from.subarray(at, at + length));
      at += length;
    }
  }

  release(pages: GrantPages): void {
    for (let i = 0; i < pages.count; i++) {
      const kept = pages.persistent[i]!;
      const slot = pages.slots[i]!;
      if (kept !== null) this.persistent!.put(kept, this.dom0.timers.now());
      else if (slot >= 0) {
        this.owned.delete(slot);
        this.unmap(slot, pages.handles[i]!);
      }
      pages.persistent[i] = null;
      pages.slots[i] = -1;
    }
  }

  commit(): void {
    this.batch.flush();
    this.claimed.length = 0;
    for (const slot of this.leaving) this.free.push(slot);
    this.leaving.length = 0;
    const { sink } = this.dom0.observer;
    if (sink !== null) {
      if (this.unmapped > 0) sink({ kind: 'grant', device: this.device, op: 'unmap', count: this.unmapped, bytes: this.unmapped * 4096 });
      if (this.mapped > 0) sink({ kind: 'grant', device: this.device, op: 'map', count: this.mapped, bytes: this.mapped * 4096 });
    }
    this.mapped = 0;
    this.unmapped = 0;
  }

  tidy(): void {
    if (this.persistent === null) return;
    for (const g of this.persistent.purge(this.dom0.timers.now())) this.unmap(g.slot, g.handle);
    this.commit();
  }

  close(): void {
    for (const [slot, handle] of this.owned) this.unmap(slot, handle);
    this.owned.clear();
    for (const g of this.persistent?.clear() ?? []) this.unmap(g.slot, g.handle);
    this.commit();
    for (const start of this.chunks) this.dom0.xen.memory.releaseFrames(start, CHUNK);
    this.chunks.length = 0;
    this.frames.length = 0;
    this.views.length = 0;
    this.free.length = 0;
  }

  private unmap(slot: number, handle: number): void {
    this.batch.unmap(this.frames[slot]!, handle);
    this.leaving.push(slot);
    this.unmapped++;
  }

  private arrived(status: number, handle: number, tag: number): void {
    const { pages, index, slot } = this.claimed[tag]!;
    if (!isMapped(status)) {
      pages.isBad = true;
      this.free.push(slot);
      return;
    }
    pages.slots[index] = slot;
    pages.handles[index] = handle;
    const kept = this.persistent?.add(pages.grefs[index]!, slot, handle, this.dom0.timers.now()) ?? null;
    pages.persistent[index] = kept;
    if (kept === null) this.owned.set(slot, handle);
  }

  private grow(): number {
    const { memory } = this.dom0.xen;
    const start = memory.reserveFrames(CHUNK);
    this.chunks.push(start);
    const first = this.frames.length;
    for (let i = 0; i < CHUNK; i++) {
      this.frames.push(gfn(start + i));
      this.views.push(memory.page(gfn(start + i)));
      if (i > 0) this.free.push(first + CHUNK - i);
    }
    return first;
  }
}
