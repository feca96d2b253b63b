// netback against a frontend of the test's and a bare port on the other side of the bridge: what netif.h promises, feature by feature.
import {
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  netif_extra_info,
  XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ,
  XEN_NETIF_CTRL_HASH_TYPE_IPV4,
  XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP,
  XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER,
  XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED,
  XEN_NETIF_CTRL_STATUS_SUCCESS,
  XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING,
  XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING,
  XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE,
  XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS,
  XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE,
  XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM,
  XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS,
  XEN_NETIF_CTRL_TYPE_SET_HASH_KEY,
  XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING,
  XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_EXTRA_TYPE_HASH,
  XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
  XEN_NETIF_EXTRA_TYPE_MCAST_DEL,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6,
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitWait,
} from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import type { SplitEvent } from '../kernel/observe.ts';
import type { Packet, PortAccepts, PortClient, SwitchPort } from '../switch/port.ts';
import type { NetbackOptions } from './options.ts';
import { type FrontOptions, TestFront } from './testing/netfront.ts';
import { mac, tcpPacket } from './testing/packets.ts';
import { World } from './testing/world.ts';

/** The other side of the bridge: keeps what it gets, takes everything. */
class Wire implements PortClient {
  readonly got: Packet[] = [];
  readonly port: SwitchPort;
  flushes = 0;
  readonly accepts: PortAccepts = {
    gso4: true,
    gso6: true,
    csum4: true,
    csum6: true,
    wantsMulticast: () => true,
    maxFrame: 65535,
  };
  constructor(world: World) {
    this.port = world.network.attach('xenbr0', this, 'wire');
  }
  receive(packet: Packet): boolean {
    this.got.push({ ...packet, bytes: packet.bytes.slice() });
    return true;
  }
  flush(): void {
    this.flushes++;
  }
  send(bytes: Uint8Array, more: Partial<Packet> = {}): void {
    this.port.transmit({ bytes, csumBlank: false, csumValid: false, gso: null, hash: null, ...more });
    this.port.flush();
  }
  /** What was taken since the last look. */
  take(): Packet[] {
    return this.got.splice(0);
  }
}

function open(options: Partial<NetbackOptions> = {}, front: FrontOptions = {}) {
  const world = new World(options);
  const wire = new Wire(world);
  const f = new TestFront(world, front).connect();
  return { world, wire, f, q: f.queue };
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe('on xenbus', () => {
  it('waits with its features written, connects, and closes when the frontend does', () => {
    const world = new World();
    new Wire(world);
    const f = new TestFront(world);
    expect(f.state).toBe(XenbusStateInitWait);
    const read = (key: string) => world.dom0.xs.read(`${f.back}/${key}`);
    const keys = ['feature-sg', 'feature-gso-tcpv4', 'feature-gso-tcpv6', 'feature-ipv6-csum-offload', 'feature-rx-copy'];
    expect(keys.map(read)).toEqual(['1', '1', '1', '1', '1']);
    const more = [
      'feature-rx-flip',
      'feature-multicast-control',
      'feature-split-event-channels',
      'feature-ctrl-ring',
      'multi-queue-max-queues',
    ];
    expect(more.map(read)).toEqual(['0', '1', '1', '1', '8']);
    expect(read('hotplug-status')).toBe('connected');
    expect(f.connect().state).toBe(XenbusStateConnected);
    f.write('state', String(XenbusStateClosing));
    world.run();
    f.write('state', String(XenbusStateClosed));
    world.run();
    expect(f.state).toBe(XenbusStateClosed);
    expect(f.domain.flags(f.queue.txRef) & 0x18).toBe(0);
  });

  it('connects again to a frontend that starts over', () => {
    const { world, wire, f, q } = open();
    f.write('state', '6');
    world.run();
    f.write('state', '1');
    world.run();
    expect(f.state).toBe(XenbusStateInitWait);
    f.connect();
    q.send(tcpPacket());
    world.run();
    expect(wire.take()).toHaveLength(1);
  });

  it.each([
    ['no ring', { 'tx-ring-ref': null }, /tx-ring-ref: missing/],
    ['a grant that is none', { 'rx-ring-ref': '7777' }, /grant/],
    ['a number that is none', { 'tx-ring-ref': '12x' }, /not a number/],
    ['a port of nobody', { 'event-channel-tx': '4000' }, /EVTCHNOP_bind_interdomain/],
    ['no copying', { 'request-rx-copy': '0' }, /request-rx-copy/],
    ['too many queues', { 'multi-queue-num-queues': '9' }, /guest requested 9 queues, exceeding the maximum of 8/],
    ['no queue at all', { 'multi-queue-num-queues': '0' }, /guest requested 0 queues/],
  ] as const)('closes on a frontend with %s, and holds nothing', (_, nodes, error) => {
    const { f } = open({}, { nodes: nodes as Record<string, string | null> });
    expect(f.state).toBe(XenbusStateClosing);
    expect(f.error).toMatch(error);
    expect(f.domain.flags(f.queue.txRef) & 0x18).toBe(0);
    expect(f.domain.flags(f.queue.rxRef) & 0x18).toBe(0);
  });
});

describe('sending', () => {
  it.each([false, true])('hands on the packet and answers each slot (one channel: %s)', (singleChannel) => {
    const { world, wire, q } = open({}, { singleChannel });
    const packet = tcpPacket({ payload: 6000 });
    const { ids } = q.send(packet, { sizes: [66, 1000] });
    world.run();
    expect(hex(wire.take()[0]!.bytes)).toBe(hex(packet));
    expect(q.responses()).toEqual(ids.map((id) => ({ id, status: NETIF_RSP_OKAY })));
    expect(q.kicks).toBeGreaterThan(0);
  });

  it('copies a burst with one hypercall and one event', () => {
    const { world, wire, q } = open();
    for (let i = 0; i < 20; i++) q.send(tcpPacket({ payload: i }), { kick: false });
    q.kicks = 0;
    const { work } = world.dom0.observer;
    const before = { ...work };
    q.kickTx();
    world.run();
    expect(wire.take()).toHaveLength(20);
    expect(q.kicks).toBe(1);
    expect(work.grant_copy - before.grant_copy).toBe(20);
    expect(work.evtchn_send - before.evtchn_send).toBe(1);
    // The copies, the event, and the timer by which the test waits.
    expect(work.hypercall - before.hypercall).toBe(3);
    expect(wire.flushes).toBe(1);
  });

  it('more than a ring of packets, again and again, round the end of the ring', () => {
    const { world, wire, f, q } = open();
    let sent = 0;
    for (let round = 0; round < 30; round++) {
      const refs = Array.from({ length: 37 }, () => q.send(tcpPacket({ payload: sent++ % 900 }), { kick: false }).refs).flat();
      q.kickTx();
      world.run();
      expect(q.responses()).toHaveLength(37);
      f.reclaim(refs);
    }
    expect(wire.take().map((p) => p.bytes.length)).toEqual(Array.from({ length: sent }, (_, i) => 54 + (i % 900)));
  });

  it('the largest packet, in 18 slots', () => {
    const { world, wire, q } = open();
    const packet = tcpPacket({ payload: 65535 - 54 });
    const sizes = [100, ...Array.from({ length: 17 }, () => 3844)];
    q.send(packet, { sizes: [...sizes, 65535 - sizes.reduce((a, b) => a + b)], csumBlank: true, gso: { type: 1, size: 1448 } });
    world.run();
    const [got] = wire.take();
    expect(got).toMatchObject({ csumBlank: true, csumValid: true, gso: { type: 'tcpv4', size: 1448 } });
    expect(hex(got!.bytes)).toBe(hex(packet));
    const responses = q.responses();
    expect(responses).toHaveLength(20);
    // The extra info's slot, behind the first.
    expect(responses[1]!.status).toBe(NETIF_RSP_NULL);
  });

  it('carries what the flags say of the checksum', () => {
    const { world, wire, q } = open();
    q.send(tcpPacket());
    q.send(tcpPacket(), { validated: true });
    q.send(tcpPacket({ v6: true, udp: true }), { csumBlank: true });
    world.run();
    expect(wire.take().map((p) => [p.csumBlank, p.csumValid])).toEqual([
      [false, false],
      [false, true],
      [true, true],
    ]);
  });

  it('drops a packet with a blank checksum that has none', () => {
    const { world, wire, q } = open();
    const arp = tcpPacket();
    new DataView(arp.buffer).setUint16(12, 0x0806);
    q.send(arp, { csumBlank: true });
    const fragment = tcpPacket();
    fragment[20] = 0x20;
    q.send(fragment, { csumBlank: true });
    q.send(tcpPacket().slice(0, 40), { csumBlank: true });
    world.run();
    expect(wire.take()).toEqual([]);
    expect(q.responses().map((r) => r.status)).toEqual([0, 0, 0]);
  });

  it('GSO over IPv6; a GSO packet without a blank checksum gets one', () => {
    const { world, wire, q } = open();
    q.send(tcpPacket({ v6: true, payload: 5000 }), { csumBlank: true, gso: { type: XEN_NETIF_GSO_TYPE_TCPV6, size: 1000 } });
    q.send(tcpPacket({ payload: 5000 }), { gso: { type: XEN_NETIF_GSO_TYPE_TCPV4, size: 1000 } });
    // Of the wrong kind.
    q.send(tcpPacket({ payload: 5000 }), { gso: { type: XEN_NETIF_GSO_TYPE_TCPV6, size: 1000 } });
    world.run();
    const [a, b, ...more] = wire.take();
    expect(a).toMatchObject({ gso: { type: 'tcpv6', size: 1000 }, csumBlank: true });
    expect(b).toMatchObject({ gso: { type: 'tcpv4', size: 1000 }, csumBlank: true });
    // 10.0.0.1 + 10.0.0.2 + TCP + 5020 bytes, in one's complement.
    const sum = 0x0a00 + 1 + 0x0a00 + 2 + 6 + 5020;
    expect((b!.bytes[50]! << 8) | b!.bytes[51]!).toBe(sum);
    expect(more).toEqual([]);
  });

  it('refuses what is no packet, and a slot that Xen does not copy', () => {
    const { world, wire, f, q } = open();
    q.putTx(q.request({ gref: 4000, size: 60, id: 1 }));
    q.putTx(q.request({ gref: f.domain.grant(f.buffer().frame, { to: 5 }), size: 60, id: 2 }));
    q.putTx(q.request({ gref: f.domain.grant(f.buffer().frame), size: 13, id: 3 }));
    q.kickTx();
    q.send(tcpPacket());
    world.run();
    expect(q.responses().map((r) => r.status)).toEqual([NETIF_RSP_ERROR, NETIF_RSP_ERROR, NETIF_RSP_ERROR, NETIF_RSP_OKAY].sort());
    expect(wire.take()).toHaveLength(1);
    expect(f.state).toBe(XenbusStateConnected);
  });

  it('drops a packet of more than 18 slots and goes on; of more than 20 it closes', () => {
    const { world, wire, f, q } = open();
    const sizes = (n: number) => [60, ...Array.from({ length: n - 1 }, () => 100)];
    const bytes = (n: number) => tcpPacket({ payload: 60 + (n - 1) * 100 - 54 });
    q.send(bytes(19), { sizes: sizes(19) });
    q.send(bytes(20), { sizes: sizes(20) });
    world.run();
    expect(wire.take()).toHaveLength(1);
    expect(q.responses().map((r) => r.status)).toEqual([...Array(20).fill(NETIF_RSP_ERROR), ...Array(19).fill(NETIF_RSP_OKAY)]);
    expect(f.state).toBe(XenbusStateConnected);
    q.send(bytes(22), { sizes: sizes(22) });
    world.run();
    expect(f.error).toMatch(/Malicious frontend using 20 slots/);
    expect(f.state).toBe(XenbusStateClosing);
  });
});

describe('receiving', () => {
  it('puts a packet into as many pages as it needs, with its flags', () => {
    const { world, wire, q } = open();
    q.post(32);
    const packet = tcpPacket({ to: 1, from: 9, payload: 9000 });
    wire.send(packet, { csumBlank: true, csumValid: true, gso: { type: 'tcpv4', size: 1448 } });
    world.run();
    const [got] = q.received();
    expect(hex(got!.bytes)).toBe(hex(packet));
    expect(got).toMatchObject({ csumBlank: true, validated: true });
    expect(got!.extras).toEqual([
      netif_extra_info.encode('x86_64', {
        type: XEN_NETIF_EXTRA_TYPE_GSO,
        flags: 0,
        u: { gso: { size: 1448, type: XEN_NETIF_GSO_TYPE_TCPV4, pad: 0, features: 0 } },
      }),
    ]);
    expect(q.rxKicks).toBe(1);
  });

  it('keeps packets until there are buffers, in order, and drops when too much waits', () => {
    const { world, wire, q } = open({ rxQueueBytes: 3000 });
    for (let i = 0; i < 5; i++) wire.send(tcpPacket({ to: 1, from: 9, payload: 700 + i }));
    expect(q.received()).toEqual([]);
    q.post(2);
    world.run();
    expect(q.received().map((p) => p.bytes.length)).toEqual([754, 755]);
    q.post(8);
    world.run();
    // 754 + 755 + 756 bytes waited; the fourth and fifth found no room.
    expect(q.received().map((p) => p.bytes.length)).toEqual([756]);
  });

  it('what has waited for longer than the drain timeout makes room for what is new', () => {
    const { world, wire, q } = open({ rxQueueBytes: 1000, rxDrainNs: 1e6 });
    wire.send(tcpPacket({ to: 1, payload: 800 }));
    wire.send(tcpPacket({ to: 1, payload: 801 }));
    world.run(2e6);
    wire.send(tcpPacket({ to: 1, payload: 802 }));
    q.post(4);
    world.run();
    expect(q.received().map((p) => p.bytes.length)).toEqual([856]);
  });

  it('polls for a frontend that does not tell of new buffers', () => {
    const { world, wire, q } = open({}, { nodes: { 'feature-rx-notify': '0' } });
    wire.send(tcpPacket({ to: 1 }));
    q.post(4, false);
    q.rx.setU32(0, q.rxProd);
    world.run(1e6);
    expect(q.received()).toHaveLength(0);
    world.run(40e6);
    expect(q.received()).toHaveLength(1);
  });

  it('a buffer that Xen does not write costs its slot only', () => {
    const { world, wire, f, q } = open();
    const { frame } = f.domain.allocate();
    q.putRx(77, f.domain.grant(frame, { readonly: true }));
    q.post(2);
    wire.send(tcpPacket({ to: 1, payload: 10 }));
    wire.send(tcpPacket({ to: 1, payload: 20 }));
    world.run();
    expect(q.rxResponse()).toMatchObject({ id: 77, status: NETIF_RSP_ERROR });
    expect(q.received().map((p) => p.bytes.length)).toEqual([74]);
  });

  it('for a frontend without scatter-gather everything fits one page; without offloads nothing is blank or to be cut', () => {
    const plain = {
      'feature-sg': '0',
      'feature-gso-tcpv4': '0',
      'feature-gso-tcpv6': '0',
      'feature-no-csum-offload': '1',
      'feature-ipv6-csum-offload': '0',
    };
    const { world, wire, q } = open({}, { nodes: plain });
    q.post(64);
    wire.send(tcpPacket({ to: 1, payload: 10_000 }), { csumBlank: true, csumValid: true, gso: { type: 'tcpv4', size: 1400 } });
    world.run();
    const got = q.received();
    expect(got.map((p) => p.bytes.length)).toEqual([...Array(7).fill(1454), 254]);
    expect(got.some((p) => p.csumBlank)).toBe(false);
    expect(got.some((p) => p.extras.length > 0)).toBe(false);
  });

  it('announces GSO by a prefix to a frontend that asks for that', () => {
    const { world, wire, q } = open({}, { nodes: { 'feature-gso-tcpv4': '0', 'feature-gso-tcpv4-prefix': '1' } });
    q.post(8);
    wire.send(tcpPacket({ to: 1, payload: 5000 }), { csumBlank: true, csumValid: true, gso: { type: 'tcpv4', size: 1400 } });
    world.run();
    expect(q.rxResponse()).toMatchObject({ flags: 0x14, offset: 1400, status: 3 });
    expect(q.rxResponse()).toMatchObject({ flags: 0x07, status: 4096 });
    expect(q.rxResponse()).toMatchObject({ flags: 0, status: 5054 - 4096 });
  });

  it('drops what is larger than the MTU allows', () => {
    const { world, wire, q } = open({}, { back: { mtu: '600' } });
    q.post(4);
    wire.send(tcpPacket({ to: 1, payload: 600 - 40 }));
    wire.send(tcpPacket({ to: 1, payload: 600 }));
    world.run();
    expect(q.received().map((p) => p.bytes.length)).toEqual([614]);
  });
});

describe('several queues', () => {
  it('each flow stays on one, and all are used', () => {
    const { world, wire, f } = open({}, { queues: 4 });
    for (const q of f.queues) q.post(64);
    for (let i = 0; i < 80; i++) wire.send(tcpPacket({ to: 1, sourcePort: 1000 + (i % 20), payload: 0 }));
    world.run();
    const queueOf = new Map<number, number>();
    for (const p of f.received()) {
      const port = (p.bytes[34]! << 8) | p.bytes[35]!;
      expect(queueOf.get(port) ?? p.queue).toBe(p.queue);
      queueOf.set(port, p.queue);
    }
    expect(queueOf.size).toBe(20);
    expect(new Set(queueOf.values()).size).toBe(4);
    f.queues[3]!.send(tcpPacket());
    world.run();
    expect(wire.take()).toHaveLength(1);
  });

  it('the frontend chooses them by the Toeplitz hash, and is told its value', () => {
    const { world, wire, f } = open({}, { queues: 4, ctrl: true });
    const { frame, page } = f.domain.allocate();
    const gref = f.domain.grant(frame);
    // Before an algorithm is set there are no flags to get.
    expect(f.control(XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS).status).toBe(XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED);
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS, 1).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM, 2).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM, XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ).status).toBe(0);
    expect(f.control(XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS)).toEqual({ status: XEN_NETIF_CTRL_STATUS_SUCCESS, data: 15 });
    const flags = XEN_NETIF_CTRL_HASH_TYPE_IPV4 | XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP;
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS, flags).status).toBe(0);
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS, 16).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    page.writeBytes(0, MICROSOFT_KEY);
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_KEY, gref, 41).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_KEY, 9999, 40).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_KEY, gref, 40).status).toBe(0);
    expect(f.control(XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE)).toEqual({ status: 0, data: 128 });
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE, 129).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE, 2).status).toBe(0);
    page.setU32(0, 3);
    page.setU32(4, 1);
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING, gref, 2, 1).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING, gref, 0xffffffff, 0xffffffff).status).toBe(
      XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER,
    );
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING, gref, 2, 0).status).toBe(0);
    page.setU32(4, 4);
    expect(f.control(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING, gref, 2, 0).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    expect(f.control(99).status).toBe(XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED);

    for (const q of f.queues) q.post(8);
    // From Microsoft's "Verifying the RSS Hash Calculation": 66.9.149.187:2794 to 161.142.100.80:1766.
    const packet = tcpPacket({ to: 1, sourcePort: 2794, destPort: 1766 });
    packet.set([66, 9, 149, 187, 161, 142, 100, 80], 26);
    wire.send(packet);
    world.run();
    const [got] = f.received();
    expect(got!.queue).toBe(3);
    const extra = netif_extra_info.decode('x86_64', got!.extras[0]!);
    expect(extra.type).toBe(XEN_NETIF_EXTRA_TYPE_HASH);
    const value = new DataView(got!.extras[0]!.slice(4, 8).buffer).getUint32(0, true);
    expect([got!.extras[0]![2], got!.extras[0]![3], value]).toEqual([1, 1, 0x51ccc178]);
    // Without its ports.
    const udp = tcpPacket({ to: 1, udp: true });
    udp.set([66, 9, 149, 187, 161, 142, 100, 80], 26);
    wire.send(udp);
    world.run();
    const [second] = f.received();
    expect(new DataView(second!.extras[0]!.slice(4, 8).buffer).getUint32(0, true)).toBe(0x323e8fc2);
  });
});

const MICROSOFT_KEY = Uint8Array.from(
  Buffer.from('6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa', 'hex'),
);

describe('multicast control', () => {
  const group = [0x33, 0x33, 0, 0, 0, 1];
  const to = (address: number[]) => {
    const p = tcpPacket({ to: 1 });
    p.set(address, 0);
    return p;
  };
  const extra = (type: number) => netif_extra_info.encode('x86_64', { type, flags: 0, u: { mcast: { addr: Uint8Array.from(group) } } });

  it('everything comes until it is asked for; then only the groups that were added, and broadcasts', () => {
    const { world, wire, f, q } = open();
    q.post(32);
    const got = () => {
      wire.send(to(group));
      wire.send(to([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
      wire.send(to(mac(1)));
      world.run();
      return q.received().map((p) => p.bytes[0]);
    };
    expect(got()).toEqual([0x33, 0xff, 0]);
    f.write('request-multicast-control', '1');
    world.run();
    expect(got()).toEqual([0xff, 0]);
    q.send(tcpPacket(), { extras: [extra(XEN_NETIF_EXTRA_TYPE_MCAST_ADD)] });
    world.run();
    expect(q.responses().map((r) => r.status)).toEqual([NETIF_RSP_OKAY, NETIF_RSP_NULL]);
    expect(wire.take()).toEqual([]);
    expect(got()).toEqual([0x33, 0xff, 0]);
    q.send(tcpPacket(), { extras: [extra(XEN_NETIF_EXTRA_TYPE_MCAST_DEL)] });
    world.run();
    expect(got()).toEqual([0xff, 0]);
  });

  it('keeps 64 groups and refuses the next', () => {
    const { world, q } = open();
    for (let i = 0; i < 65; i++) q.send(tcpPacket(), { extras: [extra(XEN_NETIF_EXTRA_TYPE_MCAST_ADD)] });
    world.run();
    const statuses = q
      .responses()
      .map((r) => r.status)
      .filter((s) => s !== NETIF_RSP_NULL);
    expect(statuses).toEqual([...Array(64).fill(NETIF_RSP_OKAY), NETIF_RSP_ERROR]);
  });
});

describe('rate', () => {
  it('lets through what the credit allows in each interval of virtual time, and can be changed', () => {
    const { world, wire, f, q } = open({}, { back: { rate: '20000,20000' } });
    for (let i = 0; i < 60; i++) q.send(tcpPacket({ payload: 946 }), { kick: false });
    q.kickTx();
    world.run(1e6);
    expect(wire.take()).toHaveLength(20);
    world.run(20e6);
    expect(wire.take()).toHaveLength(20);
    world.dom0.xs.write(`${f.back}/rate`, '5000,20000');
    world.run(20e6);
    expect(wire.take()).toHaveLength(5);
    world.run(40e6);
    expect(wire.take()).toHaveLength(10);
    world.dom0.xs.rm(`${f.back}/rate`);
    world.run();
    q.send(tcpPacket());
    world.run();
    expect(wire.take()).toHaveLength(6);
    expect(q.responses()).toHaveLength(61);
  });
});

describe('choices for study', () => {
  it('pages mapped for each packet instead of copied', () => {
    const { world, wire, f, q } = open({ tx: 'map' });
    const { work } = world.dom0.observer;
    const before = { ...work };
    const packet = tcpPacket({ payload: 6000 });
    q.send(packet);
    q.putTx(q.request({ gref: 4000, size: 60, id: 1 }));
    q.kickTx();
    world.run();
    expect(hex(wire.take()[0]!.bytes)).toBe(hex(packet));
    expect([work.grant_map - before.grant_map, work.grant_unmap - before.grant_unmap, work.grant_copy - before.grant_copy]).toEqual([
      3, 2, 0,
    ]);
    expect(q.responses().map((r) => r.status)).toEqual([0, 0, NETIF_RSP_ERROR]);
    expect(f.state).toBe(XenbusStateConnected);
  });

  it('an event for each packet instead of each burst', () => {
    const { world, wire, q } = open({ notify: 'each' });
    q.post(20);
    const { work } = world.dom0.observer;
    const before = work.evtchn_send;
    for (let i = 0; i < 10; i++) q.send(tcpPacket(), { kick: false });
    q.kickTx();
    world.run();
    expect(work.evtchn_send - before).toBe(10);
    for (let i = 0; i < 5; i++)
      wire.port.transmit({ bytes: tcpPacket({ to: 1 }), csumBlank: false, csumValid: false, gso: null, hash: null });
    wire.port.flush();
    expect(work.evtchn_send - before).toBe(15);
  });

  it('pages that change owner instead of copies', () => {
    const { world, wire, f, q } = open({ rx: 'flip' }, { flip: true, nodes: { 'request-rx-copy': '0' } });
    expect(world.dom0.xs.read(`${f.back}/feature-rx-flip`)).toBe('1');
    q.post(8);
    const { work } = world.dom0.observer;
    const packet = tcpPacket({ to: 1, payload: 1400 });
    for (let i = 0; i < 3; i++) {
      const before = { ...work };
      wire.send(packet);
      world.run();
      expect(hex(q.received()[0]!.bytes)).toBe(hex(packet));
      expect([work.grant_transfer - before.grant_transfer, work.grant_copy - before.grant_copy]).toEqual([1, 0]);
    }
  });

  it('grants registered for good over the control ring need nothing of Xen', () => {
    const { world, wire, f, q } = open({ staticGrants: 4 }, { ctrl: true });
    const list = f.domain.allocate();
    const listRef = f.domain.grant(list.frame);
    const data = f.domain.allocate();
    const ref = f.domain.grant(data.frame);
    const buffer = f.domain.allocate();
    const bufferRef = f.domain.grant(buffer.frame);
    expect(f.control(XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE)).toEqual({ status: 0, data: 4 });
    list.page.setU32(0, ref);
    list.page.setU16(4, 1);
    list.page.setU32(8, bufferRef);
    expect(f.control(XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING, 1, listRef, 2).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    expect(f.control(XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING, 0, listRef, 2).status).toBe(0);
    // All or none: the second time both are there already, and none is added.
    expect(f.control(XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING, 0, listRef, 2).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
    const packet = tcpPacket({ payload: 300 });
    data.page.writeBytes(100, packet);
    const { work } = world.dom0.observer;
    const before = { ...work };
    q.putTx(q.request({ gref: ref, offset: 100, size: packet.length }));
    q.kickTx();
    q.putRx(5, bufferRef);
    q.kickRx();
    wire.send(tcpPacket({ to: 1, payload: 99 }));
    world.run();
    expect(hex(wire.take()[0]!.bytes)).toBe(hex(packet));
    expect(q.rxResponse()).toMatchObject({ id: 5, status: 153 });
    expect(hex(buffer.page.bytes(0, 153))).toBe(hex(tcpPacket({ to: 1, payload: 99 })));
    expect([work.grant_map - before.grant_map, work.grant_copy - before.grant_copy]).toEqual([0, 0]);
    expect(f.control(XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING, 0, listRef, 2)).toEqual({ status: 0, data: 2 });
    expect(f.domain.flags(ref) & 0x18).toBe(0);
    expect(f.control(XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING, 0, listRef, 2).status).toBe(XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER);
  });

  it('everything is seen by who watches', () => {
    const { world, wire, q } = open();
    const events: SplitEvent[] = [];
    world.dom0.observer.sink = (e) => e.kind !== 'deliver' && events.push(e);
    q.post(4);
    q.send(tcpPacket({ payload: 10 }));
    world.run();
    wire.send(tcpPacket({ to: 1 }));
    expect(events.map((e) => e.kind)).toEqual([
      'kick',
      'request',
      'grant',
      'response',
      'notify',
      'kick',
      'request',
      'grant',
      'response',
      'notify',
    ]);
    expect(events.filter((e) => e.kind === 'grant')).toMatchObject([
      { op: 'copy', count: 1, bytes: 64 },
      { op: 'copy', count: 1, bytes: 154 },
    ]);
    expect(events.filter((e) => e.kind === 'request')).toMatchObject([{ op: 'tx', bytes: 64 }, { op: 'rx' }]);
  });
});
