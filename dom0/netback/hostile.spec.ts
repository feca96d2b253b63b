// Frontends that do what no frontend should. Each ends in an error to itself or in the end of its device; dom0 and the other interface on the
// bridge go on.
import {
  domid,
  NETIF_RSP_ERROR,
  NETTXF_extra_info,
  NETTXF_more_data,
  netif_extra_info,
  sring,
  XenbusStateClosing,
  XenbusStateConnected,
} from '@ringworld/abi';
import { auditHypervisor } from '@ringworld/hypervisor';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type FrontQueue, RING_SLOTS, TestFront } from './testing/netfront.ts';
import { tcpPacket } from './testing/packets.ts';
import { World } from './testing/world.ts';

const at = (f: 'req_prod' | 'req_event' | 'rsp_prod' | 'rsp_event') => sring.offset(f, 'x86_64');

let world: World;
/** The one that misbehaves, and two that talk to each other. */
let bad: TestFront;
let q: FrontQueue;
let good: TestFront;
let peer: TestFront;

beforeEach(() => {
  world = new World();
  bad = new TestFront(world).connect();
  q = bad.queue;
  good = new TestFront(world).connect();
  peer = new TestFront(world).connect();
});

/** Whatever happened: the others talk, and the hypervisor's books are right. */
afterEach(() => {
  // Enough for all that may wait there.
  peer.queue.post(200);
  good.queue.send(tcpPacket({ from: 2, to: 3, payload: 77 }));
  world.run();
  expect(good.state).toBe(XenbusStateConnected);
  const got = peer.queue.received();
  peer.queue.post(200);
  world.run();
  expect([...got, ...peer.queue.received()].map((p) => p.bytes.length)).toContain(131);
  expect(auditHypervisor(world.hv)).toEqual([]);
});

/** The device was closed, with this said; nothing of the frontend's is held. */
function closed(reason: RegExp): void {
  world.run();
  expect(bad.error).toMatch(reason);
  expect(bad.state).toBe(XenbusStateClosing);
  expect(bad.domain.flags(q.txRef) & 0x18).toBe(0);
  expect(bad.domain.flags(q.rxRef) & 0x18).toBe(0);
}

const request = (gref: number, size: number, flags = 0, offset = 0) => q.putTx(q.request({ gref, size, flags, offset, id: 1 }));
const page = () => bad.domain.grant(bad.domain.allocate().frame);

test.each([257, 1000, 0x7fffffff, 0x80000000, 0xffffffff])('a tx producer index %i ahead', (ahead) => {
  q.setTxProd(ahead);
  q.kickTx(ahead);
  closed(/req_prod \d+ is more than the ring's 256 slots ahead/);
});

test.each([257, 0x80000000, 0xffffffff])('an rx producer index %i ahead, found when a packet comes', (ahead) => {
  q.kickRx(ahead);
  world.run();
  good.queue.send(tcpPacket({ from: 2, to: 1 }));
  closed(/req_prod/);
});

test('a producer index that goes back', () => {
  for (let i = 0; i < 5; i++) q.send(tcpPacket());
  world.run();
  q.kickTx(2);
  closed(/req_prod/);
});

test('a ring that is wild from the start', () => {
  const wild = new TestFront(world, { devid: 1 }, bad.domain);
  wild.queue.tx.setU32(at('req_prod'), 12345);
  wild.connect();
  expect(wild.state).toBe(XenbusStateClosing);
  expect(wild.error).toMatch(/req_prod/);
});

test('a chain of slots that goes beyond what was published', () => {
  request(page(), 500, NETTXF_more_data);
  request(page(), 100, NETTXF_more_data);
  q.kickTx();
  closed(/Asked for 1 slots but exceeds this limit/);
});

test('a chain that never ends', () => {
  for (let i = 0; i < RING_SLOTS; i++) request(4000, 100, NETTXF_more_data);
  q.kickTx();
  closed(/Malicious frontend using 20 slots/);
});

test('slots that say more than the packet has: dropped', () => {
  request(page(), 100, NETTXF_more_data);
  request(page(), 200);
  q.kickTx();
  world.run();
  expect(q.responses().map((r) => r.status)).toEqual([NETIF_RSP_ERROR, NETIF_RSP_ERROR]);
});

test('slots that leave nothing for the first: dropped', () => {
  request(page(), 100, NETTXF_more_data);
  request(page(), 100);
  q.kickTx();
  world.run();
  expect(q.responses().map((r) => r.status)).toEqual([NETIF_RSP_ERROR, NETIF_RSP_ERROR]);
});

test.each([
  [4095, 14],
  [1, 4096],
  [65535, 65535],
])('a first slot at %i of %i bytes', (offset, size) => {
  request(page(), size, 0, offset);
  q.kickTx();
  closed(/txreq\.offset/);
});

test('a further slot across its page', () => {
  request(page(), 5000, NETTXF_more_data);
  request(page(), 200, 0, 4000);
  q.kickTx();
  closed(/Cross page boundary/);
});

const extra = (type: number, flags: number, size = 0, gso = 0) =>
  netif_extra_info.encode('x86_64', { type, flags, u: { gso: { size, type: gso, pad: 0, features: 0 } } });

test.each([
  ['of no type', extra(0, 0), /Invalid extra type: 0/],
  ['of a type that is not known', extra(200, 0), /Invalid extra type: 200/],
  ['that has no end', extra(1, 1, 1000, 1), /Missing extra info/],
  ['of GSO with size 0', extra(1, 0, 0, 1), /GSO size must not be zero/],
  ['of GSO of no kind', extra(1, 0, 1000, 0), /Bad GSO type/],
  ['of GSO of a kind that is not known', extra(1, 0, 1000, 9), /Bad GSO type 9/],
] as const)('an extra info %s', (_, bytes, reason) => {
  request(page(), 60, NETTXF_extra_info);
  q.putTx(bytes);
  q.kickTx();
  closed(reason);
});

test('an extra info announced and missing', () => {
  request(page(), 60, NETTXF_extra_info);
  q.kickTx();
  closed(/Missing extra info/);
});

test('grants of others, of nobody, and revoked ones: an error each, no byte of theirs leaves', () => {
  const foreign = good.domain.allocate();
  foreign.page.writeBytes(0, tcpPacket({ to: 3, payload: 900 }));
  const ref = good.domain.grant(foreign.frame);
  const revoked = page();
  bad.domain.revoke(revoked);
  peer.queue.post(8);
  for (const gref of [ref + 1000, 0xffffffff, revoked, 0]) request(gref, 954);
  q.kickTx();
  world.run();
  expect(q.responses().map((r) => r.status)).toEqual(Array(4).fill(NETIF_RSP_ERROR));
  expect(peer.queue.received()).toEqual([]);
  expect(bad.state).toBe(XenbusStateConnected);
});

test('rx buffers that are not its own to give: an error each, no page of others is written', () => {
  const victim = good.domain.allocate();
  victim.page.writeBytes(0, new Uint8Array(4096).fill(0xee));
  const ref = good.domain.grant(victim.frame);
  q.putRx(1, ref + 500);
  q.putRx(2, 0xffffffff);
  q.putRx(3, bad.domain.grant(bad.domain.allocate().frame, { to: domid(7) }));
  q.kickRx();
  for (let i = 0; i < 3; i++) good.queue.send(tcpPacket({ from: 2, to: 1 }));
  world.run();
  expect([q.rxResponse()?.status, q.rxResponse()?.status, q.rxResponse()?.status]).toEqual(Array(3).fill(NETIF_RSP_ERROR));
  expect(victim.page.bytes(0, 4096).every((b) => b === 0xee)).toBe(true);
});

test('requests rewritten while they are served: what was checked is what is done', () => {
  // The frontend's memory changes with every look at it, as if another vCPU wrote all the time.
  const flip = { count: 0 };
  const attack = () => {
    flip.count++;
    for (let slot = 0; slot < 8; slot++) {
      const where = 64 + slot * 12;
      q.tx.setU16(where + 4, flip.count % 2 === 0 ? 65000 : 0);
      q.tx.setU16(where + 10, flip.count % 3 === 0 ? 65535 : 40);
      q.tx.setU16(where + 6, flip.count % 5);
    }
  };
  const { dom0 } = world;
  dom0.observer.sink = (e) => {
    if (e.kind === 'request') attack();
  };
  for (let i = 0; i < 40; i++) {
    if (bad.state !== XenbusStateConnected) break;
    q.send(tcpPacket({ payload: 40 }));
    world.run();
    q.responses();
  }
  dom0.observer.sink = null;
  expect(flip.count).toBeGreaterThan(0);
});

test('the rings overwritten under load', () => {
  for (let i = 0; i < 50; i++) q.send(tcpPacket(), { kick: false });
  q.kickTx();
  q.tx.writeBytes(0, new Uint8Array(4096).fill(0xff));
  q.rx.writeBytes(0, new Uint8Array(4096).fill(0x5a));
  good.queue.send(tcpPacket({ from: 2, to: 1 }));
  closed(/req_prod/);
});

test('the frontend closes and starts again under load', () => {
  for (let round = 0; round < 5; round++) {
    q.post(8);
    for (let i = 0; i < 20; i++) q.send(tcpPacket({ to: 3 }), { kick: false });
    q.kickTx(q.txProd);
    good.queue.send(tcpPacket({ from: 2, to: 1 }));
    bad.write('state', '6');
    world.run();
    bad.write('state', '1');
    world.run();
    for (const p of [q.tx, q.rx]) {
      p.writeBytes(0, new Uint8Array(64));
      p.setU32(at('req_event'), 1);
      p.setU32(at('rsp_event'), 1);
    }
    q.txProd = q.txCons = q.rxProd = q.rxCons = 0;
    bad.connect();
    expect(bad.state).toBe(XenbusStateConnected);
    q.send(tcpPacket({ to: 3 }));
    world.run();
    expect(q.responses()).toHaveLength(1);
  }
});

test('the domain is destroyed under load', () => {
  q.post(100);
  for (let i = 0; i < 100; i++) {
    q.send(tcpPacket({ to: 3 }), { kick: false });
    good.queue.send(tcpPacket({ from: 2, to: 1, payload: 1000 }), { kick: false });
  }
  q.kickTx();
  good.queue.kickTx();
  bad.domain.destroy();
  world.run();
  expect(good.queue.responses()).toHaveLength(100);
});

test('event channels closed by the frontend', () => {
  q.post(4);
  bad.domain.events.close(q.txPort);
  bad.domain.events.close(q.rxPort);
  good.queue.send(tcpPacket({ from: 2, to: 1 }));
  world.run();
  expect(q.received()).toHaveLength(1);
});

test('events without anything behind them', () => {
  for (let i = 0; i < 100; i++) {
    bad.domain.events.notify(q.txPort);
    bad.domain.events.notify(q.rxPort);
    world.run();
  }
  expect(bad.state).toBe(XenbusStateConnected);
});

test('a flood from one does not keep the others from their turn: each service is bounded by a ring', () => {
  const { work } = world.dom0.observer;
  for (let i = 0; i < RING_SLOTS; i++) q.send(tcpPacket({ payload: 0 }), { kick: false });
  const before = work.request;
  q.kickTx();
  world.run();
  expect(work.request - before).toBe(RING_SLOTS);
});

test.each([
  ['tx-ring-ref', '4294967296'],
  ['rx-ring-ref', '99999999999999999999'],
  ['event-channel-tx', '4294967296'],
  ['event-channel-rx', '99999999999999999999'],
  ['multi-queue-num-queues', '99999999999999999999'],
  ['ctrl-ring-ref', '99999999999999999999'],
])('a number in %s that fits no word: %s', (key, value) => {
  const wild = new TestFront(world, { devid: 1, nodes: { [key]: value } }, bad.domain).connect();
  expect(wild.state).toBe(XenbusStateClosing);
});
