// The 9pfs back end (docs/misc/9pfs.pandoc; QEMU's hw/9pfs/xen-9p-backend.c): maps the rings of a frontend, takes whole messages from them, has
// them carried out, and answers when the model says that the host is done.
import { evtchnPort, type GrantRef, grantRef, type PageView } from '@ringworld/abi';
import { RingError } from '../kernel/back-ring.ts';
import type { EventChannels } from '../kernel/evtchn.ts';
import type { GrantMapping, GrantTable } from '../kernel/gnttab.ts';
import type { HostIo } from '../kernel/host-io.ts';
import type { Observer } from '../kernel/observe.ts';
import { type BackendDevice, type BackendNode, type XenbusBackends, XenbusError } from '../kernel/xenbus.ts';
import { FlexRing, REFS, RING_ORDER } from './flex-ring.ts';
import { LockTable } from './locks.ts';
import { HEADER, messageName, P9, RLERROR } from './protocol.ts';
import { P9Session } from './session.ts';
import { type Share, ShareError } from './share.ts';

export const MAX_RINGS = 8;
export const MAX_RING_ORDER = 9;
/** Requests of one ring that are carried out and not yet answered. */
const MAX_IN_FLIGHT = 64;

/** How long requests take, in ns of virtual time. */
export interface P9Latency {
  readonly request: number;
  readonly perByte: number;
  readonly sync: number;
}

/** Chosen, not measured: a local file system whose files are in memory, and a disk that takes a millisecond to flush. */
const LATENCY: P9Latency = { request: 15_000, perByte: 0.25, sync: 1_000_000 };

/** What the backend's directory says. */
export interface ShareParams {
  readonly path: string;
  readonly securityModel: string;
}
/** Throws ShareError where the folder cannot be had. */
export type OpenShare = (params: ShareParams) => Share;

export interface P9Host {
  readonly evtchn: Pick<EventChannels, 'bindInterdomain' | 'notify' | 'close' | 'wallClock'>;
  readonly grants: Pick<GrantTable, 'map'>;
  readonly io: Pick<HostIo, 'start'>;
  readonly observer: Observer;
}

interface Ring {
  readonly index: number;
  readonly ring: FlexRing;
  readonly mappings: readonly GrantMapping[];
  notify: () => void;
  close: () => void;
  /** Taken and not yet in `in`. */
  inFlight: number;
  /** Answers for which `in` has no room yet. */
  readonly replies: Uint8Array[];
  requests: number;
  responses: number;
}

/** An Rflush that waits until what it flushes has been answered. */
interface Flush {
  readonly oldTag: number;
  readonly deliver: () => void;
}

const u32 = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
const u16 = (bytes: Uint8Array, at: number): number => bytes[at]! | (bytes[at + 1]! << 8);

export class P9Device implements BackendDevice {
  private readonly host: P9Host;
  private readonly node: BackendNode;
  private readonly openShare: OpenShare;
  private readonly locks: LockTable;
  private readonly latency: P9Latency;
  private rings: Ring[] = [];
  private session: P9Session | null = null;
  /** How many unanswered requests carry a tag. */
  private readonly tags = new Map<number, number>();
  private flushes: Flush[] = [];

  constructor(host: P9Host, node: BackendNode, openShare: OpenShare, locks: LockTable, latency: P9Latency = LATENCY) {
    this.host = host;
    this.node = node;
    this.openShare = openShare;
    this.locks = locks;
    this.latency = latency;
    node.write('versions', '1');
    node.write('max-rings', String(MAX_RINGS));
    node.write('max-ring-page-order', String(MAX_RING_ORDER));
  }

  connect(): void {
    const { node } = this;
    const version = node.readFrontend('version');
    if (version !== '1') throw new XenbusError(`version: ${version ?? 'missing'}, and 1 is spoken here`);
    const count = node.frontendNumber('num-rings');
    if (count < 1 || count > MAX_RINGS) throw new XenbusError(`num-rings: ${count}, from 1 to ${MAX_RINGS} can be had`);
    try {
      for (let i = 0; i < count; i++) this.rings.push(this.attach(i));
      const share = this.open();
      const maxOpen = Number(node.read('max-open-files') ?? 0);
      this.session = new P9Session(share, {
        isReadOnly: node.read('readonly') === '1',
        maxMessage: Math.min(...this.rings.map((r) => r.ring.size)),
        now: () => this.host.evtchn.wallClock(),
        locks: this.locks,
        ...(maxOpen > 0 ? { maxOpen } : {}),
      });
    } catch (e) {
      this.disconnect();
      throw e;
    }
    // Handlers run only in upcalls, never within bindInterdomain(), so no request has been looked at yet.
  }

  disconnect(): void {
    const { rings, session } = this;
    this.rings = [];
    this.session = null;
    this.tags.clear();
    this.flushes = [];
    for (const r of rings) r.close();
    session?.end();
    session?.share.close();
  }

  remove(): void {}

  private open(): Share {
    const path = this.node.read('path') ?? '';
    try {
      return this.openShare({ path, securityModel: this.node.read('security_model') ?? 'none' });
    } catch (e) {
      if (e instanceof ShareError) throw new XenbusError(`${path}: ${e.message}`);
      throw e;
    }
  }

  private attach(index: number): Ring {
    const { host, node } = this;
    const dom = node.frontend;
    const mappings: GrantMapping[] = [];
    const map = (refs: readonly GrantRef[]): GrantMapping => {
      const mapping = host.grants.map(dom, refs);
      mappings.push(mapping);
      return mapping;
    };
    const unmap = () => {
      for (const m of mappings) m.unmap();
    };
    try {
      const indices = map([grantRef(node.frontendNumber(`ring-ref${index}`))]).page(0);
      const order = indices.u32(RING_ORDER);
      if (order < 1 || order > MAX_RING_ORDER)
        throw new XenbusError(`ring ${index}: order ${order}, from 1 to ${MAX_RING_ORDER} can be had`);
      const refs = Array.from({ length: 2 ** order }, (_, i) => grantRef(indices.u32(REFS + i * 4)));
      const data = map(refs);
      const pages: PageView[] = refs.map((_, i) => data.page(i));
      const ring: Ring = {
        index,
        ring: new FlexRing(indices, pages, order),
        mappings,
        notify: () => {},
        close: unmap,
        inFlight: 0,
        replies: [],
        requests: 0,
        responses: 0,
      };
      const port = host.evtchn.bindInterdomain(dom, evtchnPort(node.frontendNumber(`event-channel-${index}`)), () => this.kicked(ring));
      ring.notify = () => {
        host.observer.sink?.({ kind: 'notify', device: node.name, queue: index, sent: true });
        host.evtchn.notify(port);
      };
      ring.close = () => {
        host.evtchn.close(port);
        unmap();
      };
      return ring;
    } catch (e) {
      unmap();
      throw e;
    }
  }

  private kicked(ring: Ring): void {
    this.host.observer.sink?.({ kind: 'kick', device: this.node.name, queue: ring.index });
    this.guard(ring, () => {
      this.answer(ring);
      this.serve(ring);
    });
  }

  /** A frontend that breaks the protocol loses the device. */
  private guard(ring: Ring, work: () => void): void {
    if (!this.rings.includes(ring)) return;
    try {
      work();
    } catch (e) {
      if (!(e instanceof RingError)) throw e;
      this.node.fatal(`ring ${ring.index}: ${e.message}`);
    }
  }

  /** Takes what is there: whole messages, as far as answers can be kept. */
  private serve(ring: Ring): void {
    const { session } = this;
    while (session !== null && this.session === session && ring.inFlight < MAX_IN_FLIGHT) {
      const { queued } = ring.ring;
      if (queued < HEADER) return;
      const size = u32(ring.ring.peek(HEADER));
      const most = session.msize === 0 ? ring.ring.size : session.msize;
      if (size < HEADER || size > most) throw new RingError(`a message of ${size} bytes, from ${HEADER} to ${most} can be had`);
      if (queued < size) return;
      this.carryOut(ring, session, ring.ring.take(size));
    }
  }

  private carryOut(ring: Ring, session: P9Session, message: Uint8Array): void {
    const { host, node, latency } = this;
    const [type, tag] = [message[4]!, u16(message, 5)];
    host.observer.count('request');
    host.observer.count('byte_copied', message.length);
    const index = ring.requests++;
    host.observer.sink?.({
      kind: 'request',
      device: node.name,
      queue: ring.index,
      index,
      op: messageName(type) ?? `type ${type}`,
      id: tag,
      bytes: message.length,
    });
    ring.inFlight++;
    const reply = session.handle(message);
    const deliver = () => {
      const bytes = message.length + reply.length;
      const ns = latency.request + bytes * latency.perByte + (type === P9.Tfsync ? latency.sync : 0);
      host.observer.count('host_io');
      host.io.start(reply, ns, () => this.guard(ring, () => this.done(ring, tag, reply)));
    };
    if (type === P9.Tflush && message.length >= HEADER + 2) {
      const oldTag = u16(message, HEADER);
      if (oldTag !== tag && (this.tags.get(oldTag) ?? 0) > 0) {
        this.flushes.push({ oldTag, deliver });
        this.tags.set(tag, (this.tags.get(tag) ?? 0) + 1);
        return;
      }
    }
    this.tags.set(tag, (this.tags.get(tag) ?? 0) + 1);
    deliver();
  }

  private done(ring: Ring, tag: number, reply: Uint8Array): void {
    ring.replies.push(reply);
    const left = (this.tags.get(tag) ?? 1) - 1;
    if (left > 0) this.tags.set(tag, left);
    else this.tags.delete(tag);
    this.answer(ring);
    if (left === 0 && this.flushes.length > 0) {
      const ready = this.flushes.filter((f) => f.oldTag === tag);
      this.flushes = this.flushes.filter((f) => f.oldTag !== tag);
      for (const f of ready) f.deliver();
    }
    this.serve(ring);
  }

  /** Puts answers into the ring while it has room. */
  private answer(ring: Ring): void {
    const { host, node } = this;
    let sent = false;
    for (let first = ring.replies[0]; first !== undefined && ring.ring.free >= first.length; first = ring.replies[0]) {
      ring.ring.put(first);
      ring.replies.shift();
      ring.inFlight--;
      sent = true;
      host.observer.count('response');
      host.observer.count('byte_copied', first.length);
      host.observer.sink?.({
        kind: 'response',
        device: node.name,
        queue: ring.index,
        index: ring.responses++,
        id: u16(first, 5),
        status: first[4] === RLERROR ? -u32(first.subarray(HEADER)) : 0,
      });
    }
    if (sent) ring.notify();
  }
}

/** Serves 9pfs devices. All share one table of locks, since they may share a folder. */
export function registerP9Back(dom0: P9Host & { readonly backends: XenbusBackends }, openShare: OpenShare): void {
  const locks = new LockTable();
  dom0.backends.register('9pfs', (node) => new P9Device(dom0, node, openShare, locks));
}
