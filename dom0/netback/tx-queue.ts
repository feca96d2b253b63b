// The guest's sending side of one queue: requests become packets for the switch (netif.h, "Request format"; the checks and their order are
// those of Linux's netback.c: xenvif_tx_build_gops, xenvif_get_extras, xenvif_count_requests, xenvif_tx_submit).
//
// A burst is served in rounds: look at the requests of as many packets as fit, copy all their bytes with one hypercall, hand the packets on,
// answer. What a frontend may get wrong by accident costs it the packet; what it cannot, the device.
import {
  GNTST_okay,
  type GrantRef,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETTXF_csum_blank,
  NETTXF_data_validated,
  NETTXF_extra_info,
  NETTXF_more_data,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_HASH,
  XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
  XEN_NETIF_EXTRA_TYPE_MCAST_DEL,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6,
} from '@ringworld/abi';
import type { BackRing } from '../kernel/back-ring.ts';
import { GrantError, type GrantMapping } from '../kernel/gnttab.ts';
import { ETH_HLEN, IPPROTO_TCP } from '../switch/headers.ts';
import { blankChecksum, checksumPlace } from '../switch/offload.ts';
import type { Packet, PacketGso, PacketHash } from '../switch/port.ts';
import type { Credit } from './credit.ts';
import type { StaticPage } from './ctrl-ring.ts';
import { EXTRA, TX_REQUEST, TX_RESPONSE } from './rings.ts';
import { PAGE, type Shared } from './shared.ts';
import { FATAL_SLOTS, MAX_SLOTS, type TxPacket } from './tx-batch.ts';

/** XEN_NETIF_EXTRA_TYPE_XDP (5) is the last; what it says concerns only packets to the guest. */
const EXTRA_TYPE_MAX = 6;

/** What a queue needs of its interface. */
export interface TxOwner {
  readonly name: string;
  readonly domid: number;
  readonly isLive: boolean;
  /** Closes the device. */
  fatal(reason: string): void;
  transmit(packet: Packet): void;
  /** The burst is over. */
  flush(): void;
  addMulticast(address: Uint8Array): boolean;
  removeMulticast(address: Uint8Array): void;
  /** A page that the frontend has registered for good (XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING). */
  staticPage(gref: number): StaticPage | null;
}

type Look = 'packet' | 'served' | 'none' | 'limited' | 'fatal';

/** Plain data. */
export interface TxStats {
  packets: number;
  bytes: number;
  errors: number;
}

/** Marks a slot whose bytes need no copy by the batch. */
const NO_COPY = -1;
/** ... because they lie in a page that is mapped for good. */
const STATIC = -2;

export class TxQueue {
  readonly stats: TxStats = { packets: 0, bytes: 0, errors: 0 };
  private readonly shared: Shared;
  private readonly owner: TxOwner;
  private readonly ring: BackRing;
  private readonly queue: number;
  private readonly credit: Credit;
  private readonly notify: () => void;
  private unpublished = 0;
  private readonly response = new Uint8Array(TX_RESPONSE.bytes);
  private readonly responseView = new DataView(this.response.buffer);
  private readonly packet: { bytes: Uint8Array; csumBlank: boolean; csumValid: boolean; gso: PacketGso | null; hash: PacketHash | null };

  constructor(shared: Shared, owner: TxOwner, ring: BackRing, queue: number, credit: Credit, notify: () => void) {
    this.shared = shared;
    this.owner = owner;
    this.ring = ring;
    this.queue = queue;
    this.credit = credit;
    this.notify = notify;
    this.packet = { bytes: new Uint8Array(0), csumBlank: false, csumValid: false, gso: null, hash: null };
  }

  /** Serves what there is. Throws RingError. */
  serve(): void {
    let look: Look;
    do {
      do look = this.round();
      while (look === 'packet' || look === 'served');
      // Of credit run out its timer tells; until then no events are asked for.
    } while (look === 'none' && this.ring.finalCheck());
    this.owner.flush();
  }

  /** One round. 'packet': there may be more. */
  private round(): Look {
    const { txBatch: batch, txCopies, options } = this.shared;
    batch.clear();
    let look: Look = 'none';
    while (!batch.isFull && batch.pages + FATAL_SLOTS < this.shared.txPages.views.length) {
      look = this.look();
      if (look !== 'packet' && look !== 'served') break;
    }
    if (look === 'fatal') {
      // What came before it is not sent either: the device is closed.
      txCopies.clear();
      return look;
    }
    this.seen('copy', txCopies.count, txCopies.bytes);
    txCopies.flush();
    for (let i = 0; i < batch.count && this.owner.isLive; i++) {
      this.submit(batch.at(i));
      if (options.notify === 'each' && this.owner.isLive) this.push();
    }
    if (!this.owner.isLive) return 'fatal';
    if (this.unpublished > 0) this.push();
    return look;
  }

  /** The next packet's requests, into the batch. */
  private look(): Look {
    const { ring, owner } = this;
    const { txBatch: batch } = this.shared;
    let work = ring.unconsumed;
    if (work === 0) return 'none';
    const p = batch.next();
    p.reset();
    this.peekSlot(p, ring.state.reqCons, 0);
    p.flags = ring.request.getUint16(TX_REQUEST.flags, true);
    if (!this.credit.take(p.sizes[0]!)) return 'limited';
    ring.skip();
    p.slots = 1;
    work--;
    const multicast = (p.flags & NETTXF_extra_info) !== 0 ? this.lookAtExtras(p, work) : null;
    if (multicast === 'fatal') return 'fatal';
    work -= p.extras;
    if (multicast !== null) {
      const isAdd = multicast.type === XEN_NETIF_EXTRA_TYPE_MCAST_ADD;
      if (!isAdd) owner.removeMulticast(multicast.address);
      this.respond(p, !isAdd || owner.addMulticast(multicast.address) ? NETIF_RSP_OKAY : NETIF_RSP_ERROR, false);
      return 'served';
    }
    const fault = this.lookAtSlots(p, work);
    if (fault === 'fatal') return 'fatal';
    if (fault === 'drop' || p.sizes[0]! < ETH_HLEN) {
      this.respond(p, NETIF_RSP_ERROR, false);
      return 'served';
    }
    if (p.offsets[0]! + p.sizes[0]! > PAGE) return this.fatal(`txreq.offset: ${p.offsets[0]}, size: ${p.sizes[0]}`);
    if (p.gsoType !== 0) {
      if (p.gsoSize === 0) return this.fatal('GSO size must not be zero.');
      if (p.gsoType !== XEN_NETIF_GSO_TYPE_TCPV4 && p.gsoType !== XEN_NETIF_GSO_TYPE_TCPV6) return this.fatal(`Bad GSO type ${p.gsoType}.`);
    }
    this.addCopies(p);
    batch.count++;
    return 'packet';
  }

  /** Request `index` of the ring as slot `slot` of the packet. */
  private peekSlot(p: TxPacket, index: number, slot: number): void {
    const r = this.ring.peek(index);
    p.grefs[slot] = r.getUint32(TX_REQUEST.gref, true);
    p.offsets[slot] = r.getUint16(TX_REQUEST.offset, true);
    p.ids[slot] = r.getUint16(TX_REQUEST.id, true);
    p.sizes[slot] = r.getUint16(TX_REQUEST.size, true);
    const { sink } = this.shared.dom0.observer;
    this.shared.dom0.observer.count('request');
    if (sink === null) return;
    const op = slot === 0 ? 'tx' : 'tx.more';
    sink({ kind: 'request', device: this.owner.name, queue: this.queue, ring: 'tx', index, op, id: p.ids[slot]!, bytes: p.sizes[slot]! });
  }

  /** Takes the extra infos behind the first slot. A request for the multicast list, if there is one, is what the packet is about. */
  private lookAtExtras(p: TxPacket, work: number): { readonly type: number; readonly address: Uint8Array } | 'fatal' | null {
    const { ring } = this;
    let added: Uint8Array | null = null;
    let removed: Uint8Array | null = null;
    for (let more = true; more; ) {
      if (work-- <= 0) return this.fatal('Missing extra info');
      const index = ring.state.reqCons;
      const r = ring.peek(index);
      ring.skip();
      p.extras++;
      const type = r.getUint8(EXTRA.type);
      more = (r.getUint8(EXTRA.flags) & XEN_NETIF_EXTRA_FLAG_MORE) !== 0;
      this.shared.dom0.observer.sink?.({
        kind: 'request',
        device: this.owner.name,
        queue: this.queue,
        ring: 'tx',
        index,
        op: `tx.extra.${type}`,
        id: p.ids[0]!,
        bytes: 0,
      });
      if (type === 0 || type >= EXTRA_TYPE_MAX) return this.fatal(`Invalid extra type: ${type}`);
      const address = () => new Uint8Array(r.buffer.slice(EXTRA.mcastAddr, EXTRA.mcastAddr + 6));
      if (type === XEN_NETIF_EXTRA_TYPE_GSO) {
        p.gsoSize = r.getUint16(EXTRA.gsoSize, true);
        // 0 (XEN_NETIF_GSO_TYPE_NONE) is as bad as any other that is not known.
        p.gsoType = r.getUint8(EXTRA.gsoType) || 0x100;
      } else if (type === XEN_NETIF_EXTRA_TYPE_HASH) {
        p.hashType = r.getUint8(EXTRA.hashType);
        p.hashAlgorithm = r.getUint8(EXTRA.hashAlgorithm);
        p.hashValue = r.getUint32(EXTRA.hashValue, true);
      } else if (type === XEN_NETIF_EXTRA_TYPE_MCAST_ADD) added = address();
      else if (type === XEN_NETIF_EXTRA_TYPE_MCAST_DEL) removed = address();
    }
    if (added !== null) return { type: XEN_NETIF_EXTRA_TYPE_MCAST_ADD, address: added };
    return removed === null ? null : { type: XEN_NETIF_EXTRA_TYPE_MCAST_DEL, address: removed };
  }

  /** The slots behind the first. Its size is that of the packet, and becomes its own. */
  private lookAtSlots(p: TxPacket, work: number): 'drop' | 'fatal' | null {
    const { ring } = this;
    let isDropped = false;
    let first = p.sizes[0]!;
    for (let more = (p.flags & NETTXF_more_data) !== 0; more; ) {
      const slots = p.slots - 1;
      if (slots >= work) return this.fatal(`Asked for ${work} slots but exceeds this limit`);
      if (slots >= FATAL_SLOTS) return this.fatal(`Malicious frontend using ${slots} slots, threshold ${FATAL_SLOTS}`);
      // Up to here Linux has always dropped and gone on: frontends with larger MAX_SKB_FRAGS exist.
      if (p.slots >= MAX_SLOTS) isDropped = true;
      this.peekSlot(p, ring.state.reqCons, p.slots);
      const size = p.sizes[p.slots]!;
      const offset = p.offsets[p.slots]!;
      more = (ring.request.getUint16(TX_REQUEST.flags, true) & NETTXF_more_data) !== 0;
      ring.skip();
      p.slots++;
      // A frame of 64 KiB or more, whose size did not fit the field: there are frontends that do this.
      if (size > first) isDropped = true;
      first -= size;
      if (offset + size > PAGE) return this.fatal(`Cross page boundary, txp->offset: ${offset}, size: ${size}`);
    }
    if (isDropped) return 'drop';
    p.sizes[0] = first;
    return null;
  }

  private addCopies(p: TxPacket): void {
    const { txBatch: batch, txCopies, txPages, options } = this.shared;
    for (let i = 0; i < p.slots; i++) {
      const gref = p.grefs[i]!;
      if (this.owner.staticPage(gref) !== null) p.copies[i] = STATIC;
      else if (options.tx === 'map') p.copies[i] = NO_COPY;
      else {
        const page = batch.pages++;
        p.pages[i] = page;
        p.copies[i] = txCopies.fromGrant(this.owner.domid, gref, p.offsets[i]!, txPages.first + page, 0, p.sizes[i]!);
      }
    }
  }

  /** Puts the packet together, hands it on and answers. */
  private submit(p: TxPacket): void {
    const length = this.shared.options.tx === 'map' ? this.assembleMapped(p) : this.assemble(p);
    if (length < 0) {
      this.respond(p, NETIF_RSP_OKAY, true);
      return;
    }
    const bytes = this.shared.packet.subarray(0, length);
    if (this.describe(p, bytes)) {
      this.stats.packets++;
      this.stats.bytes += length;
      this.owner.transmit(this.packet);
      this.packet.bytes = EMPTY;
    } else this.stats.errors++;
    // A packet that nothing can be done with was still taken.
    if (this.owner.isLive) this.respond(p, NETIF_RSP_OKAY, false);
  }

  /** Returns the frame's length, or -1 when a slot's bytes could not be had. */
  private assemble(p: TxPacket): number {
    const { txCopies, txPages, packet, dom0 } = this.shared;
    let at = 0;
    for (let i = 0; i < p.slots; i++) {
      const size = p.sizes[i]!;
      const copy = p.copies[i]!;
      if (copy === STATIC) {
        const page = this.owner.staticPage(p.grefs[i]!);
        if (page === null) return -1;
        dom0.observer.count('byte_copied', size);
        page.view.readInto(p.offsets[i]!, packet.subarray(at, at + size));
      } else {
        if (txCopies.status(copy) !== GNTST_okay) return -1;
        txPages.views[p.pages[i]!]!.readInto(0, packet.subarray(at, at + size));
      }
      at += size;
    }
    return at;
  }

  private assembleMapped(p: TxPacket): number {
    const { dom0, packet } = this.shared;
    let mapping: GrantMapping | null = null;
    try {
      // SAFE: any number may stand in a request; Xen checks it.
      mapping = dom0.grants.map(
        this.owner.domid as Parameters<typeof dom0.grants.map>[0],
        Array.from(p.grefs.subarray(0, p.slots)) as GrantRef[],
        {
          readonly: true,
        },
      );
      this.seen('map', p.slots, 0);
      let at = 0;
      for (let i = 0; i < p.slots; i++) {
        mapping.page(i).readInto(p.offsets[i]!, packet.subarray(at, at + p.sizes[i]!));
        at += p.sizes[i]!;
      }
      return at;
    } catch (e) {
      if (!(e instanceof GrantError)) throw e;
      for (let i = 0; i < p.slots; i++) p.copies[i] = NO_COPY;
      return -1;
    } finally {
      if (mapping !== null) {
        mapping.unmap();
        this.seen('unmap', p.slots, 0);
      }
    }
  }

  /** checksum_setup(): fills in what is known of the packet. False: it is not what its flags say, and is dropped. */
  private describe(p: TxPacket, bytes: Uint8Array): boolean {
    const { packet } = this;
    packet.bytes = bytes;
    packet.csumBlank = (p.flags & NETTXF_csum_blank) !== 0;
    packet.csumValid = packet.csumBlank || (p.flags & NETTXF_data_validated) !== 0;
    packet.gso = null;
    packet.hash = p.hashType < 0 ? null : { type: p.hashType, algorithm: p.hashAlgorithm, value: p.hashValue };
    if (p.gsoType === 0 && !packet.csumBlank) return true;
    const place = checksumPlace(bytes);
    if (place === null) return false;
    if (p.gsoType === 0) return true;
    const is4 = place.version === 4;
    if (place.protocol !== IPPROTO_TCP || p.gsoType !== (is4 ? XEN_NETIF_GSO_TYPE_TCPV4 : XEN_NETIF_GSO_TYPE_TCPV6)) return false;
    // Some frontends forget to say so (rx_gso_checksum_fixup).
    if (!packet.csumBlank) blankChecksum(bytes, place);
    packet.csumBlank = true;
    packet.csumValid = true;
    packet.gso = { type: is4 ? 'tcpv4' : 'tcpv6', size: p.gsoSize };
    return true;
  }

  /** `byCopy`: error for the slots whose copy failed, and okay for the rest, as the packet was taken. */
  private respond(p: TxPacket, status: number, byCopy: boolean): void {
    if (status === NETIF_RSP_ERROR || byCopy) this.stats.errors++;
    for (let i = 0; i < p.slots; i++) {
      this.put(p.ids[i]!, byCopy ? this.copyStatus(p, i) : status);
      // make_tx_response: the extra infos belong to the first request.
      if (i === 0) for (let k = 0; k < p.extras; k++) this.put(p.ids[0]!, NETIF_RSP_NULL);
    }
  }
  private copyStatus(p: TxPacket, slot: number): number {
    const copy = p.copies[slot]!;
    if (copy === STATIC) return NETIF_RSP_OKAY;
    return copy === NO_COPY || this.shared.txCopies.status(copy) !== GNTST_okay ? NETIF_RSP_ERROR : NETIF_RSP_OKAY;
  }

  private put(id: number, status: number): void {
    this.responseView.setUint16(TX_RESPONSE.id, id, true);
    this.responseView.setInt16(TX_RESPONSE.status, status, true);
    const index = this.ring.put(this.response);
    this.unpublished++;
    const { observer } = this.shared.dom0;
    observer.count('response');
    observer.sink?.({ kind: 'response', device: this.owner.name, queue: this.queue, ring: 'tx', index, id, status });
  }

  private push(): void {
    this.unpublished = 0;
    const asked = this.ring.push();
    const sent = asked || this.shared.options.notify === 'each';
    this.shared.dom0.observer.sink?.({ kind: 'notify', device: this.owner.name, queue: this.queue, ring: 'tx', sent });
    if (sent) this.notify();
  }

  private seen(op: 'copy' | 'map' | 'unmap', count: number, bytes: number): void {
    if (count > 0) this.shared.dom0.observer.sink?.({ kind: 'grant', device: this.owner.name, op, count, bytes });
  }

  private fatal(reason: string): 'fatal' {
    this.owner.fatal(`queue ${this.queue}: ${reason}`);
    return 'fatal';
  }
}

const EMPTY = new Uint8Array(0);
