// A network frontend that sends and takes packets with a stamp in each. As Linux's netfront: a grant for each packet sent, buffers posted for
// what comes; besides, what history has: pages that change owner on receive, and pages registered for good over the control ring.
import {
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  domid,
  type Gfn,
  GTF_transfer_completed,
  grantRef,
  guestHandle,
  NETIF_RSP_OKAY,
  netif_rx_request,
  netif_rx_response,
  netif_tx_request,
  netif_tx_response,
  type PageView,
  ringType,
  XEN_NETIF_CTRL_STATUS_SUCCESS,
  XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING,
  XENMEM_decrease_reservation,
  xen_memory_reservation,
  xen_netif_ctrl_request,
  xen_netif_ctrl_response,
  xen_netif_gref,
} from '@ringworld/abi';
import { addDevice, backendPath, type FrontDomain, frontendPath } from '@ringworld/dom0';
import { FrontRing } from './front-ring.ts';
import type { FrontendWork } from './measure.ts';
import type { BenchWorld } from './world.ts';

const TX_RING = ringType('netif_tx', [netif_tx_request, netif_tx_response]);
const RX_RING = ringType('netif_rx', [netif_rx_request, netif_rx_response]);
const CTRL_RING = ringType('xen_netif_ctrl', [xen_netif_ctrl_request, xen_netif_ctrl_response]);
const TX_RESPONSE = netif_tx_response.size('x86_64');
const RX_RESPONSE = netif_rx_response.size('x86_64');
const GREF_SIZE = xen_netif_gref.size('x86_64');
type Port = ReturnType<FrontDomain['events']['allocUnbound']>;

export const GUEST_MAC = [0x00, 0x16, 0x3e, 0, 0, 1] as const;
export const STATION_MAC = [0x02, 0, 0, 0, 0, 1] as const;
/** Behind the Ethernet header: the packet's number and when it was sent. */
const STAMP = 14;
/** IEEE 802 local experimental. */
const ETHERTYPE = [0x88, 0xb5] as const;

export interface NetFrontOptions {
  readonly queues: number;
  readonly rx: 'copy' | 'flip';
  /** Pages are registered once; nothing is granted, mapped or copied by Xen afterwards. */
  readonly staticGrants: boolean;
  readonly kick: 'asked' | 'each';
  /** Buffers posted on each queue. */
  readonly rxBuffers: number;
}

interface Buffer {
  readonly frame: Gfn;
  readonly page: PageView;
  ref: number;
}

interface Queue {
  readonly tx: FrontRing;
  readonly rx: FrontRing;
  txPort: Port;
  rxPort: Port;
  readonly txFree: Buffer[];
  readonly txBusy: Map<number, Buffer>;
  readonly rxBusy: Map<number, Buffer>;
  readonly rxIdle: Buffer[];
  nextId: number;
}

/** A frame to `to`, with a number and a time in ns. */
export function frameOf(to: readonly number[], from: readonly number[], size: number, number: number, at: number): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set([...to, ...from, ...ETHERTYPE]);
  const view = new DataView(bytes.buffer);
  view.setUint32(STAMP, number, true);
  view.setFloat64(STAMP + 4, at, true);
  return bytes;
}
export const stampIn = (bytes: Uint8Array): { readonly number: number; readonly at: number } => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { number: view.getUint32(STAMP, true), at: view.getFloat64(STAMP + 4, true) };
};

export class NetFront {
  readonly domain: FrontDomain;
  /** Called with the frame of each packet that came. */
  onPacket: (bytes: Uint8Array) => void = () => {};
  private readonly world: BenchWorld;
  private readonly options: NetFrontOptions;
  private readonly queues: Queue[] = [];
  private nextQueue = 0;

  constructor(world: BenchWorld, options: NetFrontOptions) {
    this.world = world;
    this.options = options;
    this.domain = world.frontDomain();
    this.connect();
  }

  work = (): FrontendWork => {
    const { observer, granted, revoked } = this.domain;
    const { hypercall, evtchn_send, upcall } = observer.work;
    return { hypercalls: hypercall, sent: evtchn_send, received: upcall, granted, revoked, bytesCopied: 0 };
  };

  /** Sends frames, spread over the queues; throws when the rings have no room for them. */
  send(frames: readonly Uint8Array[]): void {
    const isEach = this.options.kick === 'each';
    const touched = new Set<Queue>();
    for (const bytes of frames) {
      const q = this.queues[this.nextQueue++ % this.queues.length]!;
      this.put(q, bytes);
      touched.add(q);
      if (!isEach) continue;
      q.tx.push();
      this.domain.events.notify(q.txPort);
    }
    if (!isEach) for (const q of touched) if (q.tx.push()) this.domain.events.notify(q.txPort);
  }

  private put(q: Queue, bytes: Uint8Array): void {
    if (q.tx.room === 0) throw new Error('the tx ring is full');
    const b = q.txFree.pop() ?? { ...this.domain.allocate(), ref: 0 };
    b.page.writeBytes(0, bytes);
    if (!this.options.staticGrants) b.ref = this.domain.grant(b.frame, { readonly: true });
    const id = q.nextId++ & 0xffff;
    q.txBusy.set(id, b);
    q.tx.put(netif_tx_request.encode('x86_64', { gref: grantRef(b.ref), offset: 0, flags: 0, id, size: bytes.length }));
  }

  private txInterrupt(q: Queue): void {
    do {
      for (let bytes = q.tx.take(TX_RESPONSE); bytes !== null; bytes = q.tx.take(TX_RESPONSE)) {
        const { id, status } = netif_tx_response.decode('x86_64', bytes);
        const b = q.txBusy.get(id);
        if (b === undefined || status !== NETIF_RSP_OKAY) throw new Error(`packet ${id} was answered with ${status}`);
        q.txBusy.delete(id);
        if (!this.options.staticGrants) this.domain.revoke(b.ref);
        q.txFree.push(b);
      }
    } while (q.tx.finalCheck());
  }

  private rxInterrupt(q: Queue): void {
    do {
      for (let bytes = q.rx.take(RX_RESPONSE); bytes !== null; bytes = q.rx.take(RX_RESPONSE)) {
        const { id, offset, status } = netif_rx_response.decode('x86_64', bytes);
        const b = q.rxBusy.get(id);
        if (b === undefined || status < 0) throw new Error(`buffer ${id} came back with ${status}`);
        q.rxBusy.delete(id);
        if (!this.options.staticGrants) {
          const flags = this.domain.revoke(b.ref);
          if (this.options.rx === 'flip' && (flags & GTF_transfer_completed) === 0) throw new Error('a page was not transferred');
        }
        this.onPacket(b.page.bytes(offset, status));
        q.rxIdle.push(b);
      }
      this.post(q);
    } while (q.rx.finalCheck());
  }

  /** Posts all buffers that are idle. */
  private post(q: Queue): void {
    const { options, domain } = this;
    if (q.rxIdle.length === 0) return;
    if (options.rx === 'flip') this.giveUp(q.rxIdle.map((b) => b.frame));
    for (const b of q.rxIdle.splice(0)) {
      if (!options.staticGrants) b.ref = domain.grant(b.frame, { transfer: options.rx === 'flip' });
      const id = q.nextId++ & 0xffff;
      q.rxBusy.set(id, b);
      q.rx.put(netif_rx_request.encode('x86_64', { id, gref: grantRef(b.ref) }));
    }
    if (q.rx.push()) domain.events.notify(q.rxPort);
  }

  /** A page that is to come needs a place that is empty: what was there goes back to Xen, all in one hypercall. */
  private giveUp(frames: readonly Gfn[]): void {
    const { xen } = this.domain;
    xen.memory.withArguments((args) => {
      const list = new BigUint64Array(frames.map(BigInt));
      const extent_start = guestHandle(args.put(new Uint8Array(list.buffer)));
      const reservation = { extent_start, nr_extents: frames.length, extent_order: 0, domid: domid(DOMID_SELF) };
      xen.op(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, xen_memory_reservation, reservation);
    });
  }

  private connect(): void {
    const { world, domain, options } = this;
    const { xs } = world.dom0;
    const mac = GUEST_MAC.map((b) => b.toString(16).padStart(2, '0')).join(':');
    addDevice(xs, domain.id, { type: 'vif', devid: 0, back: { handle: '0', mac, bridge: 'xenbr0' }, front: { handle: '0', mac } });
    world.settle();
    const path = frontendPath(domain.id, 'vif', 0);
    const write = (key: string, value: string | number) => xs.write(`${path}/${key}`, String(value));
    const bind = (handler: () => void): Port => {
      const port = domain.events.allocUnbound(domid(0));
      domain.events.listen(port, handler);
      return port;
    };
    for (let i = 0; i < options.queues; i++) {
      const rings = { tx: new FrontRing(domain, TX_RING, 1), rx: new FrontRing(domain, RX_RING, 1) };
      const lists = { txFree: [], txBusy: new Map(), rxBusy: new Map(), rxIdle: [] };
      // SAFE: both are set before anything is sent.
      const q: Queue = { ...rings, ...lists, txPort: 0 as Port, rxPort: 0 as Port, nextId: 0 };
      q.txPort = bind(() => this.txInterrupt(q));
      q.rxPort = bind(() => this.rxInterrupt(q));
      this.queues.push(q);
      for (let n = 0; n < options.rxBuffers; n++) q.rxIdle.push({ ...domain.allocate(), ref: 0 });
      const prefix = options.queues === 1 ? '' : `queue-${i}/`;
      write(`${prefix}tx-ring-ref`, q.tx.refs[0]!);
      write(`${prefix}rx-ring-ref`, q.rx.refs[0]!);
      write(`${prefix}event-channel-tx`, q.txPort);
      write(`${prefix}event-channel-rx`, q.rxPort);
    }
    const control = options.staticGrants ? new FrontRing(domain, CTRL_RING, 1) : null;
    const controlPort = bind(() => {});
    if (control !== null) {
      write('ctrl-ring-ref', control.refs[0]!);
      write('event-channel-ctrl', controlPort);
    }
    if (options.queues > 1) write('multi-queue-num-queues', options.queues);
    write('request-rx-copy', options.rx === 'flip' ? 0 : 1);
    for (const key of ['feature-rx-notify', 'feature-sg']) write(key, 1);
    write('state', 4);
    world.settle();
    const state = xs.read(`${backendPath(domain.id, 'vif', 0)}/state`);
    if (state !== '4') throw new Error(`the network backend is in state ${state}`);
    if (control !== null) this.register(control, controlPort);
    for (const q of this.queues) this.post(q);
    world.settle();
  }

  /** All pages that packets will ever lie in. */
  private register(control: FrontRing, port: Port): void {
    const { domain, world } = this;
    for (const [i, q] of this.queues.entries()) {
      for (let n = 0; n < q.tx.slots; n++) q.txFree.push({ ...domain.allocate(), ref: 0 });
      const all = [...q.txFree, ...q.rxIdle];
      for (const b of all) b.ref = domain.grant(b.frame);
      for (let from = 0; from < all.length; from += 4096 / GREF_SIZE) {
        const part = all.slice(from, from + 4096 / GREF_SIZE);
        const list = domain.allocate();
        for (const [n, b] of part.entries())
          list.page.writeBytes(n * GREF_SIZE, xen_netif_gref.encode('x86_64', { ref: grantRef(b.ref), flags: 0 }));
        const data = [i, domain.grant(list.frame), part.length];
        control.put(xen_netif_ctrl_request.encode('x86_64', { id: 1, type: XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING, data }));
        if (control.push()) domain.events.notify(port);
        world.settle();
        const answer = control.take(xen_netif_ctrl_response.size('x86_64'));
        const status = answer === null ? -1 : xen_netif_ctrl_response.decode('x86_64', answer).status;
        if (status !== XEN_NETIF_CTRL_STATUS_SUCCESS) throw new Error(`registering grants was answered with ${status}`);
        control.finalCheck();
      }
    }
  }
}
