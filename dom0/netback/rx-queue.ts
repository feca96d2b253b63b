// The guest's receiving side of one queue: packets from the switch into pages that the frontend has posted (netif.h, "Response format";
// Linux's xen-netback/rx.c). A packet takes a slot for each page of it and one for each extra info, behind the first. What finds too few
// slots waits, up to a limit.
import {
  GNTST_okay,
  NETIF_RSP_ERROR,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  NETRXF_extra_info,
  NETRXF_gso_prefix,
  NETRXF_more_data,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_HASH,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6,
} from '@ringworld/abi';
import type { BackRing } from '../kernel/back-ring.ts';
import type { Packet, PacketGso, PacketHash } from '../switch/port.ts';
import type { StaticPage } from './ctrl-ring.ts';
import { EXTRA, RX_REQUEST, RX_RESPONSE } from './rings.ts';
import type { StagedQueue } from './rx-stage.ts';
import { PAGE, type Shared } from './shared.ts';

/** What a queue needs of its interface. */
export interface RxOwner {
  readonly name: string;
  readonly domid: number;
  readonly isLive: boolean;
  /** request-rx-copy = 0 and we may flip. */
  readonly isFlipping: boolean;
  /** GSO is announced by a slot before the packet (NETRXF_gso_prefix), not by an extra info. */
  gsoPrefix(type: PacketGso['type']): boolean;
  staticPage(gref: number): StaticPage | null;
}

/** Plain data. */
export interface RxStats {
  packets: number;
  bytes: number;
  /** Slots whose page could not be written. */
  errors: number;
  dropped: number;
}

interface Waiting {
  readonly bytes: Uint8Array;
  readonly csumBlank: boolean;
  readonly csumValid: boolean;
  readonly gso: PacketGso | null;
  readonly hash: PacketHash | null;
  /** System time, ns. */
  readonly since: number;
}

/** How a staged response's bytes get to the guest: numbers of the stage's lists, or one of these. */
const NOTHING = -1;
const FAILED = -2;
const FLIP = 0x8000;

const SIZE = RX_RESPONSE.bytes;

export class RxQueue implements StagedQueue {
  readonly stats: RxStats = { packets: 0, bytes: 0, errors: 0, dropped: 0 };
  private readonly shared: Shared;
  private readonly owner: RxOwner;
  private readonly ring: BackRing;
  private readonly queue: number;
  private readonly notify: () => void;
  /** Responses of staged packets, in the order of their slots. */
  private readonly staged: Uint8Array;
  private readonly stagedView: DataView;
  private readonly ways: Int32Array;
  private count = 0;
  /** Behind which of them a packet ends. */
  private readonly ends: Uint8Array;
  private backlog: Waiting[] = [];
  private backlogBytes = 0;

  constructor(shared: Shared, owner: RxOwner, ring: BackRing, queue: number, notify: () => void) {
    this.shared = shared;
    this.owner = owner;
    this.ring = ring;
    this.queue = queue;
    this.notify = notify;
    this.staged = new Uint8Array(ring.slots * SIZE);
    this.stagedView = new DataView(this.staged.buffer);
    this.ways = new Int32Array(ring.slots);
    this.ends = new Uint8Array(ring.slots);
  }

  get isWaiting(): boolean {
    return this.backlog.length > 0;
  }

  /** Takes a packet: into the guest at the next flush, or into the backlog. False: dropped. Throws RingError. */
  receive(packet: Packet, hash: PacketHash | null): boolean {
    const needed = this.slotsFor(packet, hash);
    if (this.backlog.length === 0 && this.hasSlots(needed)) {
      this.stage(packet, hash);
      return true;
    }
    return this.wait(packet, hash);
  }

  /** The frontend has posted buffers. Throws RingError. */
  serve(): void {
    let done = 0;
    for (; done < this.backlog.length; done++) {
      const w = this.backlog[done]!;
      if (!this.hasSlots(this.slotsFor(w, w.hash))) break;
      this.backlogBytes -= w.bytes.length;
      this.stage(w, w.hash);
    }
    if (done > 0) this.backlog.splice(0, done);
  }

  /** Forgets what waits. */
  clear(): void {
    this.backlog = [];
    this.backlogBytes = 0;
    this.count = 0;
  }

  complete(): void {
    const { count, ring, owner } = this;
    this.count = 0;
    if (!owner.isLive) return;
    const { copies, flips } = this.shared.rx;
    const { observer } = this.shared.dom0;
    if (observer.sink !== null) this.show(count);
    for (let i = 0; i < count; i++) {
      const way = this.ways[i]!;
      const status = way === NOTHING || way === FAILED ? GNTST_okay : way >= FLIP ? flips.status(way - FLIP) : copies.status(way);
      const at = i * SIZE;
      if (status !== GNTST_okay || way === FAILED) {
        this.stats.errors++;
        this.stagedView.setInt16(at + RX_RESPONSE.status, NETIF_RSP_ERROR, true);
      }
      const index = ring.put(this.staged.subarray(at, at + SIZE));
      observer.count('response');
      observer.sink?.({
        kind: 'response',
        device: owner.name,
        queue: this.queue,
        ring: 'rx',
        index,
        id: this.stagedView.getUint16(at + RX_RESPONSE.id, true),
        status: this.stagedView.getInt16(at + RX_RESPONSE.status, true),
      });
      if (this.shared.options.notify === 'each' && this.ends[i] === 1) this.push();
    }
    if (count > 0 && this.shared.options.notify === 'batch') this.push();
  }

  /** The grant operations that were made for this queue. */
  private show(count: number): void {
    const { sink } = this.shared.dom0.observer;
    const made = { copy: { count: 0, bytes: 0 }, transfer: { count: 0, bytes: 0 } };
    for (let i = 0; i < count; i++) {
      const way = this.ways[i]!;
      if (way < 0) continue;
      const kind = made[way >= FLIP ? 'transfer' : 'copy'];
      kind.count++;
      kind.bytes += this.stagedView.getInt16(i * SIZE + RX_RESPONSE.status, true);
    }
    for (const op of ['copy', 'transfer'] as const)
      if (made[op].count > 0) sink?.({ kind: 'grant', device: this.owner.name, op, ...made[op] });
  }

  private slotsFor(packet: { readonly bytes: Uint8Array; readonly gso: PacketGso | null }, hash: PacketHash | null): number {
    return Math.ceil(packet.bytes.length / PAGE) + (packet.gso === null ? 0 : 1) + (hash === null ? 0 : 1);
  }

  /** Are there so many requests? If not, an event is asked for when there are. */
  private hasSlots(needed: number): boolean {
    return this.ring.unconsumed >= needed || this.ring.awaits(needed);
  }

  private wait(packet: Packet, hash: PacketHash | null): boolean {
    const { options, dom0 } = this.shared;
    const now = dom0.timers.now();
    const { length } = packet.bytes;
    while (this.backlogBytes + length > options.rxQueueBytes && (this.backlog[0]?.since ?? now) + options.rxDrainNs < now) {
      this.stats.dropped++;
      this.backlogBytes -= this.backlog.shift()!.bytes.length;
    }
    if (this.backlogBytes + length > options.rxQueueBytes) {
      this.stats.dropped++;
      return false;
    }
    const { csumBlank, csumValid, gso } = packet;
    this.backlog.push({ bytes: packet.bytes.slice(), csumBlank, csumValid, gso, hash, since: now });
    this.backlogBytes += length;
    return true;
  }

  private stage(packet: Omit<Packet, 'hash'>, hash: PacketHash | null): void {
    const { rx } = this.shared;
    const { bytes, gso } = packet;
    rx.reserve(Math.ceil(bytes.length / PAGE));
    rx.join(this);
    this.stats.packets++;
    this.stats.bytes += bytes.length;
    const hasPrefix = gso !== null && this.owner.gsoPrefix(gso.type);
    if (hasPrefix) {
      // Says how the packet behind it is to be cut; carries nothing itself.
      const at = this.take();
      this.stagedView.setUint16(at + RX_RESPONSE.offset, gso.size, true);
      this.stagedView.setUint16(at + RX_RESPONSE.flags, NETRXF_gso_prefix | NETRXF_more_data, true);
      this.stagedView.setInt16(at + RX_RESPONSE.status, 1 + Math.ceil(bytes.length / PAGE), true);
    }
    const isExtraGso = gso !== null && !hasPrefix;
    let flags = packet.csumBlank ? NETRXF_csum_blank | NETRXF_data_validated : packet.csumValid ? NETRXF_data_validated : 0;
    if (isExtraGso || hash !== null) flags |= NETRXF_extra_info;
    for (let from = 0; from < bytes.length; from += PAGE) {
      const to = Math.min(bytes.length, from + PAGE);
      this.data(bytes.subarray(from, to), flags | (to < bytes.length ? NETRXF_more_data : 0));
      flags = 0;
      if (from > 0) continue;
      if (isExtraGso) {
        const at = this.extra(XEN_NETIF_EXTRA_TYPE_GSO, hash !== null);
        this.stagedView.setUint16(at + EXTRA.gsoSize, gso.size, true);
        this.stagedView.setUint8(at + EXTRA.gsoType, gso.type === 'tcpv4' ? XEN_NETIF_GSO_TYPE_TCPV4 : XEN_NETIF_GSO_TYPE_TCPV6);
      }
      if (hash !== null) {
        const at = this.extra(XEN_NETIF_EXTRA_TYPE_HASH, false);
        this.stagedView.setUint8(at + EXTRA.hashType, hash.type);
        this.stagedView.setUint8(at + EXTRA.hashAlgorithm, hash.algorithm);
        this.stagedView.setUint32(at + EXTRA.hashValue, hash.value, true);
      }
    }
    this.ends[this.count - 1] = 1;
  }

  /** Takes the next request; its response, with the id filled in, begins at the offset returned. */
  private take(): number {
    const index = this.ring.take();
    const i = this.count++;
    const at = i * SIZE;
    this.staged.fill(0, at, at + SIZE);
    this.stagedView.setUint16(at + RX_RESPONSE.id, this.ring.request.getUint16(RX_REQUEST.id, true), true);
    this.ways[i] = NOTHING;
    this.ends[i] = 0;
    const { observer } = this.shared.dom0;
    observer.count('request');
    observer.sink?.({
      kind: 'request',
      device: this.owner.name,
      queue: this.queue,
      ring: 'rx',
      index,
      op: 'rx',
      id: this.ring.request.getUint16(RX_REQUEST.id, true),
      bytes: 0,
    });
    return at;
  }

  private data(bytes: Uint8Array, flags: number): void {
    const at = this.take();
    const slot = this.count - 1;
    const gref = this.ring.request.getUint32(RX_REQUEST.gref, true);
    this.stagedView.setUint16(at + RX_RESPONSE.flags, flags, true);
    this.stagedView.setInt16(at + RX_RESPONSE.status, bytes.length, true);
    const { rx } = this.shared;
    const page = this.owner.staticPage(gref);
    if (page !== null) {
      this.shared.dom0.observer.count('byte_copied', bytes.length);
      if (!page.readonly) page.view.writeBytes(0, bytes);
      this.ways[slot] = page.readonly ? FAILED : NOTHING;
      return;
    }
    const frame = rx.put(bytes);
    this.ways[slot] = this.owner.isFlipping
      ? FLIP + rx.flips.add(frame, this.owner.domid, gref)
      : rx.copies.toGrant(frame, 0, this.owner.domid, gref, 0, bytes.length);
  }

  /** An extra info stands where a response would, id and all. */
  private extra(type: number, hasMore: boolean): number {
    const at = this.take();
    this.staged.fill(0, at, at + SIZE);
    this.stagedView.setUint8(at + EXTRA.type, type);
    this.stagedView.setUint8(at + EXTRA.flags, hasMore ? XEN_NETIF_EXTRA_FLAG_MORE : 0);
    return at;
  }

  private push(): void {
    const asked = this.ring.push();
    const sent = asked || this.shared.options.notify === 'each';
    this.shared.dom0.observer.sink?.({ kind: 'notify', device: this.owner.name, queue: this.queue, ring: 'rx', sent });
    if (sent) this.notify();
  }
}
