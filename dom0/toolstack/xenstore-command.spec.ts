// `xenstore` by itself; what Debian's tools print for the same is compared in tests/xenstore-command.long.spec.ts.
import { beforeEach, expect, test } from 'vitest';
import { Xenstored, XsClient } from '../xenstored/index.ts';
import { type XenstoreOutcome, xenstoreCommand } from './xenstore-command.ts';
import { sanitise, unsanitise } from './xenstore-text.ts';

let client: XsClient;
let out: string;
let err: string[];
let ended: number | null;

beforeEach(() => {
  client = new XsClient(new Xenstored({ open: () => {}, close: () => {} }));
  out = '';
  err = [];
  ended = null;
});

const start = (line: string, columns: number | null = null): XenstoreOutcome =>
  xenstoreCommand(client, line.split(' '), {
    out: (bytes) => {
      out += bytes;
    },
    err: (text) => void err.push(text),
    columns,
    ended: (code) => {
      ended = code;
    },
  });

/** Exit code and standard output. */
function run(line: string, columns: number | null = null): [number, string] {
  out = '';
  const outcome = start(line, columns);
  if (!('code' in outcome)) throw new Error('it goes on');
  return [outcome.code, out];
}

test('values are shown and taken with escapes, by which any bytes can be given', () => {
  const all = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join('');
  expect(unsanitise(sanitise(all))).toBe(all);
  expect(sanitise('a\tb\\\x01\x1b')).toBe('a\\tb\\\\\\001\\x1b');
  run('write /x a\\tb\\x00c');
  expect(client.readBytes('/x')).toBe('a\tb\0c');
  expect(run('read /x')).toEqual([0, 'a\\tb\\000c\n']);
  expect(run('read -R /x')).toEqual([0, 'a\tb\0c']);
});

test('ls cuts to the width of the terminal, -f does not', () => {
  run(`write /x/${'n'.repeat(20)} ${'v'.repeat(40)}`);
  expect(run('ls /x', 42)).toEqual([0, `${'n'.repeat(20)} = "${'v'.repeat(12)}\\..."\n`]);
  expect(run('ls -f /x', 42)).toEqual([0, `/x/${'n'.repeat(20)} = "${'v'.repeat(40)}"\n`]);
  expect(run('ls -p /x', 42)[1]).toMatch(/"\.\.\."|\\\.\.\." {2}\(n0\)\n$/);
});

test('what is done to several keys is done to all or to none', () => {
  expect(run('write /a 1 /b/ 2')).toEqual([1, '']);
  expect(client.read('/a')).toBeNull();
  run('write /a 1 /b 2');
  expect(run('rm /a /none/none')).toEqual([1, '']);
  expect(client.read('/a')).toBe('1');
  expect(run('exists /a /c')).toEqual([1, '']);
  expect(err).toEqual(['xenstore: could not write path /b/', 'xenstore: could not remove path /none/none']);
});

test('watch tells of each change until it is stopped, or so many', () => {
  const outcome = start('watch /w');
  client.write('/w/x', '1');
  client.write('/other', '1');
  expect(out).toBe('/w\n/w/x\n');
  if ('stop' in outcome) outcome.stop();
  client.write('/w/y', '1');
  expect([out, ended]).toEqual(['/w\n/w/x\n', null]);
  start('watch -n 2 /w');
  client.write('/w/z', '1');
  client.write('/w/z', '2');
  expect([out, ended]).toEqual(['/w\n/w/x\n/w\n/w/z\n', 0]);
});
