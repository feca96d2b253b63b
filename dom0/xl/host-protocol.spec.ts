// The frames of the host's socket and what is refused in them; and a connection, whatever a client sends.
import { expect, test } from 'vitest';
import { HostClient } from './host-client.ts';
import type { HostMachine } from './host-machine.ts';
import {
  clientMessage,
  encodeFrame,
  FrameReader,
  type HostMessage,
  hostMessage,
  MAX_FRAME,
  PROTOCOL_VERSION,
  ProtocolError,
} from './host-protocol.ts';
import { HostConnection, type Wire } from './host-server.ts';

test('frames arrive whole, however the bytes are cut', () => {
  const messages = [
    { call: 'list', id: 1, args: {} },
    { input: Uint8Array.of(1, 2, 3), id: 1 },
    { call: 'create', id: 2, args: { text: 'é'.repeat(1000), big: 2 ** 40, none: null } },
  ];
  const all = Buffer.concat(messages.map((m) => encodeFrame(m)));
  for (const size of [1, 3, 7, 100, all.length]) {
    const reader = new FrameReader();
    const got: unknown[] = [];
    for (let at = 0; at < all.length; at += size) got.push(...reader.push(all.subarray(at, at + size)));
    expect(got.map(clientMessage)).toEqual(messages);
  }
});

test.each([
  ['a length beyond all bounds', Uint8Array.of(0xff, 0xff, 0xff, 0xff)],
  ['a length just too large', new Uint8Array(new Uint32Array([0]).buffer).fill(0).map((_, i) => (i === 0 ? (MAX_FRAME >>> 24) + 1 : 0))],
  ['bytes that are no msgpack', Uint8Array.of(0, 0, 0, 2, 0xc1, 0xc1)],
  ['a value cut short', Uint8Array.of(0, 0, 0, 1, 0xda)],
])('%s ends the reading', (_, bytes) => {
  expect(() => new FrameReader().push(bytes)).toThrow(ProtocolError);
});

test.each([
  null,
  5,
  'list',
  [],
  {},
  { call: 'list' },
  { id: 1 },
  { id: 1.5, call: 'x' },
  { id: 1, input: 'text' },
  { id: 1, cancel: false },
])('%j is no message of a client', (value) => {
  expect(() => clientMessage(value)).toThrow(ProtocolError);
});

test.each([null, {}, { hello: '1' }, { id: 1 }, { reply: 1 }, { error: { kind: 'user' } }])('%j is no message of a host', (value) => {
  expect(() => hostMessage(value)).toThrow(ProtocolError);
});

/** A connection to a machine that nothing is asked of. */
function connection() {
  const sent: HostMessage[] = [];
  const state = { closed: false, complaints: [] as string[] };
  const wire: Wire = {
    send: (m) => void sent.push(m),
    room: () => 1,
    setReading: () => {},
    close: () => {
      state.closed = true;
    },
  };
  // SAFE: the calls of this spec fail before they touch the machine.
  const machine = { poke: () => {} } as unknown as HostMachine;
  return { connection: new HostConnection(machine, wire, (l) => void state.complaints.push(l)), sent, state };
}

test('rubbish ends the connection with a word, and nothing after it is looked at', () => {
  const { connection: c, sent, state } = connection();
  c.receive(Uint8Array.of(0x47, 0x45, 0x54, 0x20, 0x2f));
  c.receive(encodeFrame({ call: 'list', id: 1, args: {} }));
  expect(sent).toEqual([{ goodbye: expect.stringMatching(/^a frame of \d+ bytes$/) }]);
  expect(state.closed).toBe(true);
});

test('unknown calls, missing arguments and calls twice open are answered, each by its id', async () => {
  const { connection: c, sent, state } = connection();
  c.receive(encodeFrame({ call: 'frob', id: 1, args: {} }));
  c.receive(encodeFrame({ call: 'toString', id: 2, args: {} }));
  c.receive(encodeFrame({ call: 'create', id: 3, args: null }));
  c.receive(encodeFrame({ cancel: true, id: 99 }));
  await new Promise((done) => setTimeout(done, 5));
  expect(sent.map((m) => ('error' in m ? [m.id, m.error.kind, m.error.message] : m))).toEqual([
    [1, 'user', 'this host knows no call "frob"'],
    [2, 'user', 'this host knows no call "toString"'],
    [3, 'user', expect.stringMatching(/^create\.guest/)],
  ]);
  expect(state).toEqual({ closed: false, complaints: [] });
});

test('a fault of our own is told to the client and noted, and the host goes on', async () => {
  const { connection: c, sent, state } = connection();
  c.receive(encodeFrame({ call: 'info', id: 1, args: {} }));
  await new Promise((done) => setTimeout(done, 5));
  expect(sent).toEqual([{ error: { kind: 'internal', message: expect.any(String) }, id: 1 }]);
  expect(state.complaints[0]).toMatch(/^info: TypeError/);
});

test('a client says which versions do not go together, and what the host could not understand', async () => {
  const client = new HostClient({ send: () => {}, close: () => {} }, '/run/x.sock');
  client.receive(encodeFrame({ hello: PROTOCOL_VERSION + 1, pid: 7, version: '9.9' }));
  await expect(client.ready).rejects.toThrow(
    `the host at /run/x.sock (process 7, ringworld 9.9) speaks version ${PROTOCOL_VERSION + 1} of the protocol, this command version ${PROTOCOL_VERSION}`,
  );
  const other = new HostClient({ send: () => {}, close: () => {} }, '/run/x.sock');
  other.receive(encodeFrame({ hello: PROTOCOL_VERSION, pid: 7, version: '9.9' }));
  await other.ready;
  const call = other.call('list', {});
  other.receive(encodeFrame({ goodbye: 'a frame of 5 bytes' }));
  await expect(call).rejects.toThrow('the host at /run/x.sock did not understand: a frame of 5 bytes');
  await expect(other.call('list', {})).rejects.toThrow('did not understand');
});
