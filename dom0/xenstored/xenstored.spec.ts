// The protocol as a guest sees it: requests of one connection and their replies.
import * as abi from '@ringworld/abi';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { auditStore } from './audit.ts';
import { XsClient } from './client.ts';
import type { Connection, Message } from './connection.ts';
import { Xenstored } from './xenstored.ts';

let daemon: Xenstored;
let dom0: XsClient;
let guest: Connection;
/** A tool of dom0's. */
let tools: Connection;

beforeEach(() => {
  daemon = new Xenstored({ open: () => {}, close: () => {} });
  dom0 = new XsClient(daemon);
  guest = daemon.connect(1, () => {});
  tools = daemon.connect(0, () => {});
  dom0.mkdir('/local/domain/1');
  dom0.setPerms('/local/domain/1', ['n0', 'r1']);
  dom0.write('/local/domain/1/name', 'guest');
  dom0.mkdir('/local/domain/1/data');
  dom0.setPerms('/local/domain/1/data', ['n1']);
});

afterEach(() => expect(auditStore(daemon)).toEqual([]));

const NAMES = Object.fromEntries(
  Object.entries(abi)
    .filter(([name]) => /^XS_[A-Z_]+$/.test(name) && !/^XS_WATCH_(PATH|TOKEN)$/.test(name))
    .map(([name, type]) => [type, name.slice(3)]),
);

/** Everything that comes back, as "TYPE payload" with NULs shown as |. */
function ask(type: number, payload: string, txId = 0, from = guest): string[] {
  daemon.handle(from, { type, reqId: 7, txId, payload });
  return taken(from).map((m) => `${NAMES[m.type]} ${m.payload.replaceAll('\0', '|')}`);
}

const asDom0 = (type: number, payload: string, txId = 0): string[] => ask(type, payload, txId, tools);

function taken(from: Connection): Message[] {
  const messages: Message[] = [];
  while (daemon.first(from) !== undefined) messages.push(daemon.take(from));
  return messages;
}

test('nodes are written with their parents, read, listed and removed', () => {
  expect(ask(abi.XS_WRITE, 'data/a/b\0value')).toEqual(['WRITE OK|']);
  expect(ask(abi.XS_READ, '/local/domain/1/data/a/b\0')).toEqual(['READ value']);
  expect(ask(abi.XS_READ, 'data/a\0')).toEqual(['READ ']);
  expect(ask(abi.XS_MKDIR, 'data/c\0')).toEqual(['MKDIR OK|']);
  expect(ask(abi.XS_DIRECTORY, 'data\0')).toEqual(['DIRECTORY a|c|']);
  expect(ask(abi.XS_RM, 'data/a\0')).toEqual(['RM OK|']);
  expect(ask(abi.XS_READ, 'data/a/b\0')).toEqual(['ERROR ENOENT|']);
  expect(ask(abi.XS_RM, 'data/a\0')).toEqual(['RM OK|']);
  expect(ask(abi.XS_RM, 'data/x/y\0')).toEqual(['ERROR ENOENT|']);
  expect(ask(abi.XS_DIRECTORY, 'data\0')).toEqual(['DIRECTORY c|']);
});

test('a value may hold any bytes', () => {
  ask(abi.XS_WRITE, 'data/bin\0\x00\xff\x00');
  expect(ask(abi.XS_READ, 'data/bin\0')).toEqual(['READ |\xff|']);
});

test.each([
  [abi.XS_READ, 'data'],
  [abi.XS_READ, 'data\0x\0'],
  [abi.XS_READ, '\0'],
  [abi.XS_READ, '/local//domain\0'],
  [abi.XS_READ, '/local/\0'],
  [abi.XS_READ, 'da ta\0'],
  [abi.XS_READ, '@releaseDomain\0'],
  [abi.XS_WRITE, 'data/x'],
  [abi.XS_RM, `${'x'.repeat(2049)}\0`],
  [abi.XS_SET_PERMS, 'data\0'],
  [abi.XS_SET_PERMS, 'data\0q1\0'],
  [abi.XS_TRANSACTION_END, 'X\0'],
  [abi.XS_WATCH, 'data\0'],
])('request %d with %.20j is refused as EINVAL', (type, payload) => {
  expect(ask(type, payload)).toEqual(['ERROR EINVAL|']);
});

test('what a guest may not read, write or know of answers EACCES', () => {
  dom0.write('/secret/x', '1');
  expect(ask(abi.XS_READ, '/secret/x\0')).toEqual(['ERROR EACCES|']);
  expect(ask(abi.XS_READ, '/secret/none\0')).toEqual(['ERROR EACCES|']);
  expect(ask(abi.XS_READ, 'none\0')).toEqual(['ERROR ENOENT|']);
  expect(ask(abi.XS_WRITE, 'name\0other')).toEqual(['ERROR EACCES|']);
  expect(ask(abi.XS_WRITE, 'new\0other')).toEqual(['ERROR EACCES|']);
  expect(ask(abi.XS_RM, '/local/domain/1\0')).toEqual(['ERROR EACCES|']);
  expect(ask(abi.XS_INTRODUCE, `1\0${2}\0${3}\0`)).toEqual(['ERROR EACCES|']);
  expect(ask(abi.XS_CONTROL, 'help\0')).toEqual(['ERROR EACCES|']);
  expect(ask(99, '')).toEqual(['ERROR ENOSYS|']);
});

test('permissions are inherited, shown, changed by the owner only; an owner stays', () => {
  ask(abi.XS_WRITE, 'data/x\0');
  expect(ask(abi.XS_GET_PERMS, 'data/x\0')).toEqual(['GET_PERMS n1|']);
  expect(ask(abi.XS_SET_PERMS, 'data/x\0n1\0r2\0b3\0')).toEqual(['SET_PERMS OK|']);
  const second = daemon.connect(2, () => {});
  expect(ask(abi.XS_READ, '/local/domain/1/data/x\0', 0, second)).toEqual(['READ ']);
  expect(ask(abi.XS_WRITE, '/local/domain/1/data/x\0v', 0, second)).toEqual(['ERROR EACCES|']);
  expect(ask(abi.XS_SET_PERMS, 'data/x\0n2\0')).toEqual(['ERROR EPERM|']);
  expect(ask(abi.XS_SET_PERMS, 'data/x\0n1\0r2\0r3\0r4\0r5\0r6\0')).toEqual(['ERROR ENOSPC|']);
  expect(ask(abi.XS_SET_PERMS, 'name\0n1\0')).toEqual(['ERROR EACCES|']);
  const third = daemon.connect(3, () => {});
  expect(ask(abi.XS_WRITE, '/local/domain/1/data/x/y\0v', 0, third)).toEqual(['WRITE OK|']);
  expect(ask(abi.XS_GET_PERMS, '/local/domain/1/data/x/y\0', 0, third)).toEqual(['GET_PERMS n3|r2|b3|']);
});

test('a watch fires at once and on changes at and below it, with the path as the watcher names things', () => {
  expect(ask(abi.XS_WATCH, 'data\0tok\0')).toEqual(['WATCH OK|', 'WATCH_EVENT data|tok|']);
  expect(ask(abi.XS_WATCH, 'data\0tok\0')).toEqual(['ERROR EEXIST|']);
  expect(ask(abi.XS_WATCH, '/local/domain/1/data/x\0abs\0')).toHaveLength(2);
  expect(ask(abi.XS_WRITE, 'data/x\0v')).toEqual(['WATCH_EVENT data/x|tok|', 'WATCH_EVENT /local/domain/1/data/x|abs|', 'WRITE OK|']);
  dom0.write('/local/domain/1/database', 'no');
  dom0.rm('/local/domain/1/data');
  // What is deepest goes first.
  expect(taken(guest).map((m) => m.payload)).toEqual(['/local/domain/1/data/x\0abs\0', 'data\0tok\0']);
  expect(ask(abi.XS_UNWATCH, 'data\0tok\0')).toEqual(['UNWATCH OK|']);
  expect(ask(abi.XS_UNWATCH, 'data\0tok\0')).toEqual(['ERROR ENOENT|']);
  ask(abi.XS_RESET_WATCHES, '\0');
  dom0.write('/local/domain/1/data/x', '2');
  expect(guest.out).toEqual([]);
});

test('a watch with a depth hears of so many levels below it', () => {
  expect(ask(abi.XS_WATCH, 'data\0self\x000\0')).toEqual(['WATCH OK|', 'WATCH_EVENT data|self|']);
  expect(ask(abi.XS_WATCH, 'data\0one\x001\0')).toHaveLength(2);
  expect(ask(abi.XS_WRITE, 'data/a\0v')).toEqual(['WATCH_EVENT data/a|one|', 'WRITE OK|']);
  expect(ask(abi.XS_WRITE, 'data/a/b\0v')).toEqual(['WRITE OK|']);
  expect(ask(abi.XS_WRITE, 'data\0v')).toEqual(['WATCH_EVENT data|self|', 'WATCH_EVENT data|one|', 'WRITE OK|']);
  for (const depth of ['', '-1', 'x', '1\x002']) expect(ask(abi.XS_WATCH, `data\0t\0${depth}\0`)).toEqual(['ERROR EINVAL|']);
});

test('nobody hears of nodes that it may not read', () => {
  ask(abi.XS_WATCH, '/secret\0t\0');
  dom0.write('/secret', 'x');
  expect(guest.out).toEqual([]);
});

test('domains that come and go are told to dom0 alone', () => {
  ask(abi.XS_WATCH, '@releaseDomain\0t\0');
  const seen: string[] = [];
  dom0.watch('@introduceDomain', (p) => seen.push(p));
  dom0.watch('@releaseDomain', (p) => seen.push(p));
  daemon.introduce(5, 3);
  expect(asDom0(abi.XS_IS_DOMAIN_INTRODUCED, '5\0')).toEqual(['IS_DOMAIN_INTRODUCED T|']);
  daemon.release(5);
  expect(asDom0(abi.XS_IS_DOMAIN_INTRODUCED, '5\0')).toEqual(['IS_DOMAIN_INTRODUCED F|']);
  expect(seen).toEqual(['@introduceDomain', '@releaseDomain', '@introduceDomain', '@releaseDomain']);
  expect(ask(abi.XS_GET_DOMAIN_PATH, '5\0')).toEqual(['GET_DOMAIN_PATH /local/domain/5|']);
  expect(ask(abi.XS_IS_DOMAIN_INTRODUCED, '5\0')).toEqual(['ERROR EACCES|']);
});

const begin = () => Number(ask(abi.XS_TRANSACTION_START, '\0')[0]!.match(/START (\d+)/)![1]);

test('a transaction is private until its end, and its watches fire then', () => {
  ask(abi.XS_WATCH, 'data\0t\0');
  const t = begin();
  expect(ask(abi.XS_WRITE, 'data/n\x001', t)).toEqual(['WRITE OK|']);
  expect(ask(abi.XS_READ, 'data/n\0', t)).toEqual(['READ 1']);
  expect(ask(abi.XS_READ, 'data/n\0')).toEqual(['ERROR ENOENT|']);
  expect(ask(abi.XS_TRANSACTION_END, 'T\0', t)).toEqual(['WATCH_EVENT data/n|t|', 'TRANSACTION_END OK|']);
  expect(ask(abi.XS_READ, 'data/n\0')).toEqual(['READ 1']);
  expect(ask(abi.XS_TRANSACTION_END, 'T\0', t)).toEqual(['ERROR ENOENT|']);
  expect(ask(abi.XS_READ, 'data/n\0', t)).toEqual(['ERROR ENOENT|']);
});

test('a transaction that read what changed meanwhile ends in EAGAIN, one that read elsewhere does not', () => {
  ask(abi.XS_WRITE, 'data/n\x001');
  const t = begin();
  const u = begin();
  ask(abi.XS_READ, 'data/n\0', t);
  ask(abi.XS_WRITE, 'data/other\0x', t);
  ask(abi.XS_READ, 'name\0', u);
  ask(abi.XS_WRITE, 'data/n\x002');
  expect(ask(abi.XS_TRANSACTION_END, 'T\0', t)).toEqual(['ERROR EAGAIN|']);
  expect(ask(abi.XS_TRANSACTION_END, 'T\0', u)).toEqual(['TRANSACTION_END OK|']);
  expect(ask(abi.XS_DIRECTORY, 'data\0')).toEqual(['DIRECTORY n|']);
});

test('an aborted transaction leaves nothing', () => {
  const t = begin();
  ask(abi.XS_RM, 'data\0', t);
  expect(ask(abi.XS_READ, 'data\0', t)).toEqual(['ERROR ENOENT|']);
  expect(ask(abi.XS_TRANSACTION_END, 'F\0', t)).toEqual(['TRANSACTION_END OK|']);
  expect(ask(abi.XS_READ, 'data\0')).toEqual(['READ ']);
});

test('a guest may own a thousand nodes, and in a transaction one less', () => {
  const base = daemon.book.domains.of(1).nodes;
  const name = (i: number) => `data/${Math.floor(i / 50)}/${i % 50}`;
  let made = base;
  for (let i = 0; made < 1000; i++) {
    made += i % 50 === 0 ? 2 : 1;
    if (made <= 1000) expect(ask(abi.XS_WRITE, `${name(i)}\0`)).toEqual(['WRITE OK|']);
  }
  expect(daemon.book.domains.of(1).nodes).toBe(1000);
  expect(ask(abi.XS_WRITE, 'data/more\0')).toEqual(['ERROR ENOSPC|']);
  expect(ask(abi.XS_WRITE, 'data/0/0\0v')).toEqual(['WRITE OK|']);
  ask(abi.XS_RM, 'data/0/0\0');
  const t = begin();
  expect(ask(abi.XS_WRITE, 'data/more\0', t)).toEqual(['WRITE OK|']);
  expect(ask(abi.XS_TRANSACTION_END, 'T\0', t)).toEqual(['ERROR ENOSPC|']);
  expect(ask(abi.XS_WRITE, 'data/more\0')).toEqual(['WRITE OK|']);
  // What dom0 writes there is not held up.
  dom0.write('/local/domain/1/data/by-dom0', '');
  expect(daemon.book.domains.of(1).nodes).toBe(1001);
});

test('a node with its name list may have so many bytes, a path so many, a transaction so many nodes', () => {
  // 24 bytes of header and 8 for its one permission count, too.
  expect(ask(abi.XS_WRITE, `data/big\0${'x'.repeat(2048 - 32)}`)).toEqual(['ERROR ENOSPC|']);
  expect(ask(abi.XS_WRITE, `data/big\0${'x'.repeat(2048 - 33)}`)).toEqual(['WRITE OK|']);
  let refused = '';
  for (let i = 0; refused === ''; i++) refused = ask(abi.XS_WRITE, `data/a-long-name-indeed-${i}\0`)[0]!.replace('WRITE OK|', '');
  expect(refused).toBe('ERROR ENOSPC|');
  const long = (n: number) => `data${'/a'.repeat(n)}\0`;
  expect(ask(abi.XS_READ, long(1022))).toEqual(['ERROR ENOENT|']);
  expect(ask(abi.XS_READ, long(1023))).toEqual(['ERROR EINVAL|']);
  const t = begin();
  let looked = '';
  for (let i = 0; looked !== 'ERROR ENOSPC|'; i++) looked = ask(abi.XS_READ, `data/none-${i}\0`, t)[0]!;
  expect(daemon.connections.get(guest.id)!.transactions.get(t)!.accessed.size).toBe(1024);
  expect(ask(abi.XS_TRANSACTION_END, 'T\0', t)).toEqual(['ERROR ENOMEM|']);
});

test('transactions and watches are counted; each quota lets one more pass, as in xenstored', () => {
  for (let i = 0; i < 11; i++) expect(begin()).toBe(i + 1);
  expect(ask(abi.XS_TRANSACTION_START, '\0')).toEqual(['ERROR ENOSPC|']);
  for (let i = 0; i < 129; i++) expect(ask(abi.XS_WATCH, `data/${i}\0t\0`)).toHaveLength(2);
  expect(ask(abi.XS_WATCH, 'data\0t\0')).toEqual(['ERROR E2BIG|']);
  ask(abi.XS_RESET_WATCHES, '\0');
  expect(begin()).toBe(12);
  expect(ask(abi.XS_WATCH, 'data\0t\0')).toHaveLength(2);
});

test('a directory too long for one reply comes in parts that name their generation', () => {
  for (let i = 0; i < 600; i++) dom0.write(`/local/domain/1/data/node-${i}`, '');
  expect(ask(abi.XS_DIRECTORY, 'data\0')).toEqual(['ERROR E2BIG|']);
  const names: string[] = [];
  for (let offset = 0; ; ) {
    daemon.handle(guest, { type: abi.XS_DIRECTORY_PART, reqId: 0, txId: 0, payload: `data\0${offset}\0` });
    const [, ...part] = taken(guest)[0]!.payload.split('\0');
    const last = part.at(-2) === '';
    const found = part.filter((p) => p !== '');
    names.push(...found);
    offset += found.join('|').length + 1;
    if (last) break;
  }
  expect(names).toEqual(Array.from({ length: 600 }, (_, i) => `node-${i}`));
});

test("dom0's client repeats a transaction that met a conflict", () => {
  let tries = 0;
  dom0.write('/n', '1');
  dom0.transaction((t) => {
    const n = Number(t.read('/n'));
    if (tries++ === 0) dom0.write('/n', '10');
    t.write('/n', String(n + 1));
  });
  expect([tries, dom0.read('/n')]).toEqual([2, '11']);
});
