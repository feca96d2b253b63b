// A learning bridge: frames go to the port where their destination was last seen, else to all but the one they came from
// (Linux's net/bridge, without VLANs, STP and an address of its own).
//
// Everything happens in the activation that brought the packet, in the order in which ports were attached, so a run repeats. What an end sends
// while packets are being handed out waits its turn, in a bounded queue: nobody can make the bridge call itself.
import type { Observer } from '../kernel/observe.ts';
import { addressKey, ForwardingDatabase } from './fdb.ts';
import { Offloader, takesAsIs } from './offload.ts';
import type { Packet, PortClient, PortStats, SwitchPort } from './port.ts';
import { isIdeal, type Wire, WireQueue, type WireTimers } from './wire.ts';

/** A packet passes a port: 'in' from its end into the bridge, as tcpdump -i vif1.0 shows it in dom0, or 'out' to it. */
export type Tap = (port: BridgePort, direction: 'in' | 'out', packet: Packet) => void;

/** What a packet in the nested queue may wait behind. */
const MAX_NESTED = 1024;
const BROADCAST = 0xffff_ffff_ffff;
/** 01:80:c2:00:00:00 to :0f stay on their link; the first is forwarded by a bridge without STP (br_handle_frame). */
const LINK_LOCAL = 0x0180_c200_0000;

export class BridgePort implements SwitchPort {
  readonly bridge: Bridge;
  readonly name: string;
  readonly number: number;
  readonly client: PortClient;
  readonly stats: PortStats = { txPackets: 0, txBytes: 0, rxPackets: 0, rxBytes: 0, rxDropped: 0 };
  /** Watch this port: see Network.capture. Null costs nothing. */
  taps: readonly Tap[] = [];
  isOpen = true;
  /** Has been given something since its last flush. */
  isDirty = false;
  queue: WireQueue | null = null;

  constructor(bridge: Bridge, number: number, client: PortClient, name: string) {
    this.bridge = bridge;
    this.number = number;
    this.client = client;
    this.name = name;
  }

  transmit(packet: Packet): void {
    if (this.isOpen) this.bridge.input(this, packet);
  }
  flush(): void {
    if (this.isOpen) this.bridge.flush();
  }
  close(): void {
    this.bridge.detach(this);
  }
}

export class Bridge {
  readonly name: string;
  readonly fdb = new ForwardingDatabase();
  /** By number. */
  private readonly members = new Map<number, BridgePort>();
  private nextNumber = 1;
  private readonly timers: WireTimers;
  private readonly observer: Observer;
  private readonly offloader = new Offloader();
  private isBusy = false;
  private readonly nested: { readonly port: BridgePort; readonly packet: Packet }[] = [];
  private wire: Wire;

  constructor(name: string, timers: WireTimers, observer: Observer, wire: Wire) {
    this.name = name;
    this.timers = timers;
    this.observer = observer;
    this.wire = wire;
  }

  /** In the order of their attachment. */
  get ports(): BridgePort[] {
    return [...this.members.values()];
  }

  attach(client: PortClient, name: string): BridgePort {
    const port = new BridgePort(this, this.nextNumber++, client, name);
    this.members.set(port.number, port);
    this.lay(port);
    return port;
  }

  detach(port: BridgePort): void {
    if (!this.members.delete(port.number)) return;
    port.isOpen = false;
    port.queue?.close();
    this.fdb.forgetPort(port.number);
  }

  /** Of the wires to its ports; null when they know no limit. */
  get bitsPerSecond(): number | null {
    return this.wire.bitsPerSecond;
  }

  /** New wires between the bridge and all its ports. What is on the old ones is lost. */
  setWire(wire: Wire): void {
    this.wire = wire;
    for (const port of this.members.values()) {
      port.queue?.close();
      this.lay(port);
    }
  }

  private lay(port: BridgePort): void {
    port.queue = isIdeal(this.wire) ? null : new WireQueue(this.wire, this.timers, (packets) => this.arrived(port, packets));
  }

  /** br_handle_frame. */
  input(from: BridgePort, packet: Packet): void {
    if (this.isBusy) {
      // Its bytes are borrowed: they are kept by copying.
      if (this.nested.length < MAX_NESTED) this.nested.push({ port: from, packet: { ...packet, bytes: packet.bytes.slice() } });
      return;
    }
    this.isBusy = true;
    this.forward(from, packet);
    this.runNested();
    this.isBusy = false;
  }

  /** The burst is over: so it is for all who got something of it. */
  flush(): void {
    if (this.isBusy) return;
    this.isBusy = true;
    for (let again = true; again; ) {
      again = false;
      for (const port of this.members.values()) {
        if (!port.isDirty) continue;
        port.isDirty = false;
        again = true;
        port.client.flush();
      }
      this.runNested();
    }
    this.isBusy = false;
  }

  private runNested(): void {
    // Also what comes while they are worked through, up to a bound: two ends that answer each other at once would go on for ever.
    for (let n = 0; n < MAX_NESTED && this.nested.length > 0; n++) {
      const { port, packet } = this.nested.shift()!;
      if (port.isOpen) this.forward(port, packet);
    }
    this.nested.length = 0;
  }

  private forward(from: BridgePort, packet: Packet): void {
    const { bytes } = packet;
    if (bytes.length < 14) return;
    from.stats.txPackets++;
    from.stats.txBytes += bytes.length;
    for (const tap of from.taps) tap(from, 'in', packet);
    const source = addressKey(bytes, 6);
    // !is_valid_ether_addr: the sender cannot be a group, nor nobody.
    if ((bytes[6]! & 1) !== 0 || source === 0) return;
    const now = this.timers.now();
    this.fdb.learn(source, from.number, now);
    const destination = addressKey(bytes, 0);
    if (destination > LINK_LOCAL && destination <= LINK_LOCAL + 15) return;
    if ((bytes[0]! & 1) === 0) {
      const number = this.fdb.find(destination, now);
      if (number !== null) {
        if (number !== from.number) this.output(this.members.get(number)!, packet);
        return;
      }
    }
    const isFiltered = (bytes[0]! & 1) !== 0 && destination !== BROADCAST;
    for (const port of this.members.values()) {
      if (port === from) continue;
      if (isFiltered && !port.client.accepts.wantsMulticast(bytes.subarray(0, 6))) continue;
      this.output(port, packet);
    }
  }

  /** Towards the end: over the wire, if there is one to speak of. */
  private output(port: BridgePort, packet: Packet): void {
    this.observer.count('packet_switched');
    if (port.queue === null) this.deliver(port, packet);
    else if (port.queue.send(packet)) this.observer.count('byte_copied', packet.bytes.length);
    else port.stats.rxDropped++;
  }

  private arrived(port: BridgePort, packets: readonly Packet[]): void {
    this.isBusy = true;
    for (const packet of packets) if (port.isOpen) this.deliver(port, packet);
    this.runNested();
    this.isBusy = false;
    this.flush();
  }

  private deliver(port: BridgePort, packet: Packet): void {
    const { accepts } = port.client;
    if (takesAsIs(packet, accepts)) {
      this.hand(port, packet);
      return;
    }
    const isWhole = this.offloader.adapt(packet, accepts, (p) => {
      if (p !== packet) {
        this.observer.count('byte_copied', p.bytes.length);
        if (!p.csumBlank) this.observer.count('byte_checksummed', p.bytes.length);
      }
      this.hand(port, p);
    });
    if (!isWhole) port.stats.rxDropped++;
  }

  private hand(port: BridgePort, packet: Packet): void {
    const { stats } = port;
    if (!port.isOpen) return;
    port.isDirty = true;
    if (!port.client.receive(packet)) {
      stats.rxDropped++;
      return;
    }
    stats.rxPackets++;
    stats.rxBytes += packet.bytes.length;
    for (const tap of port.taps) tap(port, 'out', packet);
  }
}
