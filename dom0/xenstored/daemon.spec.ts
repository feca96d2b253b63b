// The daemon beyond nodes: domains that come, die and come back with the same number, target domains, outstanding requests and events,
// control.
import * as abi from '@ringworld/abi';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { auditStore } from './audit.ts';
import { XsClient } from './client.ts';
import type { Connection, Message } from './connection.ts';
import { Xenstored } from './xenstored.ts';

let daemon: Xenstored;
let dom0: XsClient;
let tools: Connection;
let counted: number;
/** Domains that exist; their rings as the daemon opened them. */
let domains: Map<number, { isShutdown: boolean; isDying: boolean }>;
let rings: Map<number, Connection>;
let now: number;
let timers: { due: number; fn: () => void }[];

beforeEach(() => {
  domains = new Map([0, 1, 2, 3].map((d) => [d, { isShutdown: false, isDying: false }]));
  rings = new Map();
  now = 0;
  timers = [];
  counted = 0;
  daemon = new Xenstored(
    {
      open: (c) => void rings.set(c.domid, c),
      close: (c) => void rings.delete(c.domid),
      reopen: () => {},
      domainInfo: (d) => domains.get(d) ?? null,
    },
    {
      count: () => counted++,
      clock: {
        now: () => now,
        after: (ns, fn) => {
          timers.push({ due: now + ns, fn });
          return () => {};
        },
      },
    },
  );
  dom0 = new XsClient(daemon);
  tools = daemon.connect(0, () => {});
  for (const d of [1, 2, 3]) begin(d);
});

afterEach(() => expect(auditStore(daemon)).toEqual([]));

function begin(domid: number): void {
  domains.set(domid, { isShutdown: false, isDying: false });
  daemon.introduce(domid, 1);
  dom0.mkdir(`/local/domain/${domid}`);
  dom0.setPerms(`/local/domain/${domid}`, ['n0', `r${domid}`]);
  dom0.mkdir(`/local/domain/${domid}/data`);
  dom0.setPerms(`/local/domain/${domid}/data`, [`n${domid}`]);
}

function pass(ns: number): void {
  now += ns;
  for (const t of timers.splice(0)) {
    if (t.due <= now) t.fn();
    else timers.push(t);
  }
}

function taken(c: Connection): Message[] {
  const messages: Message[] = [];
  while (daemon.first(c) !== undefined) messages.push(daemon.take(c));
  return messages;
}

const show = (m: Message) =>
  `${m.type === abi.XS_ERROR ? 'ERROR ' : m.type === abi.XS_WATCH_EVENT ? 'EVENT ' : ''}${m.payload.replaceAll('\0', '|')}`;
const put = (c: Connection, type: number, payload: string, txId = 0) => daemon.handle(c, { type, reqId: 1, txId, payload });
function ask(from: number | Connection, type: number, payload: string, txId = 0): string[] {
  const c = typeof from === 'number' ? rings.get(from)! : from;
  put(c, type, payload, txId);
  return taken(c).map(show);
}

test("a dead domain's nodes go, and its permissions mean nothing to the next of its number", () => {
  ask(1, abi.XS_WRITE, 'data/a/b\0v');
  dom0.write('/shared', '');
  dom0.setPerms('/shared', ['n0', 'r1', 'r2']);
  dom0.write('/shared/of-1', 'x');
  dom0.setPerms('/shared/of-1', ['n1', 'r2']);
  const seen: string[] = [];
  dom0.watch('/shared', (p) => seen.push(p));
  expect(ask(1, abi.XS_READ, '/shared\0')).toEqual(['']);
  domains.delete(1);
  daemon.domainStopped();
  expect(rings.has(1)).toBe(false);
  expect(dom0.read('/local/domain/1')).toBe('');
  expect(dom0.read('/local/domain/1/data')).toBeNull();
  expect(dom0.read('/shared/of-1')).toBeNull();
  expect(seen).toEqual(['/shared', '/shared/of-1']);
  expect(daemon.book.domains.records.has(1)).toBe(false);
  begin(1);
  expect(ask(1, abi.XS_READ, '/shared\0')).toEqual(['ERROR EACCES|']);
  expect(ask(2, abi.XS_READ, '/shared\0')).toEqual(['']);
  // The old entry is still shown, and stays void when the node is written.
  expect(dom0.getPerms('/shared')).toEqual(['n0', 'r1', 'r2']);
  dom0.write('/shared', 'new');
  expect(ask(1, abi.XS_READ, '/shared\0')).toEqual(['ERROR EACCES|']);
  dom0.setPerms('/shared', ['n0', 'r1']);
  expect(ask(1, abi.XS_READ, '/shared\0')).toEqual(['new']);
});

test('nodes cannot be given to a domain that does not exist', () => {
  expect(ask(tools, abi.XS_SET_PERMS, '/tool\0n77\0')).toEqual(['ERROR ENOENT|']);
  expect(ask(tools, abi.XS_SET_PERMS, '/tool\0n0\0r77\0')).toEqual(['OK|']);
  const t = Number.parseInt(ask(tools, abi.XS_TRANSACTION_START, '\0')[0]!, 10);
  ask(tools, abi.XS_WRITE, '/x\0', t);
  expect(ask(tools, abi.XS_SET_PERMS, '/x\0n3\0', t)).toEqual(['OK|']);
  domains.delete(3);
  daemon.domainStopped();
  expect(ask(tools, abi.XS_TRANSACTION_END, 'T\0', t)).toEqual(['ERROR ENOMEM|']);
});

test('a root that was given to a guest is given back when it dies', () => {
  dom0.setPerms('/', ['n1', 'r2']);
  daemon.release(1);
  expect(dom0.getPerms('/')).toEqual(['n0', 'r2']);
  expect(dom0.directory('/')).toContain('local');
});

test('a shutdown is announced once, and again after RESUME', () => {
  ask(tools, abi.XS_WATCH, '@releaseDomain\0t\0');
  domains.get(2)!.isShutdown = true;
  daemon.domainStopped();
  daemon.domainStopped();
  expect(taken(tools).map(show)).toEqual(['EVENT @releaseDomain|t|']);
  expect(ask(tools, abi.XS_RESUME, '2\0')).toEqual(['OK|']);
  daemon.domainStopped();
  expect(taken(tools).map(show)).toEqual(['EVENT @releaseDomain|t|']);
  expect(ask(tools, abi.XS_RESUME, '9\0')).toEqual(['ERROR ENOENT|']);
  expect(ask(tools, abi.XS_RELEASE, '2\0')).toEqual(['EVENT @releaseDomain|t|', 'OK|']);
  expect(ask(tools, abi.XS_RELEASE, '2\0')).toEqual(['ERROR ENOENT|']);
});

test('special watches go to those whom dom0 lets have them', () => {
  ask(2, abi.XS_WATCH, '@releaseDomain\0t\0');
  ask(tools, abi.XS_SET_PERMS, '@releaseDomain\0n0\0r2\0');
  expect(ask(2, abi.XS_SET_PERMS, '@releaseDomain\0n2\0')).toEqual(['ERROR EACCES|']);
  daemon.release(3);
  daemon.release(1);
  // Each is news, though the first has not been taken.
  expect(taken(rings.get(2)!).map(show)).toEqual(['EVENT @releaseDomain|t|', 'EVENT @releaseDomain|t|']);
});

test('a domain with a target may do what the target may, until the target goes', () => {
  dom0.write('/for-1', 'x');
  dom0.setPerms('/for-1', ['n0', 'r1']);
  expect(ask(2, abi.XS_WRITE, '/local/domain/1/data/a\0v')).toEqual(['ERROR EACCES|']);
  expect(ask(2, abi.XS_SET_TARGET, '2\x001\0')).toEqual(['ERROR EACCES|']);
  expect(ask(tools, abi.XS_SET_TARGET, '2\x0077\0')).toEqual(['ERROR ENOENT|']);
  expect(ask(tools, abi.XS_SET_TARGET, '2\x001\0')).toEqual(['OK|']);
  expect(ask(2, abi.XS_WRITE, '/local/domain/1/data/a\0v')).toEqual(['OK|']);
  expect(ask(2, abi.XS_GET_PERMS, '/local/domain/1/data/a\0')).toEqual(['n2|']);
  expect(ask(2, abi.XS_READ, '/for-1\0')).toEqual(['x']);
  expect(ask(2, abi.XS_SET_PERMS, '/local/domain/1/data\0n1\0r3\0')).toEqual(['OK|']);
  expect(ask(3, abi.XS_READ, '/for-1\0')).toEqual(['ERROR EACCES|']);
  daemon.release(1);
  begin(1);
  expect(ask(2, abi.XS_WRITE, '/local/domain/1/data/a\0v')).toEqual(['ERROR EACCES|']);
});

test("being introduced again starts a domain's connection anew", () => {
  ask(1, abi.XS_WATCH, 'data\0t\0');
  ask(1, abi.XS_TRANSACTION_START, '\0');
  put(rings.get(1)!, abi.XS_READ, 'data\0');
  expect(ask(tools, abi.XS_INTRODUCE, '1\x001\x002\0')).toEqual(['OK|']);
  expect(rings.get(1)).toMatchObject({ out: [], domid: 1 });
  expect(rings.get(1)!.watches.size + rings.get(1)!.transactions.size).toBe(0);
  expect(daemon.book.domains.of(1)).toMatchObject({ watches: 0, outstanding: 0 });
  expect(ask(tools, abi.XS_INTRODUCE, '4\x001\x000\0')).toEqual(['ERROR EINVAL|']);
  expect(ask(tools, abi.XS_INTRODUCE, '4\x001\0')).toEqual(['ERROR EINVAL|']);
});

test('a guest is not heard while 20 of its requests, or what they caused, have not been taken', () => {
  const [one, two] = [rings.get(1)!, rings.get(2)!];
  for (let i = 0; i < 20; i++) {
    expect(daemon.mayAsk(one)).toBe(true);
    put(one, abi.XS_READ, 'data\0');
  }
  expect(daemon.mayAsk(one)).toBe(false);
  taken(one);
  expect(daemon.mayAsk(one)).toBe(true);
  // Domain 2 watches and takes nothing: domain 1 waits for it, for 20 seconds.
  ask(tools, abi.XS_SET_PERMS, '/local/domain/1/data\0n1\0r2\0');
  ask(2, abi.XS_WATCH, '/local/domain/1/data\0t\0');
  for (let i = 0; i < 20; i++) ask(1, abi.XS_WRITE, `data/${i}\0`);
  expect(daemon.mayAsk(one)).toBe(false);
  expect(two.out).toHaveLength(20);
  daemon.take(two);
  expect(daemon.mayAsk(one)).toBe(true);
  expect(ask(1, abi.XS_WRITE, 'data/20\0')).toEqual(['OK|']);
  expect(daemon.mayAsk(one)).toBe(false);
  let woken = 0;
  daemon.setListener(one, () => woken++);
  pass(21e9);
  expect(two.out).toEqual([]);
  expect([daemon.mayAsk(one), woken]).toEqual([true, 1]);
});

test('an event that waits already is not sent again, and dom0 waits for nobody', () => {
  ask(1, abi.XS_WATCH, 'data\0t\0');
  for (let i = 0; i < 100; i++) dom0.write('/local/domain/1/data', String(i));
  expect(rings.get(1)!.out).toHaveLength(1);
  for (let i = 0; i < 100; i++) dom0.write(`/local/domain/1/data/${i}`, '');
  expect(rings.get(1)!.out).toHaveLength(101);
  pass(21e9);
  expect(rings.get(1)!.out).toHaveLength(0);
});

test('a guest that leaves events lying loses those that would not fit its memory quota', () => {
  const one = rings.get(1)!;
  ask(tools, abi.XS_CONTROL, 'quota\0set\0memory\x004000\0');
  const lines: string[] = [];
  daemon.log = (line) => lines.push(line);
  ask(tools, abi.XS_CONTROL, 'quota-soft\0set\0memory\x002000\0');
  ask(1, abi.XS_WATCH, '/local/domain/1\0t\0');
  for (let i = 0; i < 500; i++) dom0.write(`/local/domain/1/${i}`, '');
  expect(daemon.book.domains.of(1).memory).toBeLessThan(4000);
  expect(one.out.length).toBeLessThan(150);
  expect(lines).toEqual(['Domain 1 exceeds soft memory quota', 'Domain 1 exceeds hard memory quota, Xenstore interface to domain stalled']);
});

test('CONTROL answers as the tools expect, to dom0 alone', () => {
  const lines: string[] = [];
  daemon.log = (line) => lines.push(line);
  expect(ask(1, abi.XS_CONTROL, 'help\0')).toEqual(['ERROR EACCES|']);
  expect(ask(tools, abi.XS_CONTROL, 'help\0')[0]).toContain('quota\t[set <name> <val>|<domid>]\n');
  expect(ask(tools, abi.XS_CONTROL, 'print\0hello\0')).toEqual(['OK|']);
  expect(ask(tools, abi.XS_CONTROL, 'check\0')).toEqual(['OK|']);
  expect(lines).toEqual(['hello', 'Checking store ...', 'Checking store complete.']);
  ask(tools, abi.XS_CONTROL, 'log\0on\0');
  ask(1, abi.XS_READ, 'data\0');
  ask(tools, abi.XS_CONTROL, 'log\0off\0');
  expect(lines).toContain('IN 1 READ (data )');
  expect(ask(tools, abi.XS_CONTROL, 'quota\x001\0')[0]).toMatch(/^Domain 1:\nnodes {11}: {8}1\nwatches {9}: {8}0\n/);
  expect(ask(tools, abi.XS_CONTROL, 'quota\x0099\0')).toEqual(['ERROR ENOENT|']);
  expect(ask(tools, abi.XS_CONTROL, 'quota\0set\0watches\x001\0')).toEqual(['OK|']);
  for (const n of [0, 1]) expect(ask(1, abi.XS_WATCH, `data\0${n}\0`)).toHaveLength(2);
  expect(ask(1, abi.XS_WATCH, 'data\x002\0')).toEqual(['ERROR E2BIG|']);
});

test('requests and events are counted, and can be followed', () => {
  const followed: string[] = [];
  daemon.trace = (domid, name, request, reply) => followed.push(`${domid} ${name} ${show(request)} -> ${show(reply)}`);
  daemon.traceEvent = (domid, event) => followed.push(`${domid} ${show(event)}`);
  counted = 0;
  ask(1, abi.XS_WATCH, 'data\0t\0');
  ask(1, abi.XS_WRITE, 'data/x\0v');
  expect(counted).toBe(4);
  expect(followed).toEqual(['1 EVENT data|t|', '1 WATCH data|t| -> OK|', '1 EVENT data/x|t|', '1 WRITE data/x|v -> OK|']);
});

test('a transaction sees the store as it was when it first looked, and does not see what others then do', () => {
  ask(1, abi.XS_WRITE, 'data/n\x001');
  const t = Number.parseInt(ask(1, abi.XS_TRANSACTION_START, '\0')[0]!, 10);
  expect(ask(1, abi.XS_READ, 'data/n\0', t)).toEqual(['1']);
  ask(1, abi.XS_WRITE, 'data/n\x002');
  expect(ask(1, abi.XS_READ, 'data/n\0', t)).toEqual(['1']);
  expect(ask(1, abi.XS_TRANSACTION_START, '\0', t)).toEqual(['ERROR EBUSY|']);
  expect(ask(1, abi.XS_TRANSACTION_END, 'T\0', t)).toEqual(['ERROR EAGAIN|']);
});

test('names that do not fit one message are read whole', () => {
  for (let i = 0; i < 600; i++) dom0.write(`/many/node-${i}`, '');
  expect(dom0.directory('/many')).toEqual(Array.from({ length: 600 }, (_, i) => `node-${i}`));
});
