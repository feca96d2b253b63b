// Pages that are never mapped: Xen copies between them and pages of dom0's own (GNTTABOP_copy), as for QEMU's block backend. All disks share
// one stage, since a copy is over when the hypercall returns.
import { type Domid, type Gfn, GNTST_okay, gfn, type PageView } from '@ringworld/abi';
import type { Dom0 } from '../kernel/dom0.ts';
import { GrantCopyBatch } from '../kernel/grant-copy.ts';
import type { BackendNode } from '../kernel/xenbus.ts';
import type { DataPath, GrantPages } from './data-path.ts';

/** Pages of the stage, of dom0's 512. */
const STAGE = 64;

export class CopyStage {
  readonly batch: GrantCopyBatch;
  readonly frames: Gfn[];
  readonly views: PageView[];

  constructor(dom0: Dom0) {
    const { memory } = dom0.xen;
    this.batch = new GrantCopyBatch(dom0.xen, dom0.observer, STAGE);
    const start = memory.allocate(STAGE);
    this.frames = Array.from({ length: STAGE }, (_, i) => gfn(start + i));
    this.views = this.frames.map((f) => memory.page(f));
  }
}

export class CopiedPages implements DataPath {
  private readonly dom0: Dom0;
  private readonly node: BackendNode;
  private readonly dom: Domid;
  private readonly stage: CopyStage;
  /** What is to be done about each copy of the batch when it is made: `into` null for those towards the frontend. */
  private readonly waiting: { pages: GrantPages; into: Uint8Array | null }[] = [];
  private bytes = 0;

  constructor(dom0: Dom0, node: BackendNode, stage: CopyStage) {
    this.dom0 = dom0;
    this.node = node;
    this.dom = node.frontend;
    this.stage = stage;
  }

  claim(): void {}
  release(): void {}
  tidy(): void {}
  close(): void {}

  load(pages: GrantPages, into: Uint8Array): void {
    for (let i = 0, to = 0; i < pages.count; i++) {
      const length = pages.lengths[i]!;
      const index = this.room();
      this.stage.batch.fromGrant(this.dom, pages.grefs[i]!, pages.offsets[i]!, this.stage.frames[index]!, 0, length);
      this.waiting.push({ pages, into: into.subarray(to, to + length) });
      this.bytes += length;
      to += length;
    }
  }

  store(pages: GrantPages, from: Uint8Array): void {
    for (let i = 0, at = 0; i < pages.count; i++) {
      const length = pages.lengths[i]!;
      const index = this.room();
      this.stage.views[index]!.writeBytes(0, from.subarray(at, at + length));
      this.stage.batch.toGrant(this.stage.frames[index]!, 0, this.dom, pages.grefs[i]!, pages.offsets[i]!, length);
      this.waiting.push({ pages, into: null });
      this.bytes += length;
      at += length;
    }
  }

  commit(): void {
    const { waiting, stage } = this;
    if (waiting.length === 0) return;
    stage.batch.flush();
    for (let i = 0; i < waiting.length; i++) {
      const { pages, into } = waiting[i]!;
      if (stage.batch.status(i) !== GNTST_okay) pages.isBad = true;
      else if (into !== null) stage.views[i]!.readInto(0, into);
    }
    const { bytes } = this;
    this.dom0.observer.sink?.({ kind: 'grant', device: this.node.name, op: 'copy', count: waiting.length, bytes });
    waiting.length = 0;
    this.bytes = 0;
  }

  private room(): number {
    if (this.waiting.length === STAGE) this.commit();
    return this.waiting.length;
  }
}
