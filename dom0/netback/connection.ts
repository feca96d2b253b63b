// A frontend that is connected: its queues and control ring, mapped and bound. Made from what it wrote into XenStore (Linux's
// xen-netback/xenbus.c, connect_data_rings and read_xenbus_vif_flags), gone when it leaves.
import { type EvtchnPort, evtchnPort, type GrantRef } from '@ringworld/abi';
import { BackRing, RingError } from '../kernel/back-ring.ts';
import type { GrantMapping } from '../kernel/gnttab.ts';
import { type BackendNode, XenbusError } from '../kernel/xenbus.ts';
import type { Packet, PacketGso } from '../switch/port.ts';
import { Credit, type Rate } from './credit.ts';
import { Control, type StaticPage } from './ctrl-ring.ts';
import { packetHash, selectQueue } from './hash.ts';
import { CTRL_RING, RX_RING, TX_RING } from './rings.ts';
import { type RxOwner, RxQueue } from './rx-queue.ts';
import type { Shared } from './shared.ts';
import { type TxOwner, TxQueue } from './tx-queue.ts';

/** How often the rings of a frontend without feature-rx-notify are looked at while packets wait. */
const POLL_NS = 30e6;

/** What a frontend has asked for. */
export interface FrontendFlags {
  readonly rxCopy: boolean;
  readonly rxNotify: boolean;
  readonly sg: boolean;
  readonly gso4: boolean;
  readonly gso6: boolean;
  readonly gso4Prefix: boolean;
  readonly gso6Prefix: boolean;
  readonly csum4: boolean;
  readonly csum6: boolean;
}

export function readFlags(node: BackendNode): FrontendFlags {
  const flag = (key: string) => {
    const text = node.readFrontend(key);
    return text !== null && /^\d+$/.test(text) && Number(text) !== 0;
  };
  return {
    rxCopy: flag('request-rx-copy'),
    rxNotify: flag('feature-rx-notify'),
    sg: flag('feature-sg'),
    gso4: flag('feature-gso-tcpv4'),
    gso6: flag('feature-gso-tcpv6'),
    gso4Prefix: flag('feature-gso-tcpv4-prefix'),
    gso6Prefix: flag('feature-gso-tcpv6-prefix'),
    csum4: !flag('feature-no-csum-offload'),
    csum6: flag('feature-ipv6-csum-offload'),
  };
}

/** What a connection needs of its interface. */
export interface ConnectionOwner {
  fatal(reason: string): void;
  transmit(packet: Packet): void;
  flush(): void;
  addMulticast(address: Uint8Array): boolean;
  removeMulticast(address: Uint8Array): void;
}

interface Queue {
  readonly tx: TxQueue;
  readonly rx: RxQueue;
  readonly credit: Credit;
}

export class Connection implements TxOwner, RxOwner {
  readonly name: string;
  readonly domid: number;
  readonly flags: FrontendFlags;
  isLive = true;
  readonly queues: readonly Queue[];
  readonly control: Control;
  private readonly shared: Shared;
  private readonly node: BackendNode;
  private readonly owner: ConnectionOwner;
  private readonly mappings: GrantMapping[] = [];
  private readonly ports: EvtchnPort[] = [];
  private stopPolling: (() => void) | null = null;

  /** Throws XenbusError, GrantError, HypercallError or RingError: the frontend's fault. Nothing is left held then. */
  constructor(shared: Shared, node: BackendNode, owner: ConnectionOwner, rate: Rate | null) {
    this.shared = shared;
    this.node = node;
    this.owner = owner;
    this.name = node.name;
    this.domid = node.frontend;
    this.flags = readFlags(node);
    const { options } = shared;
    if (!this.flags.rxCopy && options.rx !== 'flip') throw new XenbusError('request-rx-copy: this backend copies only');
    const count = node.readFrontend('multi-queue-num-queues') === null ? 1 : node.frontendNumber('multi-queue-num-queues');
    if (count < 1 || count > Math.max(1, options.maxQueues))
      throw new XenbusError(`guest requested ${count} queues, exceeding the maximum of ${options.maxQueues}.`);
    this.control = new Control(shared, node.frontend, count);
    try {
      if (options.ctrlRing && node.readFrontend('ctrl-ring-ref') !== null) this.openControl();
      this.queues = Array.from({ length: count }, (_, i) => this.openQueue(i, count === 1 ? '' : `queue-${i}/`, rate));
    } catch (e) {
      this.close();
      throw e;
    }
  }

  get isFlipping(): boolean {
    return !this.flags.rxCopy;
  }
  gsoPrefix(type: PacketGso['type']): boolean {
    const { flags } = this;
    return type === 'tcpv4' ? flags.gso4Prefix && !flags.gso4 : flags.gso6Prefix && !flags.gso6;
  }
  staticPage(gref: number): StaticPage | null {
    return this.control.staticPage(gref);
  }
  transmit(packet: Packet): void {
    this.owner.transmit(packet);
  }
  flush(): void {
    this.owner.flush();
  }
  addMulticast(address: Uint8Array): boolean {
    return this.owner.addMulticast(address);
  }
  removeMulticast(address: Uint8Array): void {
    this.owner.removeMulticast(address);
  }
  fatal(reason: string): void {
    if (this.isLive) this.owner.fatal(reason);
  }

  setRate(rate: Rate | null): void {
    for (const q of this.queues) q.credit.setRate(rate);
  }

  receive(packet: Packet): boolean {
    const { hash, toeplitz } = this.control;
    const told = packetHash(hash, toeplitz, packet.bytes);
    const queue = this.queues[selectQueue(hash, told, packet.bytes, this.queues.length)];
    let isTaken = false;
    this.guard(() => {
      isTaken = queue?.rx.receive(packet, told) ?? false;
    });
    if (!this.flags.rxNotify && this.isLive) this.poll();
    return isTaken;
  }

  close(): void {
    this.isLive = false;
    this.stopPolling?.();
    const { evtchn } = this.shared.dom0;
    for (const port of this.ports.splice(0)) evtchn.close(port);
    // The constructor may not have come as far.
    for (const q of this.queues ?? []) {
      q.credit.stop();
      q.rx.clear();
    }
    this.control.stop();
    for (const m of this.mappings.splice(0)) m.unmap();
  }

  private openControl(): void {
    const ring = new BackRing([this.map('ctrl-ring-ref')], CTRL_RING, 'x86_64');
    const serve = () => this.guard(() => this.control.serve(ring, this.name, () => this.shared.dom0.evtchn.notify(port)));
    const port = this.bind('event-channel-ctrl', serve);
  }

  private openQueue(index: number, prefix: string, rate: Rate | null): Queue {
    const { dom0 } = this.shared;
    const txRing = new BackRing([this.map(`${prefix}tx-ring-ref`)], TX_RING, 'x86_64');
    const rxRing = new BackRing([this.map(`${prefix}rx-ring-ref`)], RX_RING, 'x86_64');
    const kicked = (ring: 'tx' | 'rx') => dom0.observer.sink?.({ kind: 'kick', device: this.name, queue: index, ring });
    const serveTx = () => this.guard(() => queue.tx.serve());
    const serveRx = () =>
      this.guard(() => {
        queue.rx.serve();
        this.shared.rx.flush();
      });
    const onTx = () => {
      kicked('tx');
      serveTx();
    };
    const onRx = () => {
      kicked('rx');
      serveRx();
    };
    let txPort: EvtchnPort;
    let rxPort: EvtchnPort;
    if (this.node.readFrontend(`${prefix}event-channel-tx`) !== null) {
      txPort = this.bind(`${prefix}event-channel-tx`, onTx);
      rxPort = this.bind(`${prefix}event-channel-rx`, onRx);
    } else {
      txPort = this.bind(`${prefix}event-channel`, () => {
        onTx();
        serveRx();
      });
      rxPort = txPort;
    }
    const credit = new Credit(dom0.timers, rate, serveTx);
    const queue: Queue = {
      credit,
      tx: new TxQueue(this.shared, this, txRing, index, credit, () => dom0.evtchn.notify(txPort)),
      rx: new RxQueue(this.shared, this, rxRing, index, () => dom0.evtchn.notify(rxPort)),
    };
    return queue;
  }

  private map(key: string) {
    // SAFE: any number may stand there; Xen checks it.
    const mapping = this.shared.dom0.grants.map(this.node.frontend, [this.node.frontendNumber(key) as GrantRef]);
    this.mappings.push(mapping);
    return mapping.page(0);
  }

  private bind(key: string, handler: () => void): EvtchnPort {
    const remote = evtchnPort(this.node.frontendNumber(key));
    const port = this.shared.dom0.evtchn.bindInterdomain(this.node.frontend, remote, () => {
      if (this.isLive) handler();
    });
    this.ports.push(port);
    return port;
  }

  private poll(): void {
    if (this.stopPolling !== null || !this.queues.some((q) => q.rx.isWaiting)) return;
    this.stopPolling = this.shared.dom0.timers.after(POLL_NS, () => {
      this.stopPolling = null;
      this.guard(() => {
        for (const q of this.queues) q.rx.serve();
        this.shared.rx.flush();
      });
      if (this.isLive) this.poll();
    });
  }

  /** What the frontend did to its ring closes the device, and goes no further. */
  private guard(serve: () => void): void {
    if (!this.isLive) return;
    try {
      serve();
    } catch (e) {
      if (!(e instanceof RingError)) throw e;
      this.fatal(e.message);
    }
  }
}
