// netback against a frontend of the test's: packets to the guest, several queues and their choice by hash, multicast control.
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
} from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { mac, tcpPacket } from './testing/packets.ts';
import { hex, open } from './testing/wire.ts';

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
