// A block frontend that keeps so many requests under way and checks what it reads. As Linux's blkfront: a page for each segment, granted for
// the request and revoked after it; with persistent grants the pages stay granted, and data is copied to and from them.
import { BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_RSP_OKAY, blkif_request, blkif_response, grantRef, ringType } from '@ringworld/abi';
import { addDevice, backendPath, type FrontDomain, frontendPath } from '@ringworld/dom0';
import { FrontRing } from './front-ring.ts';
import type { FrontendWork, Run } from './measure.ts';
import type { BenchWorld } from './world.ts';

const PAGE = 4096;
const SECTORS_PER_PAGE = 8;
const MAX_SEGMENTS = 11;
const DEVID = 51712;
const RING = ringType('blkif', [blkif_request, blkif_response]);
const RESPONSE_SIZE = blkif_response.size('x86_64');

export interface BlockFrontOptions {
  readonly pageOrder: number;
  readonly queues: number;
  readonly persistent: boolean;
  /** Events to the backend: as its req_event asks, or one for each request. */
  readonly kick: 'asked' | 'each';
  /** rsp_event: an event when so many responses have come (or all that are out). */
  readonly wakeEvery: number;
}

export interface BlockJob {
  readonly op: 'read' | 'write';
  readonly pattern: 'random' | 'sequential';
  /** 1 to 11 of 4 KiB. */
  readonly segments: number;
  readonly depth: number;
  readonly requests: number;
  /** Of the disk, in pages. */
  readonly diskPages: number;
}

interface Flight {
  startedAt: number;
  page: number;
  readonly buffers: { readonly frame: number; readonly page: ReturnType<FrontDomain['allocate']>['page']; ref: number }[];
}

interface Queue {
  readonly ring: FrontRing;
  port: number;
  readonly flights: Flight[];
  readonly idle: number[];
}

/** What sector `page` of the disk holds in its first word before anybody writes. */
export const stampOf = (page: number): number => (Math.imul(page + 1, 0x9e37_79b1) ^ 0x5bd1_e995) >>> 0;

export class BlockFront {
  readonly domain: FrontDomain;
  private readonly world: BenchWorld;
  private readonly options: BlockFrontOptions;
  private readonly queues: Queue[] = [];
  private job: BlockJob | null = null;
  private issued = 0;
  private done = 0;
  private next = 0;
  private random = 1;
  private copied = 0;
  private readonly latencies: number[] = [];

  constructor(world: BenchWorld, options: BlockFrontOptions) {
    this.world = world;
    this.options = options;
    this.domain = world.frontDomain();
    this.connect();
  }

  work = (): FrontendWork => {
    const { observer, granted, revoked } = this.domain;
    const { hypercall, evtchn_send, upcall } = observer.work;
    return { hypercalls: hypercall, sent: evtchn_send, received: upcall, granted, revoked, bytesCopied: this.copied };
  };

  /** Runs a job to its end; throws when a read is wrong or a request fails. */
  run(job: BlockJob): Run {
    this.job = job;
    this.issued = 0;
    this.done = 0;
    this.next = 0;
    this.random = 12345;
    this.latencies.length = 0;
    for (const q of this.queues) this.prepare(q, Math.ceil(job.depth / this.queues.length), job.segments);
    for (const q of this.queues) this.fill(q);
    this.world.runUntil(() => this.done === job.requests, 'block job');
    return { requests: job.requests, bytes: job.requests * job.segments * PAGE, latenciesNs: [...this.latencies] };
  }

  private connect(): void {
    const { world, domain, options } = this;
    const { xs, evtchn: _ } = world.dom0;
    addDevice(xs, domain.id, {
      type: 'vbd',
      devid: DEVID,
      back: { params: '/bench', type: 'phy', mode: 'w', dev: 'xvda', 'device-type': 'disk', bootable: '1', removable: '0' },
      front: { 'virtual-device': String(DEVID), 'device-type': 'disk' },
    });
    world.settle();
    const front = frontendPath(domain.id, 'vbd', DEVID);
    const write = (key: string, value: string | number) => xs.write(`${front}/${key}`, String(value));
    for (let i = 0; i < options.queues; i++) {
      const ring = new FrontRing(domain, RING, 1 << options.pageOrder);
      const queue: Queue = { ring, port: 0, flights: [], idle: [] };
      this.queues.push(queue);
      const prefix = options.queues === 1 ? '' : `queue-${i}/`;
      const port = domain.events.allocUnbound(0 as Parameters<typeof domain.events.allocUnbound>[0]);
      domain.events.listen(port, () => this.interrupt(queue));
      queue.port = port;
      if (options.pageOrder === 0) write(`${prefix}ring-ref`, ring.refs[0]!);
      else for (const [p, ref] of ring.refs.entries()) write(`${prefix}ring-ref${p}`, ref);
      write(`${prefix}event-channel`, port);
    }
    if (options.pageOrder > 0) write('ring-page-order', options.pageOrder);
    if (options.queues > 1) write('multi-queue-num-queues', options.queues);
    if (options.persistent) write('feature-persistent', 1);
    write('protocol', 'x86_64-abi');
    write('state', 3);
    world.settle();
    const state = xs.read(`${backendPath(domain.id, 'vbd', DEVID)}/state`);
    if (state !== '4') throw new Error(`the block backend is in state ${state}`);
    write('state', 4);
    world.settle();
  }

  private prepare(q: Queue, depth: number, segments: number): void {
    while (q.flights.length < Math.min(depth, q.ring.slots))
      q.flights.push({ startedAt: 0, page: 0, buffers: Array.from({ length: segments }, () => ({ ...this.domain.allocate(), ref: 0 })) });
    q.idle.length = 0;
    for (let i = q.flights.length - 1; i >= 0; i--) q.idle.push(i);
  }

  /** Issues what is free to go. */
  private fill(q: Queue): void {
    const job = this.job!;
    const isEach = this.options.kick === 'each';
    let any = false;
    while (q.idle.length > 0 && this.issued < job.requests && q.ring.room > 0) {
      this.issue(q, q.idle.pop()!, job);
      any = true;
      if (!isEach) continue;
      q.ring.push();
      this.domain.events.notify(q.port as Parameters<typeof this.domain.events.notify>[0]);
    }
    if (any && !isEach && q.ring.push()) this.domain.events.notify(q.port as Parameters<typeof this.domain.events.notify>[0]);
  }

  private issue(q: Queue, id: number, job: BlockJob): void {
    const flight = q.flights[id]!;
    const isWrite = job.op === 'write';
    flight.page = this.place(job);
    flight.startedAt = this.world.now();
    for (const [i, b] of flight.buffers.entries()) {
      if (isWrite) {
        b.page.setU32(0, stampOf(flight.page + i));
        if (this.options.persistent) this.copied += PAGE;
      }
      // Persistent grants are given once, writable, as Linux does.
      if (this.options.persistent) {
        if (b.ref === 0) b.ref = this.domain.grant(b.frame);
      } else b.ref = this.domain.grant(b.frame, { readonly: isWrite });
    }
    const seg = Array.from({ length: MAX_SEGMENTS }, (_, i) => {
      const b = flight.buffers[i];
      return { gref: grantRef(b?.ref ?? 0), first_sect: 0, last_sect: b === undefined ? 0 : SECTORS_PER_PAGE - 1 };
    });
    q.ring.put(
      blkif_request.encode('x86_64', {
        operation: isWrite ? BLKIF_OP_WRITE : BLKIF_OP_READ,
        nr_segments: flight.buffers.length,
        handle: DEVID,
        id: BigInt(id),
        sector_number: flight.page * SECTORS_PER_PAGE,
        seg,
      }),
    );
    this.issued++;
  }

  /** The next place, by a generator of its own: runs are to repeat. */
  private place(job: BlockJob): number {
    const span = Math.floor(job.diskPages / job.segments);
    if (job.pattern === 'sequential') return (this.next++ % span) * job.segments;
    this.random = (Math.imul(this.random, 1_103_515_245) + 12_345) >>> 0;
    return ((this.random >>> 8) % span) * job.segments;
  }

  private interrupt(q: Queue): void {
    if (this.job === null) return;
    do {
      for (let bytes = q.ring.take(RESPONSE_SIZE); bytes !== null; bytes = q.ring.take(RESPONSE_SIZE)) this.finish(q, bytes);
      this.fill(q);
    } while (q.ring.finalCheck(Math.max(1, Math.min(this.options.wakeEvery, q.ring.outstanding))));
  }

  private finish(q: Queue, bytes: Uint8Array): void {
    const { id, status } = blkif_response.decode('x86_64', bytes);
    const flight = q.flights[Number(id)]!;
    if (status !== BLKIF_RSP_OKAY) throw new Error(`request ${id} failed: ${status}`);
    for (const [i, b] of flight.buffers.entries()) {
      if (this.job!.op === 'read') {
        if (b.page.u32(0) !== stampOf(flight.page + i)) throw new Error(`page ${flight.page + i} was read wrong`);
        b.page.setU32(0, 0);
        if (this.options.persistent) this.copied += PAGE;
      }
      if (!this.options.persistent) this.domain.revoke(b.ref);
    }
    this.latencies.push(this.world.now() - flight.startedAt);
    this.done++;
    q.idle.push(Number(id));
  }
}
