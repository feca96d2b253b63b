// netback against a frontend of the test's: xenbus, and packets from the guest, as netif.h promises.
import {
  domid,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6,
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitWait,
} from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { TestFront } from './testing/netfront.ts';
import { tcpPacket } from './testing/packets.ts';
import { hex, open, Wire } from './testing/wire.ts';
import { World } from './testing/world.ts';

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

  it('counts what the guest sent and was sent, whoever is connected, until the interface goes', () => {
    const { world, f, q } = open();
    const peer = new TestFront(world).connect();
    const name = `vif/${f.domain.id}/0`;
    const stats = () => world.netback.vifs.get(name)?.stats;
    expect(stats()).toMatchObject({ txBytes: 0, rxBytes: 0 });
    q.send(tcpPacket({ from: f.domain.id, to: peer.domain.id, payload: 100 }));
    world.run();
    q.post(4);
    peer.queue.send(tcpPacket({ from: peer.domain.id, to: f.domain.id, payload: 200 }));
    world.run();
    f.write('state', '6');
    world.run();
    f.write('state', '1');
    world.run();
    f.connect();
    q.send(tcpPacket({ from: f.domain.id, to: peer.domain.id, payload: 300 }));
    world.run();
    expect(stats()).toMatchObject({ txPackets: 2, txBytes: 508, rxPackets: 1, rxBytes: 254 });
    world.dom0.backends.removeDomain(f.domain.id);
    expect(stats()).toBeUndefined();
    expect(world.netback.vifs.size).toBe(1);
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
    q.putTx(q.request({ gref: f.domain.grant(f.buffer().frame, { to: domid(5) }), size: 60, id: 2 }));
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
