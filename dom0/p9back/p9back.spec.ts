// The 9pfs device against frontends: an honest one, and ones that lie about every number there is.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { NodeShare } from '../xl/node-share.ts';
import { REFS, RING_ORDER } from './flex-ring.ts';
import { LockTable } from './locks.ts';
import { P9Device } from './p9back.ts';
import { P9, RLERROR, VERSION } from './protocol.ts';
import { message } from './testing/client.ts';
import { FakeHost, FakeNode } from './testing/fake-host.ts';
import { type Rng, randomMessage, seeded } from './testing/fuzz.ts';

const IN_CONS = 0;
const IN_PROD = 4;
const OUT_CONS = 64;
const OUT_PROD = 68;
const INDEX = 100;
const PORT = 40;
const DATA = 1000;

let folder: string;
let host: FakeHost;
let node: FakeNode;
let device: P9Device;

beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'ringworld-p9dev-'));
  fs.writeFileSync(join(folder, 'hello'), 'hello, guest\n');
  host = new FakeHost();
  make(1);
});
afterEach(() => {
  device.disconnect();
  fs.rmSync(folder, { recursive: true, force: true });
});

/** A frontend with `rings` rings of `order`, as Linux sets them up. */
function make(rings: number, order = 2): void {
  const front: Record<string, string> = { version: '1', 'num-rings': String(rings) };
  for (let r = 0; r < rings; r++) {
    front[`ring-ref${r}`] = String(INDEX + r);
    front[`event-channel-${r}`] = String(PORT + r);
    const intf = host.page(INDEX + r);
    intf.setU32(RING_ORDER, order);
    for (let i = 0; i < 2 ** order; i++) intf.setU32(REFS + i * 4, DATA + r * 512 + i);
  }
  node = new FakeNode('9pfs', { path: folder }, front);
  device = new P9Device(host, node, (p) => new NodeShare(p.path), new LockTable());
  node.onFatal = () => device.disconnect();
}

const intf = (ring = 0) => host.page(INDEX + ring);
const half = (order = 2) => 2 ** (order + 11);

function put(bytes: Uint8Array, ring = 0): void {
  const prod = intf(ring).u32(OUT_PROD);
  const size = half(intf(ring).u32(RING_ORDER));
  for (let i = 0; i < bytes.length; i++) {
    const at = size + ((prod + i) & (size - 1));
    host.page(DATA + ring * 512 + (at >> 12)).setU8(at & 4095, bytes[i]!);
  }
  intf(ring).setU32(OUT_PROD, (prod + bytes.length) >>> 0);
}
/** Takes whole answers: [type, tag, bytes]. */
function answers(ring = 0): [number, number, Uint8Array][] {
  const size = half(intf(ring).u32(RING_ORDER));
  const all: [number, number, Uint8Array][] = [];
  for (let cons = intf(ring).u32(IN_CONS); cons !== intf(ring).u32(IN_PROD); ) {
    const byte = (i: number) => {
      const at = (cons + i) & (size - 1);
      return host.page(DATA + ring * 512 + (at >> 12)).u8(at & 4095);
    };
    const length = byte(0) | (byte(1) << 8) | (byte(2) << 16);
    // Its own indices are what a hostile one has spoilt.
    if (length < 7 || length > size) {
      intf(ring).setU32(IN_CONS, intf(ring).u32(IN_PROD));
      break;
    }
    const bytes = Uint8Array.from({ length }, (_, i) => byte(i));
    all.push([bytes[4]!, bytes[5]! | (bytes[6]! << 8), bytes]);
    cons = (cons + length) >>> 0;
    intf(ring).setU32(IN_CONS, cons);
  }
  return all;
}
function exchange(bytes: Uint8Array, ring = 0): [number, number, Uint8Array][] {
  put(bytes, ring);
  host.kick();
  host.settle();
  return answers(ring);
}
const version = (tag = 0xffff, msize = 8192) => message(P9.Tversion, tag, (w) => w.u32(msize).string(VERSION));
const attach = (fid: number, tag = 1) => message(P9.Tattach, tag, (w) => w.u32(fid).u32(0xffffffff).string('').string('').u32(0));
const statfs = (tag: number) => message(P9.Tstatfs, tag, (w) => w.u32(0));

describe('an honest frontend', () => {
  test('negotiates, asks, and gets its answers around the end of the ring', () => {
    expect(node.back).toMatchObject({ versions: '1', 'max-rings': '8', 'max-ring-page-order': '9' });
    device.connect();
    expect(exchange(version()).map((a) => a[0])).toEqual([P9.Tversion + 1]);
    expect(exchange(attach(0)).map((a) => a[0])).toEqual([P9.Tattach + 1]);
    for (let i = 0; i < 500; i++) expect(exchange(statfs(i)).map((a) => [a[0], a[1]])).toEqual([[P9.Tstatfs + 1, i]]);
  });

  test('may use several rings for one session, whose smallest bounds the messages', () => {
    make(3);
    intf(2).setU32(RING_ORDER, 1);
    device.connect();
    const [[, , reply]] = exchange(version(1, 1 << 20), 1) as [[number, number, Uint8Array]];
    expect(new DataView(reply.buffer).getUint32(7, true)).toBe(4096);
    exchange(attach(0), 0);
    expect(exchange(statfs(9), 2).map((a) => [a[0], a[1]])).toEqual([[P9.Tstatfs + 1, 9]]);
  });

  test('a message that comes in two parts is waited for', () => {
    device.connect();
    const bytes = version();
    put(bytes.subarray(0, 9));
    host.kick();
    host.settle();
    expect(answers()).toEqual([]);
    expect(exchange(bytes.subarray(9)).length).toBe(1);
  });

  test('Rflush comes after the answer to what it flushes', () => {
    device.connect();
    exchange(version());
    exchange(attach(0));
    put(statfs(5));
    put(message(P9.Tflush, 6, (w) => w.u16(5)));
    put(message(P9.Tflush, 7, (w) => w.u16(99)));
    host.kick();
    host.settle();
    const tags = answers().map((a) => a[1]);
    expect(tags.indexOf(5)).toBeLessThan(tags.indexOf(6));
    expect(tags.sort()).toEqual([5, 6, 7]);
  });

  test('that does not read its answers is not served beyond what its ring holds, and then goes on', () => {
    device.connect();
    exchange(version());
    exchange(attach(0));
    let sent = 0;
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 200 && ((intf().u32(OUT_PROD) - intf().u32(OUT_CONS)) >>> 0) + 11 <= half(); i++) put(statfs(sent++ & 0xfff));
      host.kick();
      host.settle();
    }
    expect(host.inFlight).toBe(0);
    expect((intf().u32(IN_PROD) - intf().u32(IN_CONS)) >>> 0).toBeLessThanOrEqual(half());
    let got = 0;
    for (let round = 0; round < 500; round++) {
      got += answers().length;
      host.kick();
      host.settle();
    }
    expect(got).toBe(sent);
  });

  test('finds a new session after it has come back, and all is let go of', () => {
    device.connect();
    exchange(version());
    exchange(attach(0));
    device.disconnect();
    expect([host.mapped, host.bound]).toEqual([0, 0]);
    for (const at of [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD]) intf().setU32(at, 0);
    device.connect();
    expect(exchange(statfs(1)).map((a) => a[0])).toEqual([RLERROR]);
    expect(exchange(version()).map((a) => a[0])).toEqual([P9.Tversion + 1]);
  });
});

describe('a frontend is refused, and nothing stays mapped, when', () => {
  test.each<[string, () => void]>([
    ['it speaks another version', () => (node.front.version = '2')],
    ['it has no ring', () => (node.front['num-rings'] = '0')],
    ['it has too many rings', () => (node.front['num-rings'] = '9')],
    ['the order is 0', () => intf().setU32(RING_ORDER, 0)],
    ['the order is 10', () => intf().setU32(RING_ORDER, 10)],
    ['the order is 2^32 - 1', () => intf().setU32(RING_ORDER, 0xffffffff)],
    ['the page of indices is not its own', () => host.bad.add(INDEX)],
    ['a page of data is not its own', () => host.bad.add(DATA + 3)],
    ['the port is not for dom0', () => host.bad.add(PORT)],
    ['a node is missing', () => delete node.front['event-channel-0']],
    ['a node is no number', () => (node.front['ring-ref0'] = '-1')],
    ['the folder is gone', () => fs.rmSync(folder, { recursive: true })],
  ])('%s', (_, spoil) => {
    spoil();
    expect(() => device.connect()).toThrow();
    expect([host.mapped, host.bound]).toEqual([0, 0]);
  });
});

describe('the device is shut when', () => {
  test.each<[string, () => void]>([
    ['out_prod is further ahead than the ring is long', () => intf().setU32(OUT_PROD, half() + 1 + intf().u32(OUT_PROD))],
    ['out_prod is behind', () => intf().setU32(OUT_PROD, (intf().u32(OUT_PROD) - 8) >>> 0)],
    ['a message claims to be shorter than its header', () => put(Uint8Array.of(6, 0, 0, 0, 100, 0, 0))],
    ['a message claims 4 GiB', () => put(Uint8Array.of(255, 255, 255, 255, 100, 0, 0))],
    ['a message is longer than was agreed', () => put(Uint8Array.of(1, 32, 0, 0, 100, 0, 0))],
    [
      'in_cons is ahead',
      () => {
        put(statfs(1));
        intf().setU32(IN_CONS, 77777);
      },
    ],
  ])('%s', (_, lie) => {
    device.connect();
    exchange(version());
    lie();
    host.kick();
    host.settle();
    expect(node.failure).toMatch(/^ring 0: /);
    expect([host.mapped, host.bound]).toEqual([0, 0]);
    host.kick();
    host.settle();
  });
});

test('a device that is shut under load answers nothing more, and touches nothing', () => {
  device.connect();
  exchange(version());
  exchange(attach(0));
  for (let i = 0; i < 20; i++) put(statfs(i));
  host.kick();
  expect(host.inFlight).toBe(20);
  device.disconnect();
  host.settle();
  expect(answers()).toEqual([]);
  expect([host.mapped, host.bound]).toEqual([0, 0]);
});

/** The frontend does anything; the device must only ever answer or be shut, and the host keep what is beside the folder. */
function hostile(rng: Rng, steps: number): void {
  const base = fs.mkdtempSync(join(tmpdir(), 'ringworld-p9fuzz-'));
  const before = fs.readdirSync('/proc/self/fd').length;
  try {
    fs.writeFileSync(join(base, 'secret'), 'secret');
    folder = join(base, 'share');
    fs.mkdirSync(join(folder, 'a/b'), { recursive: true });
    fs.writeFileSync(join(folder, 'a/file'), 'text');
    fs.symlinkSync('../..', join(folder, 'a/up'));
    fs.symlinkSync('/etc', join(folder, 'etc'));
    host = new FakeHost();
    make(2);
    device.connect();
    exchange(version(0xffff, 8192));
    exchange(attach(0));
    let done = 0;
    for (let i = 0; i < steps; i++) {
      const ring = rng(2);
      const room = half() - ((intf(ring).u32(OUT_PROD) - intf(ring).u32(OUT_CONS)) >>> 0);
      const bytes = randomMessage(rng);
      if (bytes.length <= room) put(bytes, ring);
      if (rng(400) === 0) intf(ring).setU32([IN_CONS, IN_PROD, OUT_CONS, OUT_PROD][rng(4)]!, rng(2) === 0 ? rng(0xffffffff) : rng(20000));
      host.kick();
      if (rng(3) === 0) host.settle();
      if (rng(3) === 0 && node.failure === null) done += answers(ring).filter((a) => a[0] !== RLERROR).length;
      if (node.failure !== null) {
        expect([host.mapped, host.bound]).toEqual([0, 0]);
        for (const r of [0, 1]) for (const at of [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD]) intf(r).setU32(at, 0);
        node.failure = null;
        host.settle();
        device.connect();
        exchange(version(0xffff, 8192));
        exchange(attach(0));
      }
    }
    // Not only refusals were seen.
    expect(done).toBeGreaterThan(steps / 20);
    expect(fs.readdirSync(base).sort()).toEqual(['secret', 'share']);
    expect(fs.readFileSync(join(base, 'secret'), 'utf8')).toBe('secret');
  } finally {
    device.disconnect();
    host.settle();
    fs.rmSync(base, { recursive: true, force: true });
  }
  expect(fs.readdirSync('/proc/self/fd').length).toBe(before);
}

test.each([1, 2, 3])('random messages and indices, seed %i: answers or a shut device, nothing else', (seed) => hostile(seeded(seed), 3000));
