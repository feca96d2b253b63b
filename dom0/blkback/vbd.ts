// A virtual block device: what it says of itself in XenStore and when (Linux's drivers/block/xen-blkback/xenbus.c), and its queues.
import { type Abi, evtchnPort, grantRef, VDISK_CDROM, VDISK_READONLY, VDISK_REMOVABLE } from '@ringworld/abi';
import { BackRing } from '../kernel/back-ring.ts';
import type { Dom0 } from '../kernel/dom0.ts';
import { type BackendDevice, type BackendNode, XenbusError } from '../kernel/xenbus.ts';
import { backendParams } from '../storage/backend-params.ts';
import { type BlockStore, type OpenStore, StoreError } from '../storage/block-store.ts';
import { EmptyStore } from '../storage/empty-store.ts';
import { CopiedPages, type CopyStage } from './data-copied.ts';
import { MappedPages } from './data-mapped.ts';
import type { DataPath } from './data-path.ts';
import { BLKIF_LAYOUTS, BLKIF_RING, protocolAbi, SECTOR } from './layout.ts';
import type { BlkbackOptions } from './options.ts';
import { PersistentGrants } from './persistent.ts';
import { BlkQueue, type BlkStatistics, type QueueDevice } from './queue.ts';
import { BufferPool } from './request.ts';

/** What all disks share. */
export interface BlkbackHost {
  readonly dom0: Dom0;
  readonly options: BlkbackOptions;
  readonly open: OpenStore;
  /** Made when the first disk asks for it. */
  readonly stage: () => CopyStage;
  /** Told when the device is gone. */
  readonly removed: (vbd: Vbd) => void;
}

export class Vbd implements BackendDevice, QueueDevice {
  readonly dom0: Dom0;
  readonly name: string;
  readonly options: BlkbackOptions;
  readonly node: BackendNode;
  readonly buffers = new BufferPool();
  readonly statistics: BlkStatistics = { rd_req: 0, wr_req: 0, f_req: 0, ds_req: 0, rd_sect: 0, wr_sect: 0 };
  /** The frontend may go on while it is closing: it writes back what it has. */
  readonly staysWhileClosing = true;
  store: BlockStore;
  queues: readonly BlkQueue[] = [];
  bytesInFlight = 0;
  isStarved = false;
  private readonly host: BlkbackHost;
  private readonly isCdrom: boolean;
  /** As they were when the storage was opened. */
  isReadonly = false;
  offersDiscard = false;
  private medium: string;
  private release: (() => void)[] = [];

  /** xen_blkbk_probe. */
  constructor(host: BlkbackHost, node: BackendNode) {
    this.host = host;
    this.dom0 = host.dom0;
    this.options = host.options;
    this.node = node;
    this.name = node.name;
    this.isCdrom = (node.read('device-type') ?? node.readFrontend('device-type')) === 'cdrom';
    this.medium = node.read('params') ?? '';
    this.store = this.insert();
    const { options } = this;
    if (options.maxIndirectSegments > 0) node.write('feature-max-indirect-segments', String(options.maxIndirectSegments));
    else node.rm('feature-max-indirect-segments');
    node.write('multi-queue-max-queues', String(options.maxQueues));
    node.write('max-ring-page-order', String(options.maxRingPageOrder));
    // The same for frontends that know the other scheme (blkif.h, note 3).
    node.write('max-ring-pages', String(1 << options.maxRingPageOrder));
    node.write('feature-persistent', options.data === 'persistent' ? '1' : '0');
  }

  connect(): void {
    try {
      this.connectQueues();
    } catch (e) {
      this.disconnect();
      throw e;
    }
    this.describe();
    this.feedAll();
  }

  disconnect(): void {
    for (const q of this.queues) q.close();
    this.queues = [];
    for (const release of this.release.splice(0).reverse()) release();
  }

  /** Answers what was taken, takes no more, and then calls `done`: another instance can go on with the rings. */
  drain(done: () => void): void {
    let busy = this.queues.length;
    if (busy === 0) done();
    for (const q of this.queues)
      q.drain(() => {
        if (--busy === 0) done();
      });
  }

  remove(): void {
    this.store.onResize = null;
    void this.store.close();
    this.host.removed(this);
  }

  /** The toolstack puts another medium into the drive. */
  changed(key: string): void {
    if (key !== 'params') return;
    const medium = this.node.read('params') ?? '';
    if (medium === this.medium || !this.isCdrom) return;
    this.medium = medium;
    const old = this.store;
    try {
      this.store = this.insert();
    } catch (e) {
      if (!(e instanceof XenbusError)) throw e;
      this.store = new EmptyStore();
    }
    old.onResize = null;
    void old.close();
    this.resized();
  }

  feed(): void {
    if (!this.isStarved || this.bytesInFlight >= this.options.maxBytesInFlight) return;
    this.isStarved = false;
    this.feedAll();
  }

  fail(reason: string): void {
    this.node.fatal(reason);
  }

  private feedAll(): void {
    for (const q of this.queues) q.serve();
  }

  private insert(): BlockStore {
    const { node } = this;
    const store = this.open();
    this.isReadonly = store.isReadonly || node.read('mode') === 'r';
    this.offersDiscard = this.options.discard && store.canDiscard && node.read('discard-enable') !== '0' && !this.isReadonly;
    return store;
  }

  private open(): BlockStore {
    const params = backendParams((key) => this.node.read(key));
    if (params.format === 'empty') {
      if (this.isCdrom) return new EmptyStore();
      throw new XenbusError(`${this.node.path}/params: a disk needs a target`);
    }
    try {
      const store = this.host.open(params);
      store.onResize = () => this.resized();
      return store;
    } catch (e) {
      if (e instanceof StoreError) throw new XenbusError(e.message);
      throw e;
    }
  }

  /** connect_ring: every value is the frontend's. */
  private connectQueues(): void {
    const { node, options } = this;
    const protocol = node.readFrontend('protocol');
    const abi = protocolAbi(protocol);
    if (abi === null) throw new XenbusError(`unknown fe protocol ${protocol}`);
    const isPersistent = options.data === 'persistent' && node.readFrontend('feature-persistent') === '1';
    const count = node.readFrontend('multi-queue-num-queues') === null ? 1 : node.frontendNumber('multi-queue-num-queues');
    if (count < 1 || count > options.maxQueues)
      throw new XenbusError(`guest requested ${count} queues, exceeding the maximum of ${options.maxQueues}`);
    const pages = this.ringPages();
    const queues: BlkQueue[] = [];
    for (let i = 0; i < count; i++) queues.push(this.connectQueue(i, count === 1 ? '' : `queue-${i}/`, pages, abi, isPersistent));
    this.queues = queues;
  }

  private ringPages(): number {
    const { node, options } = this;
    const max = 1 << options.maxRingPageOrder;
    if (node.readFrontend('ring-page-order') !== null) {
      const order = node.frontendNumber('ring-page-order');
      if (order > options.maxRingPageOrder)
        throw new XenbusError(`request ${order} ring page order exceed max:${options.maxRingPageOrder}`);
      return 1 << order;
    }
    const pages = node.readFrontend('num-ring-pages') === null ? 1 : node.frontendNumber('num-ring-pages');
    if (pages < 1 || pages > max || (pages & (pages - 1)) !== 0)
      throw new XenbusError(`${pages} ring pages: at most ${max}, a power of two`);
    return pages;
  }

  private connectQueue(index: number, prefix: string, pages: number, abi: Abi, isPersistent: boolean): BlkQueue {
    const { node, dom0, options } = this;
    const port = evtchnPort(this.word(`${prefix}event-channel`));
    // A ring of one page is named without a number, unless a page order was given (note 6 of blkif.h; Linux's read_per_ring_refs).
    const isNumbered = pages > 1 || (node.readFrontend('ring-page-order') !== null && node.readFrontend(`${prefix}ring-ref`) === null);
    const refs = Array.from({ length: pages }, (_, i) => grantRef(this.word(`${prefix}ring-ref${isNumbered ? i : ''}`)));
    const mapping = dom0.grants.map(node.frontend, refs);
    this.release.push(() => mapping.unmap());
    const ring = new BackRing(
      refs.map((_, i) => mapping.page(i)),
      BLKIF_RING,
      abi,
    );
    const data: DataPath =
      options.data === 'copy'
        ? new CopiedPages(dom0, node, this.host.stage())
        : new MappedPages(dom0, node, isPersistent ? new PersistentGrants(options.maxPersistentGrants, options.persistentUnusedNs) : null);
    const local = dom0.evtchn.bindInterdomain(node.frontend, port, () => queue.kick());
    this.release.push(() => dom0.evtchn.close(local));
    const queue = new BlkQueue(this, index, ring, BLKIF_LAYOUTS[abi], data, local);
    return queue;
  }

  /** A 32-bit number of the frontend's. */
  private word(key: string): number {
    const value = this.node.frontendNumber(key);
    if (value > 0xffffffff) throw new XenbusError(`${this.node.frontendPath}/${key}: ${value} is out of range`);
    return value;
  }

  /** connect: what a frontend reads when it sees Connected. */
  private describe(): void {
    const { node, options, store, isReadonly } = this;
    node.write('feature-flush-cache', options.flush ? '1' : '0');
    node.write('feature-barrier', options.barrier ? '1' : '0');
    if (this.offersDiscard) {
      node.write('discard-granularity', String(store.discardGranularity));
      node.write('discard-alignment', '0');
      node.write('discard-secure', store.canDiscardSecurely ? '1' : '0');
    }
    node.write('feature-discard', this.offersDiscard ? '1' : '0');
    const isRemovable = node.read('removable') === '1';
    const info = (this.isCdrom ? VDISK_CDROM : 0) | (isRemovable ? VDISK_REMOVABLE : 0) | (isReadonly ? VDISK_READONLY : 0);
    node.write('info', String(info));
    // Not the storage's, unless the frontend had feature-large-sector-size: many take it for 512 whatever they read (blkif.h).
    node.write('sector-size', String(SECTOR));
    node.write('physical-sector-size', String(store.sectorSize));
    node.write('sectors', String(store.sectors));
  }

  /** xen_vbd_resize: the state written again has a connected frontend look at the number of sectors. */
  private resized(): void {
    const { node } = this;
    if (node.read('sectors') === null) return;
    node.write('sectors', String(this.store.sectors));
    const state = node.read('state');
    if (state !== null) node.write('state', state);
  }
}
