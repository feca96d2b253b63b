// What the interfaces of one netback have in common: pages of dom0 that packets pass through, and batches of grant copies. All of it is in
// use only within one activation of dom0, so one set serves every interface.
import type { Gfn, PageView } from '@ringworld/abi';
import type { Dom0 } from '../kernel/dom0.ts';
import { GrantCopyBatch } from '../kernel/grant-copy.ts';
import type { NetbackOptions } from './options.ts';
import { PageFlips } from './page-flips.ts';
import { RxStage } from './rx-stage.ts';
import { TxBatch } from './tx-batch.ts';

export const PAGE = 4096;
/** Largest frame that fits a request's 16-bit size. */
export const MAX_FRAME = 65535;
const TX_PAGES = 128;
const RX_PAGES = 128;

/** Frames of dom0 with a view of each. */
export interface StagingPages {
  readonly first: Gfn;
  readonly views: readonly PageView[];
}

export class Shared {
  readonly dom0: Dom0;
  readonly options: NetbackOptions;
  readonly txPages: StagingPages;
  readonly txCopies: GrantCopyBatch;
  readonly txBatch = new TxBatch();
  /** A packet on its way into the switch. */
  readonly packet = new Uint8Array(MAX_FRAME + 1);
  readonly rx: RxStage;

  constructor(dom0: Dom0, options: NetbackOptions) {
    this.dom0 = dom0;
    this.options = options;
    this.txPages = staging(dom0, TX_PAGES);
    this.txCopies = new GrantCopyBatch(dom0.xen, dom0.observer, TX_PAGES);
    this.rx = new RxStage(
      staging(dom0, RX_PAGES),
      new GrantCopyBatch(dom0.xen, dom0.observer, RX_PAGES),
      new PageFlips(dom0.xen, dom0.observer),
    );
  }
}

function staging(dom0: Dom0, pages: number): StagingPages {
  const first = dom0.xen.memory.allocate(pages);
  // SAFE: frames that were just allocated one after the other.
  return { first, views: Array.from({ length: pages }, (_, i) => dom0.xen.memory.page((first + i) as Gfn)) };
}
