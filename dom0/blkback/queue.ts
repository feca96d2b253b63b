// One ring of a block device: takes requests in batches, checks private copies of them, has the storage do them, and answers. The order of
// checks is that of Linux's dispatch_rw_block_io; every request gets exactly one answer, a malformed one BLKIF_RSP_ERROR, an operation that
// is not on offer BLKIF_RSP_EOPNOTSUPP. A ring whose indices cannot be shuts the device.
import {
  BLKIF_DISCARD_SECURE,
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  type EvtchnPort,
} from '@ringworld/abi';
import { type BackRing, RingError } from '../kernel/back-ring.ts';
import type { Dom0 } from '../kernel/dom0.ts';
import type { HostResult } from '../kernel/host-io.ts';
import type { BlockStore } from '../storage/block-store.ts';
import type { DataPath } from './data-path.ts';
import { type BlkifLayout, MAX_SEGMENTS, SECTOR, SEGMENT, SEGMENTS_PER_INDIRECT_PAGE, wide } from './layout.ts';
import type { BlkbackOptions } from './options.ts';
import { BlkRequest, type BufferPool } from './request.ts';

/** What a queue knows of its device. */
export interface QueueDevice {
  readonly dom0: Dom0;
  readonly name: string;
  readonly options: BlkbackOptions;
  readonly store: BlockStore;
  readonly isReadonly: boolean;
  readonly offersDiscard: boolean;
  readonly buffers: BufferPool;
  readonly statistics: BlkStatistics;
  /** Bytes of all queues' requests that are with the storage. */
  bytesInFlight: number;
  /** A queue did not take requests because of that number; it is served when there is room. */
  isStarved: boolean;
  /** Serves queues that had to wait. */
  feed(): void;
  /** The frontend broke the protocol. */
  fail(reason: string): void;
}

/** As Linux's blkback has them in sysfs. */
export interface BlkStatistics {
  rd_req: number;
  wr_req: number;
  f_req: number;
  ds_req: number;
  rd_sect: number;
  wr_sect: number;
}

const OPERATIONS: Readonly<Record<number, string>> = {
  [BLKIF_OP_READ]: 'read',
  [BLKIF_OP_WRITE]: 'write',
  [BLKIF_OP_WRITE_BARRIER]: 'write_barrier',
  [BLKIF_OP_FLUSH_DISKCACHE]: 'flush_diskcache',
  [BLKIF_OP_DISCARD]: 'discard',
};

export class BlkQueue {
  readonly index: number;
  readonly ring: BackRing;
  readonly layout: BlkifLayout;
  private readonly device: QueueDevice;
  private readonly data: DataPath;
  private readonly port: EvtchnPort;
  private isLive = true;
  private isServing = false;
  /** Requests taken and not answered. */
  inFlight = 0;
  /** Waits for all requests before it; nothing is taken until it is answered. */
  private barrier: BlkRequest | null = null;
  private isBarrierSubmitted = false;
  private readonly free: BlkRequest[] = [];
  /** Taken in this round. */
  private readonly batch: BlkRequest[] = [];
  /** To be answered in this round. */
  private readonly finished: BlkRequest[] = [];
  private readonly response: Uint8Array;
  private readonly responseView: DataView;
  private readonly descriptor = new Uint8Array(4096);
  private readonly descriptorView = new DataView(this.descriptor.buffer);
  private whenIdle: (() => void) | null = null;
  /** For kickEvery: requests came lately; and how to stop looking for more of them. */
  private isBusy = false;
  private stopLooking: (() => void) | null = null;

  constructor(device: QueueDevice, index: number, ring: BackRing, layout: BlkifLayout, data: DataPath, port: EvtchnPort) {
    this.device = device;
    this.index = index;
    this.ring = ring;
    this.layout = layout;
    this.data = data;
    this.port = port;
    this.response = new Uint8Array(layout.response.size);
    this.responseView = new DataView(this.response.buffer);
  }

  /** The frontend sent an event. */
  kick(): void {
    const { device } = this;
    device.dom0.observer.sink?.({ kind: 'kick', device: device.name, queue: this.index });
    this.serve();
  }

  /** Takes and starts what the ring holds, as far as it may. */
  serve(): void {
    if (!this.isLive || this.isServing) return;
    this.isServing = true;
    try {
      while (this.mayTake() && this.hasRequests()) {
        this.take();
        this.start();
      }
    } catch (e) {
      if (!(e instanceof RingError)) throw e;
      this.device.fail(e.message);
    } finally {
      this.isServing = false;
    }
  }

  /** Takes no more; calls `done` when all that was taken is answered. */
  drain(done: () => void): void {
    this.whenIdle = done;
    this.checkIdle();
  }

  /** Lets go of everything at once. What the storage still does is of no more interest. */
  close(): void {
    if (!this.isLive) return;
    this.isLive = false;
    this.whenIdle = null;
    this.stopLooking?.();
    this.data.close();
  }

  private mayTake(): boolean {
    const { device } = this;
    if (!this.isLive || this.barrier !== null || this.whenIdle !== null) return false;
    if (device.bytesInFlight < device.options.maxBytesInFlight) return true;
    device.isStarved = true;
    return false;
  }

  private hasRequests(): boolean {
    const { kickEvery, kickWithinNs } = this.device.options;
    const isModerated = kickEvery > 1 && this.isBusy;
    if (this.ring.finalCheck(isModerated ? kickEvery : 1)) return true;
    if (isModerated && this.stopLooking === null)
      this.stopLooking = this.device.dom0.timers.after(kickWithinNs, () => {
        this.stopLooking = null;
        // If nothing has come, the next request is to be told of at once.
        this.isBusy = false;
        this.serve();
      });
    return false;
  }

  // TOUR block 40: The event from the guest ends here. Requests are copied out of the shared page one by one, and only the copy is looked at:
  // what a guest rewrites after it has published it changes nothing.
  /** Fills the batch from the ring, up to a barrier, or as far as there may be buffers. */
  private take(): void {
    const { batch, ring } = this;
    batch.length = 0;
    this.isBusy = true;
    const { device } = this;
    let room = device.options.maxBytesInFlight - device.bytesInFlight;
    for (let n = ring.unconsumed; n > 0 && room > 0; n--) {
      const index = ring.take();
      const r = this.free.pop() ?? new BlkRequest();
      batch.push(r);
      this.inFlight++;
      r.index = index;
      this.decode(r);
      if (r.operation === BLKIF_OP_WRITE_BARRIER && r.status === BLKIF_RSP_OKAY) break;
      // At most: how much an indirect request moves is not known yet.
      room -= r.pages.count * 4096;
    }
  }

  /** From the ring's private copy into the request. Afterwards its status is not OKAY if it cannot be done; indirect segments are still out. */
  private decode(r: BlkRequest): void {
    const { layout, device } = this;
    const view = this.ring.request;
    const code = view.getUint8(0);
    r.status = BLKIF_RSP_OKAY;
    r.idLow = view.getUint32(layout.id, true);
    r.idHigh = view.getUint32(layout.id + 4, true);
    r.operation = code === BLKIF_OP_INDIRECT ? view.getUint8(layout.indirect.op) : code;
    r.store = device.store;
    r.sectorCount = 0;
    r.descriptor.reset(0);
    r.pages.reset(0);
    if (code === BLKIF_OP_DISCARD) this.decodeDiscard(r);
    else if (code === BLKIF_OP_INDIRECT) this.decodeIndirect(r);
    else this.decodeSegments(r);
  }

  private announce(r: BlkRequest): void {
    const { observer } = this.device.dom0;
    observer.count('request');
    if (observer.sink === null) return;
    const op = OPERATIONS[r.operation] ?? `op ${r.operation}`;
    const bytes = r.operation === BLKIF_OP_DISCARD ? 0 : r.byteLength;
    observer.sink({ kind: 'request', device: this.device.name, queue: this.index, index: r.index, op, id: idOf(r), bytes });
  }

  private decodeDiscard(r: BlkRequest): void {
    const { layout, device } = this;
    const view = this.ring.request;
    r.sector = wide(view, layout.discard.sector);
    r.sectorCount = wide(view, layout.discard.count);
    r.isSecure = (view.getUint8(layout.discard.flag) & BLKIF_DISCARD_SECURE) !== 0 && device.store.canDiscardSecurely;
    if (!device.offersDiscard) r.status = BLKIF_RSP_EOPNOTSUPP;
    else this.checkRange(r);
  }

  private decodeSegments(r: BlkRequest): void {
    const { layout, device } = this;
    const { options } = device;
    const view = this.ring.request;
    const isFlush = r.operation === BLKIF_OP_FLUSH_DISKCACHE || r.operation === BLKIF_OP_WRITE_BARRIER;
    if (r.operation > BLKIF_OP_FLUSH_DISKCACHE) r.status = BLKIF_RSP_EOPNOTSUPP;
    else if (r.operation === BLKIF_OP_FLUSH_DISKCACHE && !options.flush) r.status = BLKIF_RSP_EOPNOTSUPP;
    else if (r.operation === BLKIF_OP_WRITE_BARRIER && !options.barrier) r.status = BLKIF_RSP_EOPNOTSUPP;
    if (r.status !== BLKIF_RSP_OKAY) return;
    const count = view.getUint8(layout.rw.nrSegments);
    if (count > MAX_SEGMENTS || (count === 0 && !isFlush)) {
      r.status = BLKIF_RSP_ERROR;
      return;
    }
    r.sector = wide(view, layout.rw.sector);
    r.pages.reset(count);
    for (let i = 0; i < count; i++) this.segment(r, i, view, layout.rw.segments + i * SEGMENT.size);
    this.checkRange(r);
  }

  private decodeIndirect(r: BlkRequest): void {
    const { layout } = this;
    const view = this.ring.request;
    const max = this.device.options.maxIndirectSegments;
    const count = view.getUint16(layout.indirect.nrSegments, true);
    r.sector = wide(view, layout.indirect.sector);
    if (max === 0) r.status = BLKIF_RSP_EOPNOTSUPP;
    else if ((r.operation !== BLKIF_OP_READ && r.operation !== BLKIF_OP_WRITE) || count === 0 || count > max) r.status = BLKIF_RSP_ERROR;
    if (r.status !== BLKIF_RSP_OKAY) return;
    r.pages.reset(count);
    const { descriptor } = r;
    descriptor.reset(Math.ceil(count / SEGMENTS_PER_INDIRECT_PAGE));
    for (let i = 0; i < descriptor.count; i++) {
      descriptor.grefs[i] = view.getUint32(layout.indirect.grefs + i * 4, true);
      descriptor.offsets[i] = 0;
      descriptor.lengths[i] = Math.min(count - i * SEGMENTS_PER_INDIRECT_PAGE, SEGMENTS_PER_INDIRECT_PAGE) * SEGMENT.size;
    }
  }

  private segment(r: BlkRequest, i: number, view: DataView, at: number): void {
    const { pages } = r;
    const first = view.getUint8(at + SEGMENT.first);
    const last = view.getUint8(at + SEGMENT.last);
    if (last < first || last >= 4096 / SECTOR) {
      r.status = BLKIF_RSP_ERROR;
      return;
    }
    pages.grefs[i] = view.getUint32(at + SEGMENT.gref, true);
    pages.offsets[i] = first * SECTOR;
    pages.lengths[i] = (last - first + 1) * SECTOR;
    r.sectorCount += last - first + 1;
  }

  /** xen_vbd_translate. */
  private checkRange(r: BlkRequest): void {
    if (r.status !== BLKIF_RSP_OKAY) return;
    const { device } = this;
    const isPast = r.sectorCount > 0 && r.sector + r.sectorCount > device.store.sectors;
    if ((r.operation !== BLKIF_OP_READ && device.isReadonly) || isPast) r.status = BLKIF_RSP_ERROR;
  }

  /** Reads the descriptors of indirect requests, gets at the pages, and hands the requests to the storage. */
  private start(): void {
    const { batch, data } = this;
    if (batch.some((r) => r.descriptor.count > 0)) this.readDescriptors();
    for (const r of batch) this.announce(r);
    for (const r of batch) if (r.status === BLKIF_RSP_OKAY && r.pages.count > 0) data.claim(r.pages, r.operation !== BLKIF_OP_READ);
    data.commit();
    for (const r of batch) {
      if (r.status !== BLKIF_RSP_OKAY || r.pages.count === 0) continue;
      this.device.buffers.take(r);
      this.device.bytesInFlight += r.bytes.length;
      if (r.operation !== BLKIF_OP_READ) data.load(r.pages, r.bytes);
    }
    data.commit();
    for (const r of batch) {
      if (r.pages.isBad) r.status = BLKIF_RSP_ERROR;
      if (r.status !== BLKIF_RSP_OKAY) this.finished.push(r);
      else if (r.operation === BLKIF_OP_WRITE_BARRIER) this.barrier = r;
      else this.submit(r);
    }
    batch.length = 0;
    if (this.finished.length > 0) this.answer();
    else this.checkBarrier();
  }

  private readDescriptors(): void {
    const { batch, data, descriptor } = this;
    const indirect = batch.filter((r) => r.descriptor.count > 0);
    for (const r of indirect) data.claim(r.descriptor, true);
    data.commit();
    for (const r of indirect) {
      const copy = r.pages.count * SEGMENT.size <= descriptor.length ? descriptor : new Uint8Array(r.pages.count * SEGMENT.size);
      const view = copy === descriptor ? this.descriptorView : new DataView(copy.buffer);
      data.load(r.descriptor, copy);
      // One by one: the next one's overwrites the array.
      data.commit();
      if (r.descriptor.isBad) r.status = BLKIF_RSP_ERROR;
      else for (let i = 0; i < r.pages.count && r.status === BLKIF_RSP_OKAY; i++) this.segment(r, i, view, i * SEGMENT.size);
      data.release(r.descriptor);
      this.checkRange(r);
    }
  }

  private submit(r: BlkRequest): void {
    const { device } = this;
    const { statistics } = device;
    const store = r.store!;
    const now = device.dom0.timers.now();
    const bytes = r.byteLength;
    switch (r.operation) {
      case BLKIF_OP_READ:
        statistics.rd_req++;
        statistics.rd_sect += r.sectorCount;
        this.run(r, () => store.read(r.sector, r.bytes), store.latency.read(now, r.sector, bytes));
        return;
      case BLKIF_OP_WRITE:
        this.write(r, () => this.complete(r));
        return;
      case BLKIF_OP_DISCARD:
        statistics.ds_req++;
        if (r.sectorCount === 0) this.run(r, () => {}, 0);
        else this.run(r, () => store.discard(r.sector, r.sectorCount, r.isSecure), store.latency.discard(now, r.sector, bytes));
        return;
      // What came before is flushed, then what comes along is written.
      case BLKIF_OP_FLUSH_DISKCACHE:
        this.flush(r, () => {
          if (r.sectorCount === 0) this.complete(r);
          else this.write(r, () => this.complete(r));
        });
        return;
      // Before and after: it serves frontends as a write that is on the medium when it is answered.
      case BLKIF_OP_WRITE_BARRIER:
        this.flush(r, () => {
          if (r.sectorCount === 0) this.complete(r);
          else this.write(r, () => this.flush(r, () => this.complete(r)));
        });
        return;
    }
  }

  private write(r: BlkRequest, then: () => void): void {
    const { device } = this;
    const store = r.store!;
    // The disk may have been made smaller while a flush or a barrier was waited for.
    if (r.sector + r.sectorCount > store.sectors) {
      r.status = BLKIF_RSP_ERROR;
      this.run(r, () => {}, 0);
      return;
    }
    device.statistics.wr_req++;
    device.statistics.wr_sect += r.sectorCount;
    const latency = store.latency.write(device.dom0.timers.now(), r.sector, r.byteLength);
    this.run(r, () => store.write(r.sector, r.bytes), latency, then);
  }

  private flush(r: BlkRequest, then: () => void): void {
    const { device } = this;
    const store = r.store!;
    device.statistics.f_req++;
    this.run(r, () => store.flush(), store.latency.flush(device.dom0.timers.now()), then);
  }

  // TOUR block 50: The host reads the file as fast as it can; the guest sees the answer when the disk's latency model says, on its own axis of
  // time.
  /** Has the host do it; `then` follows if it went well. */
  private run(r: BlkRequest, work: () => Promise<void> | void, latencyNs: number, then: () => void = () => this.complete(r)): void {
    const { io, observer } = this.device.dom0;
    observer.count('host_io');
    const over = (result: HostResult<void>) => {
      if ('value' in result) {
        then();
        return;
      }
      r.status = BLKIF_RSP_ERROR;
      this.complete(r);
    };
    try {
      io.start(work(), latencyNs, over);
    } catch (e) {
      // Before anything was started: told like one that failed later.
      io.start(Promise.reject(e), latencyNs, over);
    }
  }

  /** Its answer goes out with those of all that is over at this moment. */
  private complete(r: BlkRequest): void {
    this.finished.push(r);
    if (this.finished.length === 1) this.device.dom0.io.atEnd(() => this.afterIo());
  }

  private afterIo(): void {
    if (!this.isLive) {
      for (const r of this.finished.splice(0)) this.putBack(r);
      return;
    }
    this.answer();
    this.device.feed();
    this.serve();
    if (this.isLive) this.data.tidy();
  }

  private answer(): void {
    const { finished, data } = this;
    if (finished.length > 0) {
      for (const r of finished) if (r.operation === BLKIF_OP_READ && r.status === BLKIF_RSP_OKAY) data.store(r.pages, r.bytes);
      data.commit();
      for (const r of finished) if (r.pages.count > 0) data.release(r.pages);
      // The frontend takes its pages back when it sees the answer: none may be mapped by then.
      data.commit();
      const isEach = this.device.options.notify === 'each';
      for (const r of finished) {
        if (r.pages.isBad) r.status = BLKIF_RSP_ERROR;
        this.respond(r);
        this.putBack(r);
        this.inFlight--;
        if (isEach) this.push(true);
      }
      finished.length = 0;
      if (!isEach) this.push(false);
    }
    this.checkBarrier();
    this.checkIdle();
  }

  private checkBarrier(): void {
    const { barrier } = this;
    // Asked after every round of answers, also one that had none for this queue.
    if (barrier === null || this.isBarrierSubmitted || this.inFlight > 1) return;
    // Still `barrier` until it is answered: nothing after it may start.
    this.isBarrierSubmitted = true;
    this.submit(barrier);
  }

  private checkIdle(): void {
    const { whenIdle } = this;
    if (whenIdle !== null && this.inFlight === 0) whenIdle();
  }

  private putBack(r: BlkRequest): void {
    const { device } = this;
    if (r === this.barrier) {
      this.barrier = null;
      this.isBarrierSubmitted = false;
    }
    device.bytesInFlight -= r.bytes.length;
    device.buffers.give(r);
    r.store = null;
    this.free.push(r);
  }

  private respond(r: BlkRequest): void {
    const { layout, responseView: view, device } = this;
    view.setUint32(layout.response.id, r.idLow, true);
    view.setUint32(layout.response.id + 4, r.idHigh, true);
    view.setUint8(layout.response.operation, r.operation);
    view.setInt16(layout.response.status, r.status, true);
    const index = this.ring.put(this.response);
    const { observer } = device.dom0;
    observer.count('response');
    observer.sink?.({ kind: 'response', device: device.name, queue: this.index, index, id: idOf(r), status: r.status });
  }

  private push(isForced: boolean): void {
    const { dom0, name } = this.device;
    const sent = this.ring.push() || isForced;
    dom0.observer.sink?.({ kind: 'notify', device: name, queue: this.index, sent });
    if (sent) dom0.evtchn.notify(this.port);
  }
}

const idOf = (r: { readonly idLow: number; readonly idHigh: number }): number => r.idHigh * 0x1_0000_0000 + r.idLow;
