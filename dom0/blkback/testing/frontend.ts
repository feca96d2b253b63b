// For specs: a block frontend in TypeScript, in pages of a plain domain, that writes requests by the declarations of blkif.h. It can be as
// rude as it likes: pages, grants, indices and nodes are all in reach.
import {
  type Abi,
  BLKIF_OP_DISCARD,
  BLKIF_OP_INDIRECT,
  blkif_request,
  blkif_request_discard,
  blkif_request_indirect,
  blkif_request_segment,
  blkif_response,
  grantRef,
  sring,
  XEN_IO_PROTO_ABI_X86_32,
  XEN_IO_PROTO_ABI_X86_64,
} from '@ringworld/abi';
import type { PlainDomain, PlainXen } from '../../kernel/testing/plain-xen.ts';
import { addDevice, backendPath, frontendPath } from '../../toolstack/device.ts';
import { diskDevice } from '../../toolstack/device-disk.ts';
import { BLKIF_RING } from '../layout.ts';

const PAGE = 4096;

export interface Segment {
  readonly ref: number;
  readonly first?: number;
  readonly last?: number;
}

export interface Answer {
  readonly id: number;
  readonly operation: number;
  readonly status: number;
}

/** One shared ring from the frontend's side. */
export class FrontRing {
  readonly pages: Uint8Array[];
  readonly refs: number[];
  readonly port: number;
  readonly slots: number;
  readonly abi: Abi;
  readonly answers: Answer[] = [];
  events = 0;
  reqProd = 0;
  rspCons = 0;
  private readonly domain: PlainDomain;

  constructor(domain: PlainDomain, abi: Abi, pages: number) {
    this.domain = domain;
    this.abi = abi;
    this.pages = Array.from({ length: pages }, () => new Uint8Array(PAGE));
    this.refs = this.pages.map((p) => domain.grant(p));
    this.slots = BLKIF_RING.slots(abi, pages * PAGE);
    this.port = domain.allocPort(() => {
      this.events++;
      this.take();
    });
    this.setIndex('req_event', 1);
    this.setIndex('rsp_event', 1);
  }

  index(name: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event'): number {
    return new DataView(this.pages[0]!.buffer).getUint32(sring.offset(name, this.abi), true);
  }
  setIndex(name: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event', value: number): void {
    new DataView(this.pages[0]!.buffer).setUint32(sring.offset(name, this.abi), value >>> 0, true);
  }

  /** Writes bytes into the slot of a free-running index, across pages. */
  poke(index: number, bytes: Uint8Array): void {
    const at = BLKIF_RING.slotOffset(this.abi, index, this.slots);
    bytes.forEach((b, i) => {
      this.pages[Math.floor((at + i) / PAGE)]![(at + i) % PAGE] = b;
    });
  }

  /** A read, write, barrier or flush, unpublished. */
  put(operation: number, id: number, sector: number, segments: readonly Segment[], raw: { readonly nr_segments?: number } = {}): void {
    const seg = segments.slice(0, 11).map((s) => ({ gref: grantRef(s.ref), first_sect: s.first ?? 0, last_sect: s.last ?? 7 }));
    while (seg.length < 11) seg.push({ gref: grantRef(0), first_sect: 0, last_sect: 0 });
    const request = { operation, nr_segments: segments.length, handle: 51712, id: BigInt(id), sector_number: sector, seg, ...raw };
    this.poke(this.reqProd, blkif_request.encode(this.abi, request));
    this.reqProd = (this.reqProd + 1) >>> 0;
  }

  putDiscard(id: number, sector: number, count: number, flag = 0): void {
    const request = { operation: BLKIF_OP_DISCARD, flag, handle: 51712, id: BigInt(id), sector_number: sector, nr_sectors: count };
    this.poke(this.reqProd, blkif_request_discard.encode(this.abi, request));
    this.reqProd = (this.reqProd + 1) >>> 0;
  }

  /** Segments in pages of their own, which stay granted: returns their references. */
  putIndirect(indirect_op: number, id: number, sector: number, segments: readonly Segment[], count = segments.length): number[] {
    const refs: number[] = [];
    const perPage = PAGE / 8;
    for (let at = 0; at < Math.max(1, segments.length); at += perPage) {
      const page = new Uint8Array(PAGE);
      segments.slice(at, at + perPage).forEach((s, i) => {
        const segment = { gref: grantRef(s.ref), first_sect: s.first ?? 0, last_sect: s.last ?? 7 };
        page.set(blkif_request_segment.encode(this.abi, segment), i * 8);
      });
      refs.push(this.domain.grant(page));
    }
    const indirect_grefs = Array.from({ length: 8 }, (_, i) => grantRef(refs[i] ?? 0));
    const fixed = { operation: BLKIF_OP_INDIRECT, indirect_op, nr_segments: count, handle: 51712, id: BigInt(id), sector_number: sector };
    this.poke(this.reqProd, blkif_request_indirect.encode(this.abi, { ...fixed, indirect_grefs }));
    this.reqProd = (this.reqProd + 1) >>> 0;
    return refs;
  }

  /** RING_PUSH_REQUESTS_AND_CHECK_NOTIFY; returns whether the backend had asked to be notified. */
  push(): boolean {
    const old = this.index('req_prod');
    this.setIndex('req_prod', this.reqProd);
    const isAsked = (this.reqProd - this.index('req_event')) >>> 0 < (this.reqProd - old) >>> 0;
    if (isAsked) this.kick();
    return isAsked;
  }
  kick(): void {
    this.domain.notify(this.port);
  }

  /** Takes the answers that are there and asks for an event with the next, as Linux's blkif_interrupt. */
  take(): void {
    for (;;) {
      const prod = this.index('rsp_prod');
      // Nobody but the spec itself writes such an index.
      if ((prod - this.rspCons) >>> 0 > this.slots) return;
      while (this.rspCons !== prod) {
        const at = BLKIF_RING.slotOffset(this.abi, this.rspCons, this.slots);
        const bytes = Uint8Array.from({ length: 16 }, (_, i) => this.pages[Math.floor((at + i) / PAGE)]![(at + i) % PAGE]!);
        const { id, operation, status } = blkif_response.decode(this.abi, bytes);
        this.answers.push({ id: Number(id), operation, status });
        this.rspCons = (this.rspCons + 1) >>> 0;
      }
      this.setIndex('rsp_event', this.rspCons + 1);
      if (this.index('rsp_prod') === this.rspCons) return;
    }
  }

  status(id: number): number | undefined {
    return this.answers.find((a) => a.id === id)?.status;
  }
}

export interface FrontendOptions {
  readonly abi?: Abi;
  readonly pageOrder?: number;
  readonly queues?: number;
  readonly persistent?: boolean;
  readonly spec?: string;
  /** Nodes written last, over those that are right. */
  readonly nodes?: Readonly<Record<string, string>>;
}

export class TestFrontend {
  readonly domain: PlainDomain;
  readonly rings: FrontRing[] = [];
  readonly devid: number;
  readonly front: string;
  readonly back: string;
  private readonly xen: PlainXen;
  private readonly options: FrontendOptions;

  /** The toolstack's part: the device stands in XenStore. */
  constructor(xen: PlainXen, domain: PlainDomain, options: FrontendOptions = {}) {
    this.xen = xen;
    this.domain = domain;
    this.options = options;
    const { device } = diskDevice(options.spec ?? '/test,,xvda');
    this.devid = device.devid;
    addDevice(xen.dom0.xs, domain.id, device);
    this.front = frontendPath(domain.id, 'vbd', this.devid);
    this.back = backendPath(domain.id, 'vbd', this.devid);
    xen.runUntilIdle();
  }

  /** The first ring. */
  get ring(): FrontRing {
    return this.rings[0]!;
  }
  node(key: string): string | null {
    return this.xen.dom0.xs.read(`${this.back}/${key}`);
  }
  get backState(): number {
    return Number(this.node('state'));
  }
  get error(): string | null {
    return this.xen.dom0.xs.read(`/local/domain/0/error/backend/vbd/${this.domain.id}/${this.devid}/error`);
  }
  setState(state: number): void {
    this.xen.dom0.xs.write(`${this.front}/state`, String(state));
    this.xen.runUntilIdle();
  }

  /** Publishes rings, as far as Initialised. */
  publish(): void {
    const { abi = 'x86_64', pageOrder = 0, queues = 1, persistent = false } = this.options;
    const { xs } = this.xen.dom0;
    this.rings.length = 0;
    const write = (key: string, value: string | number) => xs.write(`${this.front}/${key}`, String(value));
    for (let i = 0; i < queues; i++) {
      const ring = new FrontRing(this.domain, abi, 1 << pageOrder);
      this.rings.push(ring);
      const prefix = queues === 1 ? '' : `queue-${i}/`;
      if (pageOrder === 0) write(`${prefix}ring-ref`, ring.refs[0]!);
      else for (let p = 0; p < ring.refs.length; p++) write(`${prefix}ring-ref${p}`, ring.refs[p]!);
      write(`${prefix}event-channel`, ring.port);
    }
    if (pageOrder > 0) write('ring-page-order', pageOrder);
    if (queues > 1) write('multi-queue-num-queues', queues);
    write('protocol', abi === 'x86_32' ? XEN_IO_PROTO_ABI_X86_32 : XEN_IO_PROTO_ABI_X86_64);
    if (persistent) write('feature-persistent', 1);
    for (const [key, value] of Object.entries(this.options.nodes ?? {})) write(key, value);
    this.setState(3);
  }

  /** As far as Connected. */
  connect(): this {
    this.publish();
    this.setState(4);
    return this;
  }
}
