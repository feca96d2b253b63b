// A network frontend for specs. It does what it is told, right or wrong: requests may be put into the ring as bytes, indices set at will.
import {
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  domid,
  type EvtchnPort,
  type Gfn,
  guestHandle,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETRXF_extra_info,
  NETRXF_more_data,
  NETTXF_csum_blank,
  NETTXF_data_validated,
  NETTXF_extra_info,
  NETTXF_more_data,
  netif_extra_info,
  netif_tx_request,
  type PageView,
  sring,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XENMEM_decrease_reservation,
  XenbusStateConnected,
  xen_memory_reservation,
} from '@ringworld/abi';
import { frontendPath } from '../../toolstack/device.ts';
import { CTRL_RING, RX_RING, TX_RING } from '../rings.ts';
import type { TestDomain, World } from './world.ts';

const PAGE = 4096;
const at = (f: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event') => sring.offset(f, 'x86_64');
export const RING_SLOTS = TX_RING.slots('x86_64', PAGE);

export interface FrontOptions {
  readonly devid?: number;
  readonly queues?: number;
  /** One event channel for both directions. */
  readonly singleChannel?: boolean;
  readonly ctrl?: boolean;
  /** Nodes of the frontend beside those of every frontend; null leaves one of those out. */
  readonly nodes?: Readonly<Record<string, string | null>>;
  /** Nodes of the backend's directory, as the toolstack writes them. */
  readonly back?: Readonly<Record<string, string>>;
  /** Pages are offered for transfer, not for copying. */
  readonly flip?: boolean;
}

export interface TxSlot {
  readonly gref: number;
  readonly offset?: number;
  readonly size: number;
  readonly flags?: number;
  readonly id?: number;
}

export interface Received {
  readonly bytes: Uint8Array;
  readonly csumBlank: boolean;
  readonly validated: boolean;
  readonly extras: readonly Uint8Array[];
  readonly queue: number;
}

/** One ring pair. */
export class FrontQueue {
  readonly front: TestFront;
  readonly index: number;
  readonly tx: PageView;
  readonly rx: PageView;
  readonly txRef: number;
  readonly rxRef: number;
  txPort: EvtchnPort;
  rxPort: EvtchnPort;
  txProd = 0;
  txCons = 0;
  rxProd = 0;
  rxCons = 0;
  /** Buffers posted, by id. */
  readonly posted = new Map<number, { readonly ref: number; readonly frame: Gfn; readonly page: PageView }>();
  kicks = 0;
  rxKicks = 0;
  private nextId = 1;

  constructor(front: TestFront, index: number) {
    const { domain } = front;
    this.front = front;
    this.index = index;
    const [tx, rx] = [domain.allocate(), domain.allocate()];
    this.tx = tx.page;
    this.rx = rx.page;
    for (const page of [this.tx, this.rx]) {
      page.writeBytes(0, new Uint8Array(PAGE));
      page.setU32(at('req_event'), 1);
      page.setU32(at('rsp_event'), 1);
    }
    this.txRef = domain.grant(tx.frame);
    this.rxRef = domain.grant(rx.frame);
    // SAFE: domain 0.
    this.txPort = domain.events.allocUnbound(0 as Parameters<typeof domain.events.allocUnbound>[0]);
    domain.events.listen(this.txPort, () => this.kicks++);
    this.rxPort = this.txPort;
    if (!front.options.singleChannel) {
      this.rxPort = domain.events.allocUnbound(0 as Parameters<typeof domain.events.allocUnbound>[0]);
      domain.events.listen(this.rxPort, () => this.rxKicks++);
    }
  }

  /** The bytes of a request, or of an extra info, into the next slot. */
  putTx(bytes: Uint8Array): number {
    const slot = this.txProd++;
    this.tx.writeBytes(TX_RING.slotOffset('x86_64', slot, RING_SLOTS), bytes);
    return slot;
  }
  request(slot: TxSlot): Uint8Array {
    // SAFE: tests use numbers that are no grants, too.
    const gref = slot.gref as Parameters<typeof netif_tx_request.encode>[1]['gref'] & {};
    return netif_tx_request.encode('x86_64', {
      gref,
      offset: slot.offset ?? 0,
      size: slot.size,
      flags: slot.flags ?? 0,
      id: slot.id ?? this.newId(),
    });
  }
  newId(): number {
    this.nextId = (this.nextId + 1) & 0xffff;
    return this.nextId;
  }
  /** Publishes and, whatever the event index says, sends an event. */
  kickTx(prod = this.txProd): void {
    this.tx.setU32(at('req_prod'), prod >>> 0);
    this.front.domain.events.notify(this.txPort);
  }
  setTxProd(prod: number): void {
    this.tx.setU32(at('req_prod'), prod >>> 0);
  }
  rspProd(page: PageView): number {
    return page.u32(at('rsp_prod'));
  }

  /** Sends a packet in slots of the sizes told, each in a page of its own; the last takes the rest. Returns what was used. */
  send(
    bytes: Uint8Array,
    options: {
      readonly sizes?: readonly number[];
      readonly csumBlank?: boolean;
      readonly validated?: boolean;
      readonly gso?: { readonly type: number; readonly size: number };
      readonly extras?: readonly Uint8Array[];
      readonly kick?: boolean;
    } = {},
  ): { readonly refs: readonly number[]; readonly ids: readonly number[] } {
    const { domain } = this.front;
    const sizes: number[] = [...(options.sizes ?? [])];
    for (let rest = bytes.length - sizes.reduce((a, b) => a + b, 0); rest > 0; rest -= PAGE) sizes.push(Math.min(PAGE, rest));
    const gso =
      options.gso === undefined
        ? []
        : [
            netif_extra_info.encode('x86_64', {
              type: XEN_NETIF_EXTRA_TYPE_GSO,
              flags: 0,
              u: { gso: { size: options.gso.size, type: options.gso.type, pad: 0, features: 0 } },
            }),
          ];
    const extras = [...gso, ...(options.extras ?? [])].map((e, i, all) => {
      const copy = e.slice();
      if (i < all.length - 1) copy[1] = copy[1]! | XEN_NETIF_EXTRA_FLAG_MORE;
      return copy;
    });
    const refs: number[] = [];
    const ids: number[] = [];
    let from = 0;
    sizes.forEach((size, i) => {
      const { frame, page } = this.front.buffer();
      page.writeBytes(0, bytes.subarray(from, from + size));
      from += size;
      const ref = domain.grant(frame, { readonly: true });
      this.front.lent.set(ref, frame);
      refs.push(ref);
      const id = this.newId();
      ids.push(id);
      let flags = i < sizes.length - 1 ? NETTXF_more_data : 0;
      if (i === 0) {
        if (options.csumBlank) flags |= NETTXF_csum_blank | NETTXF_data_validated;
        else if (options.validated) flags |= NETTXF_data_validated;
        if (extras.length > 0) flags |= NETTXF_extra_info;
      }
      this.putTx(this.request({ gref: ref, size: i === 0 ? bytes.length : size, flags, id }));
      if (i === 0) for (const e of extras) this.putTx(e);
    });
    if (options.kick !== false) this.kickTx();
    return { refs, ids };
  }

  /** Responses since the last look. Asks for an event at the next one. */
  responses(): { readonly id: number; readonly status: number }[] {
    const found: { id: number; status: number }[] = [];
    const prod = this.rspProd(this.tx);
    // Where the test itself has overwritten the ring there is nothing to be read.
    if ((prod - this.txCons) >>> 0 > RING_SLOTS) this.txCons = prod;
    for (; this.txCons !== prod; this.txCons = (this.txCons + 1) >>> 0) {
      const slot = TX_RING.slotOffset('x86_64', this.txCons, RING_SLOTS);
      found.push({ id: this.tx.u16(slot), status: (this.tx.u16(slot + 2) << 16) >> 16 });
    }
    this.tx.setU32(at('rsp_event'), (this.txCons + 1) >>> 0);
    return found;
  }

  /** Offers `count` empty pages. */
  post(count: number, kick = true): void {
    const { domain, options } = this.front;
    for (let i = 0; i < count; i++) {
      const { frame, page } = this.front.buffer();
      if (options.flip) this.front.giveUp(frame);
      const ref = domain.grant(frame, { transfer: options.flip === true });
      const id = this.newId();
      this.posted.set(id, { ref, frame, page });
      this.putRx(id, ref);
    }
    if (kick) this.kickRx();
  }
  putRx(id: number, ref: number): void {
    const slot = RX_RING.slotOffset('x86_64', this.rxProd++, RING_SLOTS);
    this.rx.setU16(slot, id);
    this.rx.setU16(slot + 2, 0);
    this.rx.setU32(slot + 4, ref);
  }
  kickRx(prod = this.rxProd): void {
    this.rx.setU32(at('req_prod'), prod >>> 0);
    this.front.domain.events.notify(this.rxPort);
  }

  /** The next response, raw. */
  rxResponse(): {
    readonly id: number;
    readonly offset: number;
    readonly flags: number;
    readonly status: number;
    readonly raw: Uint8Array;
  } | null {
    if (this.rxCons === this.rspProd(this.rx)) return null;
    const slot = RX_RING.slotOffset('x86_64', this.rxCons, RING_SLOTS);
    this.rxCons = (this.rxCons + 1) >>> 0;
    this.rx.setU32(at('rsp_event'), (this.rxCons + 1) >>> 0);
    const status = (this.rx.u16(slot + 6) << 16) >> 16;
    return { id: this.rx.u16(slot), offset: this.rx.u16(slot + 2), flags: this.rx.u16(slot + 4), status, raw: this.rx.bytes(slot, 8) };
  }

  /** Whole packets since the last look. The buffers they lay in are free again. */
  received(): Received[] {
    const packets: Received[] = [];
    for (;;) {
      const first = this.rxResponse();
      if (first === null) return packets;
      const parts: Uint8Array[] = [this.take(first)];
      const extras: Uint8Array[] = [];
      let more = (first.flags & NETRXF_extra_info) !== 0;
      while (more) {
        const { raw } = this.rxResponse()!;
        extras.push(raw);
        more = (raw[1]! & XEN_NETIF_EXTRA_FLAG_MORE) !== 0;
      }
      for (let last = first; (last.flags & NETRXF_more_data) !== 0; ) {
        last = this.rxResponse()!;
        parts.push(this.take(last));
      }
      const bytes = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
      let to = 0;
      for (const p of parts) {
        bytes.set(p, to);
        to += p.length;
      }
      packets.push({
        bytes,
        csumBlank: (first.flags & NETRXF_csum_blank) !== 0,
        validated: (first.flags & NETRXF_data_validated) !== 0,
        extras,
        queue: this.index,
      });
    }
  }
  private take(r: { readonly id: number; readonly offset: number; readonly status: number }): Uint8Array {
    const buffer = this.posted.get(r.id);
    if (buffer === undefined) throw new Error(`a response for buffer ${r.id}, which was not posted`);
    this.posted.delete(r.id);
    this.front.domain.revoke(buffer.ref);
    const bytes = r.status > 0 ? buffer.page.bytes(r.offset, r.status) : new Uint8Array(0);
    this.front.free.push(buffer);
    return bytes;
  }
}

export class TestFront {
  readonly world: World;
  readonly domain: TestDomain;
  readonly options: FrontOptions;
  readonly devid: number;
  readonly queues: readonly FrontQueue[];
  readonly path: string;
  readonly back: string;
  /** Grants of sent packets. */
  readonly lent = new Map<number, Gfn>();
  readonly free: { readonly frame: Gfn; readonly page: PageView }[] = [];
  ctrl: PageView | null = null;
  private ctrlPort: EvtchnPort | null = null;
  private ctrlProd = 0;

  constructor(world: World, options: FrontOptions = {}, domain: TestDomain = world.domain()) {
    this.world = world;
    this.domain = domain;
    this.options = options;
    this.devid = options.devid ?? 0;
    this.path = frontendPath(this.domain.id, 'vif', this.devid);
    this.back = `/local/domain/0/backend/vif/${this.domain.id}/${this.devid}`;
    this.queues = Array.from({ length: options.queues ?? 1 }, (_, i) => new FrontQueue(this, i));
    world.add(this.domain, { devid: this.devid, back: options.back ?? {} });
    world.run();
  }

  get queue(): FrontQueue {
    return this.queues[0]!;
  }
  get state(): number {
    return Number(this.world.dom0.xs.read(`${this.back}/state`) ?? 0);
  }
  get error(): string | null {
    return this.world.dom0.xs.read(`/local/domain/0/error/backend/vif/${this.domain.id}/${this.devid}/error`);
  }

  buffer(): { readonly frame: Gfn; readonly page: PageView } {
    return this.free.pop() ?? this.domain.allocate();
  }
  /** Takes the pages of answered packets back. */
  reclaim(refs: Iterable<number>): void {
    for (const ref of refs) {
      const frame = this.lent.get(ref);
      if (frame === undefined) continue;
      this.domain.revoke(ref);
      this.lent.delete(ref);
      this.free.push({ frame, page: this.domain.xen.memory.page(frame) });
    }
  }
  /** Empties the place of a page that is to come by transfer. */
  giveUp(frame: Gfn): void {
    const { xen } = this.domain;
    xen.memory.withArguments((args) => {
      const list = new Uint8Array(8);
      new DataView(list.buffer).setUint32(0, frame, true);
      xen.op(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, xen_memory_reservation, {
        extent_start: guestHandle(args.put(list)),
        nr_extents: 1,
        extent_order: 0,
        domid: domid(DOMID_SELF),
      });
    });
  }

  write(key: string, value: string): void {
    this.world.dom0.xs.write(`${this.path}/${key}`, value);
  }

  /** Publishes the rings and goes Connected; the backend follows. */
  connect(): this {
    const nodes: Record<string, string | null> = {
      'request-rx-copy': '1',
      'feature-rx-notify': '1',
      'feature-sg': '1',
      'feature-gso-tcpv4': '1',
      'feature-gso-tcpv6': '1',
      'feature-ipv6-csum-offload': '1',
    };
    if (this.queues.length > 1) nodes['multi-queue-num-queues'] = String(this.queues.length);
    for (const q of this.queues) {
      const prefix = this.queues.length > 1 ? `queue-${q.index}/` : '';
      nodes[`${prefix}tx-ring-ref`] = String(q.txRef);
      nodes[`${prefix}rx-ring-ref`] = String(q.rxRef);
      if (this.options.singleChannel) nodes[`${prefix}event-channel`] = String(q.txPort);
      else {
        nodes[`${prefix}event-channel-tx`] = String(q.txPort);
        nodes[`${prefix}event-channel-rx`] = String(q.rxPort);
      }
    }
    if (this.options.ctrl && this.ctrl === null) {
      const { frame, page } = this.domain.allocate();
      page.writeBytes(0, new Uint8Array(PAGE));
      page.setU32(at('req_event'), 1);
      page.setU32(at('rsp_event'), 1);
      this.ctrl = page;
      this.ctrlPort = this.domain.events.allocUnbound(0 as Parameters<typeof this.domain.events.allocUnbound>[0]);
      nodes['ctrl-ring-ref'] = String(this.domain.grant(frame));
      nodes['event-channel-ctrl'] = String(this.ctrlPort);
    }
    for (const [key, value] of Object.entries({ ...nodes, ...this.options.nodes })) if (value !== null) this.write(key, value);
    this.write('state', String(XenbusStateConnected));
    this.world.run();
    return this;
  }

  /** connect() of a driver that starts anew: Xen closes nothing of its old one, so event channels are new. */
  reconnect(): this {
    const { events } = this.domain;
    for (const q of this.queues) {
      for (const port of new Set([q.txPort, q.rxPort])) events.close(port);
      q.txPort = events.allocUnbound(0 as Parameters<typeof events.allocUnbound>[0]);
      events.listen(q.txPort, () => q.kicks++);
      q.rxPort = q.txPort;
      if (this.options.singleChannel) continue;
      q.rxPort = events.allocUnbound(0 as Parameters<typeof events.allocUnbound>[0]);
      events.listen(q.rxPort, () => q.rxKicks++);
    }
    if (this.ctrlPort !== null) {
      events.close(this.ctrlPort);
      this.ctrl = null;
      this.ctrlPort = null;
      this.ctrlProd = 0;
    }
    return this.connect();
  }

  /** One request over the control ring; its status and data. */
  control(type: number, a = 0, b = 0, c = 0): { readonly status: number; readonly data: number } {
    const page = this.ctrl!;
    const slots = CTRL_RING.slots('x86_64', PAGE);
    const slot = CTRL_RING.slotOffset('x86_64', this.ctrlProd, slots);
    page.setU16(slot, this.ctrlProd & 0xffff);
    page.setU16(slot + 2, type);
    [a, b, c].forEach((word, i) => {
      page.setU32(slot + 4 + i * 4, word);
    });
    this.ctrlProd++;
    page.setU32(at('req_prod'), this.ctrlProd);
    this.domain.events.notify(this.ctrlPort!);
    this.world.run();
    if (page.u32(at('rsp_prod')) !== this.ctrlProd) throw new Error('the control request was not answered');
    return { status: page.u32(slot + 4), data: page.u32(slot + 8) };
  }

  /** What all queues got. */
  received(): Received[] {
    return this.queues.flatMap((q) => q.received());
  }
}
