// One domain floods the store with all it has; another one's requests are answered in turn, and the flood ends at its quotas.
import * as abi from '@ringworld/abi';
import { beforeEach, expect, test } from 'vitest';
import { auditStore } from './audit.ts';
import { XsClient } from './client.ts';
import { encodeMessage } from './connection.ts';
import { RingLink, RingTurns } from './ring-link.ts';
import { Frontend, memoryPage } from './testing/ring.ts';
import { Xenstored } from './xenstored.ts';

let daemon: Xenstored;
let dom0: XsClient;
let turns: RingTurns;
let order: number[];
const guests = new Map<number, { front: Frontend; link: RingLink }>();

beforeEach(() => {
  turns = new RingTurns();
  order = [];
  daemon = new Xenstored({
    open: (c) => {
      const page = memoryPage();
      const link = new RingLink(page, c, daemon, () => {});
      guests.set(c.domid, { front: new Frontend(page), link });
      daemon.setListener(c, () => turns.serve(link));
    },
    close: () => {},
  });
  dom0 = new XsClient(daemon);
  for (const d of [1, 2]) {
    daemon.introduce(d, 1);
    dom0.mkdir(`/local/domain/${d}/data`);
    dom0.setPerms(`/local/domain/${d}/data`, [`n${d}`]);
  }
  daemon.trace = (domid) => {
    if (domid !== 0) order.push(domid);
  };
});

const guest = (domid: number) => guests.get(domid)!;
/** Requests of so many bytes at most lie in a ring at once. */
const fill = (domid: number, type: number, payload: (i: number) => string): number => {
  const { front } = guest(domid);
  for (let i = 0; ; i++) {
    const bytes = encodeMessage({ type, reqId: i, txId: 0, payload: payload(i) });
    const room = abi.XENSTORE_RING_SIZE - ((front.page.u32(FIELD('req_prod')) - front.page.u32(FIELD('req_cons'))) >>> 0);
    if (bytes.length > room) return i;
    front.put(bytes);
  }
};
const FIELD = (f: 'req_prod' | 'req_cons') => abi.xenstore_domain_interface.offset(f, 'x86_64');

test('domains that ask at the same time are answered in turn', () => {
  const asked = fill(1, abi.XS_GET_DOMAIN_PATH, () => '1\0');
  for (let i = 0; i < 5; i++) guest(2).front.putMessage({ type: abi.XS_READ, reqId: i, payload: 'data\0' });
  // The event of domain 2 comes while the first request of domain 1 is being served.
  daemon.trace = (domid) => {
    if (order.push(domid) === 1) turns.serve(guest(2).link);
  };
  turns.serve(guest(1).link);
  expect(asked).toBeGreaterThan(20);
  expect(order.slice(0, 10)).toEqual([1, 1, 2, 1, 2, 1, 2, 1, 2, 1]);
  expect(guest(2).front.take()).toHaveLength(5);
});

test('a flood that takes no answers stops being heard; the other domain notices nothing', () => {
  let heard = 0;
  daemon.trace = (domid) => {
    if (domid === 1) heard++;
  };
  let worst = 0;
  for (let round = 0; round < 200; round++) {
    fill(1, abi.XS_WRITE, (i) => `data/${round % 7}/${i}\0${'x'.repeat(20)}`);
    turns.serve(guest(1).link);
    const { front, link } = guest(2);
    front.putMessage({ type: abi.XS_WRITE, reqId: 1000, payload: `data/n\0${round}` });
    const start = performance.now();
    turns.serve(link);
    worst = Math.max(worst, performance.now() - start);
    expect(front.take().map((m) => m.payload)).toEqual(['OK\0']);
  }
  // What the ring of answers holds, and 20 that wait for room in it.
  expect(heard).toBeLessThan(100);
  expect(auditStore(daemon)).toEqual([]);
  // A generous bound: on a busy machine a request takes well below a millisecond.
  expect(worst).toBeLessThan(500);
});

test.each([
  ['nodes', abi.XS_WRITE, (i: number, round: number) => `data/${round % 40}/${i}-${round}\0v`],
  ['big values', abi.XS_WRITE, (i: number, round: number) => `data/${i}-${round % 80}\0${'x'.repeat(900)}`],
  ['watches', abi.XS_WATCH, (i: number, round: number) => `data/${i}\0${round}\0`],
  ['transactions', abi.XS_TRANSACTION_START, () => '\0'],
])('a flood of %s ends at the quotas, though all answers are taken', (_, type, payload) => {
  for (let round = 0; round < 400; round++) {
    fill(1, type, (i) => payload(i, round));
    for (let i = 0; i < 40; i++) {
      turns.serve(guest(1).link);
      if (guest(1).front.take(2048).length === 0) break;
    }
  }
  const { nodes, memory, watches } = daemon.book.domains.of(1);
  expect(nodes).toBeLessThanOrEqual(1000);
  expect(watches).toBeLessThanOrEqual(129);
  expect(memory).toBeLessThan(2.5 * 1024 * 1024);
  expect(Math.max(...[...daemon.connections.values()].map((c) => c.transactions.size))).toBeLessThanOrEqual(11);
  expect(auditStore(daemon)).toEqual([]);
  guest(2).front.putMessage({ type: abi.XS_READ, reqId: 1, payload: 'data\0' });
  turns.serve(guest(2).link);
  expect(
    guest(2)
      .front.take()
      .map((m) => m.payload),
  ).toEqual(['']);
});
