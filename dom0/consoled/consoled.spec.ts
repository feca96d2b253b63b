// The console daemon against a guest's end of the ring.
import { xencons_interface as layout, type PageView } from '@ringworld/abi';
import { beforeEach, expect, test } from 'vitest';
import { memoryPage } from '../xenstored/testing/ring.ts';
import { logFileName } from './consoled.ts';
import { DomainConsole } from './domain-console.ts';

type Field = Parameters<typeof layout.offset>[0];
const at = (f: Field) => layout.offset(f, 'x86_64');
let page: PageView;
let written: string;
let room: number;
let notified: number;
let console: DomainConsole;

beforeEach(() => {
  page = memoryPage();
  written = '';
  room = 1 << 20;
  notified = 0;
  console = new DomainConsole(
    { page, notify: () => notified++, close: () => {} },
    {
      room: () => room,
      write: (bytes) => {
        written += new TextDecoder().decode(bytes);
        room -= bytes.length;
      },
    },
  );
});

/** What the guest writes; returns what its ring had no room for. */
function guestWrites(text: string): string {
  let prod = page.u32(at('out_prod'));
  let n = 0;
  for (; n < text.length && prod - page.u32(at('out_cons')) < 2048; n++) page.setU8(at('out') + (prod++ & 2047), text.charCodeAt(n));
  page.setU32(at('out_prod'), prod >>> 0);
  return text.slice(n);
}

function guestReads(limit = 4096): string {
  let text = '';
  let cons = page.u32(at('in_cons'));
  for (; text.length < limit && cons !== page.u32(at('in_prod')); cons++) text += String.fromCharCode(page.u8(at('in') + (cons & 1023)));
  page.setU32(at('in_cons'), cons >>> 0);
  return text;
}

test('output arrives whole and in order, across the end of the ring', () => {
  const text = Array.from({ length: 1500 }, (_, i) => `line ${i}\n`).join('');
  for (let rest = text; rest !== ''; console.serve()) rest = guestWrites(rest);
  expect(written).toBe(text);
  expect(notified).toBeGreaterThan(0);
});

test('while the sink has no room the output stays in the ring, and the guest is not told of room', () => {
  room = 10;
  guestWrites('0123456789abcdef');
  console.serve();
  expect(written).toBe('0123456789');
  notified = 0;
  console.serve();
  expect([written, notified]).toEqual(['0123456789', 0]);
  room = 100;
  console.serve();
  expect([written, notified]).toEqual(['0123456789abcdef', 1]);
});

test('typed bytes beyond the ring wait until the guest has read', () => {
  const typed = 'k'.repeat(1000) + 'l'.repeat(1500);
  console.type(new TextEncoder().encode(typed));
  expect(console.backlog).toBe(2500 - 1024);
  let read = '';
  for (let i = 0; i < 10; i++) {
    read += guestReads(600);
    console.serve();
  }
  expect(read).toBe(typed);
  expect(console.backlog).toBe(0);
});

test('an impossible index loses what it claims and nothing else', () => {
  page.setU32(at('out_prod'), 5000);
  console.serve();
  expect(written).toBe('');
  guestWrites('fine');
  console.serve();
  expect(written).toBe('fine');
  page.setU32(at('in_cons'), 77);
  console.type(Uint8Array.of(65));
  expect(console.backlog).toBe(1);
});

/** A viewer with as much room as it is given. */
function viewer(room = Number.POSITIVE_INFINITY) {
  const seen = { text: '', room, ended: false };
  return {
    seen,
    sink: {
      room: () => seen.room,
      write: (bytes: Uint8Array) => {
        seen.text += new TextDecoder().decode(bytes);
        seen.room -= bytes.length;
      },
      end: () => {
        seen.ended = true;
      },
    },
  };
}

/** A console without a sink of its own, with a small bound. */
function free(limit: number): DomainConsole {
  return new DomainConsole({ page, notify: () => notified++, close: () => {} }, null, { limit });
}

test('viewers come and go; each gets what is remembered first, then all that follows', () => {
  const c = free(100);
  guestWrites('early ');
  c.serve();
  const [a, b] = [viewer(), viewer()];
  const leave = c.subscribe(a.sink);
  c.subscribe(b.sink, { replay: false });
  guestWrites('both ');
  c.serve();
  leave();
  guestWrites('late');
  c.serve();
  expect([a.seen.text, b.seen.text]).toEqual(['early both ', 'both late']);
  expect(new TextDecoder().decode(c.scrollback())).toBe('early both late');
});

test('a viewer that does not read holds nobody up, and loses the oldest beyond the limit', () => {
  const c = free(100);
  const [slow, quick] = [viewer(0), viewer()];
  c.subscribe(slow.sink);
  c.subscribe(quick.sink);
  const text = Array.from({ length: 3000 }, (_, i) => String.fromCharCode(97 + (i % 26))).join('');
  for (let rest = text; rest !== ''; c.serve()) rest = guestWrites(rest);
  expect(quick.seen.text).toBe(text);
  expect(c.scrollback().length).toBe(100);
  slow.seen.room = 1000;
  c.serve();
  expect(slow.seen.text).toBe(text.slice(-100));
});

test('typed input is bounded too', () => {
  const c = free(100);
  expect(c.type(new Uint8Array(1024))).toBe(100);
  expect(c.backlog).toBe(0);
  for (let i = 0; i < 20; i++) c.type(new Uint8Array(100));
  expect(c.backlog).toBe(100);
  expect(c.type(new Uint8Array(1))).toBe(0);
});

test('a frontend that comes back finds its viewers; closing ends them', () => {
  const c = free(100);
  const v = viewer();
  c.subscribe(v.sink);
  guestWrites('one ');
  c.disconnect();
  c.type(Uint8Array.of(65));
  page = memoryPage();
  c.connect({ page, notify: () => notified++, close: () => {} });
  guestWrites('two');
  c.serve();
  expect(v.seen.text).toBe('one two');
  expect(guestReads()).toBe('A');
  expect(v.seen.ended).toBe(false);
  c.close();
  expect(v.seen.ended).toBe(true);
  expect(c.isConnected).toBe(false);
});

test('the log gets everything, however slow the viewers are, and is named after the domain', () => {
  const named = (domainName: string, devid = 0) => logFileName(new DomainConsole(null, null, { domainName, devid }));
  expect([named('web'), named('web', 2), named('../etc/x y'), named('')]).toEqual([
    'guest-web.log',
    'guest-web-2.log',
    'guest-.._etc_x_y.log',
    'guest-domain-0.log',
  ]);
  const c = free(100);
  const log = viewer(0);
  c.logTo(log.sink);
  guestWrites('x'.repeat(500));
  c.serve();
  expect(log.seen.text).toBe('x'.repeat(500));
});
