// The console daemon against a guest's end of the ring.
import { xencons_interface as layout, type PageView } from '@ringworld/abi';
import { beforeEach, expect, test } from 'vitest';
import { memoryPage } from '../xenstored/testing.ts';
import { DomainConsole } from './consoled.ts';

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
