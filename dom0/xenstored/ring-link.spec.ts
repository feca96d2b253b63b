// The store ring: messages in pieces, rings that are full, clients that lie.
import * as abi from '@ringworld/abi';
import { beforeEach, expect, test } from 'vitest';
import { XsClient } from './client.ts';
import { encodeMessage } from './connection.ts';
import { RingLink, RingTurns, XENSTORE_SERVER_FEATURE_WATCHDEPTH } from './ring-link.ts';
import { Frontend, memoryPage } from './testing/ring.ts';
import { Xenstored } from './xenstored.ts';

const FIELD = (f: 'req_prod' | 'rsp_prod' | 'rsp_cons' | 'error' | 'req_cons') => abi.xenstore_domain_interface.offset(f, 'x86_64');
let front: Frontend;
let link: { serve(): void };
let dom0: XsClient;
let notified: number;

beforeEach(() => {
  const daemon = new Xenstored({ open: () => {}, close: () => {} });
  dom0 = new XsClient(daemon);
  dom0.mkdir('/local/domain/1/data');
  dom0.setPerms('/local/domain/1/data', ['n1']);
  const turns = new RingTurns();
  const connection = daemon.connect(1, () => link.serve());
  front = new Frontend(memoryPage());
  notified = 0;
  const ring = new RingLink(front.page, connection, daemon, () => notified++);
  link = { serve: () => turns.serve(ring) };
});

test('a request that comes byte by byte is answered once, with its own request id', () => {
  const bytes = encodeMessage({ type: abi.XS_WRITE, reqId: 42, txId: 0, payload: 'data/a\0hello' });
  for (const b of bytes) {
    front.put(Uint8Array.of(b));
    link.serve();
  }
  expect(front.take()).toEqual([{ type: abi.XS_WRITE, reqId: 42, txId: 0, payload: 'OK\0' }]);
  expect(notified).toBeGreaterThan(0);
});

test('several requests in the ring are answered in order, across the end of the ring', () => {
  for (let round = 0; round < 40; round++) {
    for (const n of [1, 2]) front.putMessage({ type: abi.XS_WRITE, reqId: n, payload: `data/${n}\0${'v'.repeat(round)}` });
    link.serve();
    expect(front.take().map((m) => [m.type, m.reqId])).toEqual([
      [abi.XS_WRITE, 1],
      [abi.XS_WRITE, 2],
    ]);
  }
});

test('a reply larger than the ring is sent as the client makes room', () => {
  const value = 'x'.repeat(2000);
  dom0.write('/local/domain/1/data/long', value);
  front.putMessage({ type: abi.XS_READ, payload: 'data/long\0' });
  const messages = [];
  for (let i = 0; i < 100 && messages.length === 0; i++) {
    link.serve();
    messages.push(...front.take(100));
  }
  expect(messages.map((m) => m.payload)).toEqual([value]);
});

test('a request larger than the ring is taken as it comes', () => {
  let rest = front.putMessage({ type: abi.XS_WRITE, payload: `data/long\0${'y'.repeat(1990)}` });
  while (rest.length > 0) {
    link.serve();
    rest = front.put(rest);
  }
  link.serve();
  expect(front.take().map((m) => m.payload)).toEqual(['OK\0']);
  expect(dom0.read('/local/domain/1/data/long')).toHaveLength(1990);
});

test('a watch event reaches the ring without a request', () => {
  front.putMessage({ type: abi.XS_WATCH, payload: 'data\0t\0' });
  link.serve();
  front.take();
  dom0.write('/local/domain/1/data/new', '1');
  expect(front.take()).toEqual([{ type: abi.XS_WATCH_EVENT, reqId: 0, txId: 0, payload: 'data/new\0t\0' }]);
});

test('a client that takes no replies is not read any further, and loses nothing', () => {
  const sent = 300;
  let answered = 0;
  for (let i = 0; i < sent; i++) {
    let rest = front.putMessage({ type: abi.XS_READ, payload: 'data\0' });
    while (rest.length > 0) {
      link.serve();
      if (front.page.u32(FIELD('req_prod')) - front.page.u32(FIELD('req_cons')) > 0) answered += front.take().length;
      rest = front.put(rest);
    }
  }
  for (let i = 0; i < sent && answered < sent; i++) {
    link.serve();
    answered += front.take().length;
  }
  expect(answered).toBe(sent);
});

test.each([
  ['an index beyond the ring', () => front.page.setU32(FIELD('req_prod'), 5000), abi.XENSTORE_ERROR_RINGIDX],
  ['a payload longer than allowed', () => front.put(abi.xsd_sockmsg.encode('x86_64', { type: 2, len: 5000 })), abi.XENSTORE_ERROR_PROTO],
])('%s ends the service with a reason in the page', (_, lie, error) => {
  lie();
  link.serve();
  expect(front.page.u32(FIELD('error'))).toBe(error);
  front.page.setU32(FIELD('req_prod'), front.page.u32(FIELD('req_cons')));
  front.putMessage({ type: abi.XS_READ, payload: 'data\0' });
  link.serve();
  expect(front.take()).toEqual([]);
});

const at = (f: Parameters<typeof abi.xenstore_domain_interface.offset>[0]) => abi.xenstore_domain_interface.offset(f, 'x86_64');

test('a domain that asks for it gets an empty ring: no watches, no transactions, nothing half sent', () => {
  expect(front.page.u32(at('server_features'))).toBe(
    abi.XENSTORE_SERVER_FEATURE_RECONNECTION | abi.XENSTORE_SERVER_FEATURE_ERROR | XENSTORE_SERVER_FEATURE_WATCHDEPTH,
  );
  front.putMessage({ type: abi.XS_WATCH, payload: 'data\0t\0' });
  front.putMessage({ type: abi.XS_TRANSACTION_START, payload: '\0' });
  link.serve();
  dom0.write('/local/domain/1/data/long', 'x'.repeat(2000));
  front.putMessage({ type: abi.XS_READ, payload: 'data/long\0' });
  front.put(Uint8Array.of(1, 2, 3));
  link.serve();
  const before = notified;
  front.page.setU32(at('connection'), abi.XENSTORE_RECONNECT);
  link.serve();
  expect(front.page.u32(at('connection'))).toBe(abi.XENSTORE_CONNECTED);
  for (const index of ['req_prod', 'req_cons', 'rsp_prod', 'rsp_cons'] as const) expect(front.page.u32(at(index))).toBe(0);
  expect(notified).toBeGreaterThan(before);
  front.reset();
  dom0.write('/local/domain/1/data/x', '1');
  expect(front.take()).toEqual([]);
  front.putMessage({ type: abi.XS_TRANSACTION_END, reqId: 3, txId: 1, payload: 'T\0' });
  link.serve();
  expect(front.take()).toEqual([{ type: abi.XS_ERROR, reqId: 3, txId: 1, payload: 'ENOENT\0' }]);
});

test('a domain that broke the protocol is heard again once it has asked for a new connection', () => {
  front.page.setU32(at('rsp_cons'), 77);
  dom0.write('/local/domain/1/data/x', '1');
  front.putMessage({ type: abi.XS_READ, payload: 'data/x\0' });
  link.serve();
  expect(front.page.u32(at('error'))).toBe(abi.XENSTORE_ERROR_RINGIDX);
  front.page.setU32(at('connection'), abi.XENSTORE_RECONNECT);
  link.serve();
  expect(front.page.u32(at('error'))).toBe(abi.XENSTORE_ERROR_NONE);
  front.putMessage({ type: abi.XS_READ, payload: 'data/x\0' });
  link.serve();
  expect(front.take().map((m) => m.payload)).toEqual(['1']);
});
