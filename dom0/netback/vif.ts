// One network interface as its backend: a device on xenbus on one side, a port of a bridge on the other (Linux's xen-netback/xenbus.c and
// interface.c). What a frontend brings with it while it is connected is in connection.ts.
import { type BackendDevice, type BackendNode, XenbusError } from '../kernel/xenbus.ts';
import type { AttachPort, Packet, PortAccepts, PortClient, PortStats, SwitchPort } from '../switch/port.ts';
import { Connection, type ConnectionOwner } from './connection.ts';
import { parseRate } from './credit.ts';
import { MulticastFilter } from './multicast.ts';
import { MAX_FRAME, type Shared } from './shared.ts';

const ETH_DATA_LEN = 1500;
/** What a bridge forwards beyond the MTU: the header, and a VLAN tag in it. */
const HEADERS = 14 + 4;

export class Vif implements BackendDevice, PortClient {
  readonly node: BackendNode;
  readonly accepts: PortAccepts;
  connection: Connection | null = null;
  private readonly shared: Shared;
  private readonly multicast = new MulticastFilter();
  private readonly port: SwitchPort;
  private readonly removed: (vif: Vif) => void;
  private stopWatching: () => void = () => {};

  /** netback_probe, and what the hotplug script vif-bridge does. `removed` is told when the device is gone. */
  constructor(shared: Shared, node: BackendNode, attach: AttachPort, removed: (vif: Vif) => void = () => {}) {
    this.shared = shared;
    this.node = node;
    this.removed = removed;
    if (!/^\d+$/.test(node.read('handle') ?? '')) throw new XenbusError('reading handle');
    writeFeatures(shared, node);
    this.accepts = this.makeAccepts();
    this.port = attach(node.read('bridge') ?? 'xenbr0', this, node.read('vifname') ?? `vif${node.frontend}.${node.devid}`);
    node.write('hotplug-status', 'connected');
  }

  /** Of all its connections, from the guest's point of view. */
  get stats(): Readonly<PortStats> {
    return this.port.stats;
  }

  connect(): void {
    this.disconnect();
    this.connection = new Connection(this.shared, this.node, this.owner(), parseRate(this.node.read('rate')));
    this.stopWatching = this.shared.dom0.xs.watch(`${this.node.frontendPath}/request-multicast-control`, () => {
      this.multicast.isOn = this.node.readFrontend('request-multicast-control') === '1';
    });
  }

  disconnect(): void {
    const { connection } = this;
    this.connection = null;
    this.stopWatching();
    this.stopWatching = () => {};
    this.multicast.clear();
    connection?.close();
  }

  changed(key: string): void {
    if (key === 'rate') this.connection?.setRate(parseRate(this.node.read('rate')));
  }

  remove(): void {
    this.port.close();
    this.node.rm('hotplug-status');
    this.removed(this);
  }

  receive(packet: Packet): boolean {
    return this.connection?.receive(packet) ?? false;
  }

  flush(): void {
    this.shared.rx.flush();
  }

  private owner(): ConnectionOwner {
    return {
      fatal: (reason) => this.node.fatal(reason),
      transmit: (packet) => this.port.transmit(packet),
      flush: () => this.port.flush(),
      addMulticast: (address) => this.multicast.add(address),
      removeMulticast: (address) => this.multicast.remove(address),
    };
  }

  /** Follows what the frontend asks for; while there is none, nothing reaches anybody. */
  private makeAccepts(): PortAccepts {
    const flags = () => this.connection?.flags;
    const mtu = Number(this.node.read('mtu') ?? ETH_DATA_LEN);
    const { multicast } = this;
    const { options } = this.shared;
    return {
      get gso4() {
        const f = flags();
        return options.sg && options.gsoTcpv4 && options.csumOffload && f?.sg === true && (f.gso4 || f.gso4Prefix) && f.csum4;
      },
      get gso6() {
        const f = flags();
        return options.sg && options.gsoTcpv6 && options.ipv6CsumOffload && f?.sg === true && (f.gso6 || f.gso6Prefix) && f.csum6;
      },
      get csum4() {
        return options.csumOffload && flags()?.csum4 === true;
      },
      get csum6() {
        return options.ipv6CsumOffload && flags()?.csum6 === true;
      },
      wantsMulticast: (address) => multicast.wants(address),
      get maxFrame() {
        return Math.min(MAX_FRAME, (flags()?.sg === false ? Math.min(mtu, ETH_DATA_LEN) : mtu) + HEADERS);
      },
    };
  }
}

function writeFeatures(shared: Shared, node: BackendNode): void {
  const { options } = shared;
  const put = (key: string, on: boolean) => node.write(key, on ? '1' : '0');
  put('feature-sg', options.sg);
  put('feature-gso-tcpv4', options.sg && options.gsoTcpv4 && options.csumOffload);
  put('feature-gso-tcpv6', options.sg && options.gsoTcpv6 && options.ipv6CsumOffload);
  put('feature-no-csum-offload', !options.csumOffload);
  put('feature-ipv6-csum-offload', options.ipv6CsumOffload);
  put('feature-rx-copy', true);
  put('feature-rx-flip', options.rx === 'flip');
  put('feature-multicast-control', options.multicastControl);
  put('feature-dynamic-multicast-control', options.multicastControl);
  put('feature-split-event-channels', options.splitEventChannels);
  put('feature-ctrl-ring', options.ctrlRing);
  if (options.maxQueues > 1) node.write('multi-queue-max-queues', String(options.maxQueues));
}
