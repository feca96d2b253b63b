// What becomes of console output on its way to the user.
import { expect, test } from 'vitest';
import { ConsoleOutput } from './output.ts';

function sink(prefix = '') {
  let text = '';
  const output = new ConsoleOutput({ room: () => 1000, write: (bytes) => (text += new TextDecoder().decode(bytes)) }, prefix);
  return { output, put: (s: string) => output.write(new TextEncoder().encode(s)), text: () => text };
}

test('a single domain is passed through byte by byte', () => {
  const s = sink();
  s.put('~ # ');
  expect(s.text()).toBe('~ # ');
  expect(s.output.isMidLine).toBe(true);
});

test('of several domains each line bears the name, whole lines only', () => {
  const s = sink('(a) ');
  s.put('one\ntw');
  expect(s.text()).toBe('(a) one\n');
  s.put('o\n~ # ');
  s.output.finish();
  expect(s.text()).toBe('(a) one\n(a) two\n(a) ~ # \n');
});

test('the last words of a domain are its panic, else its last line', () => {
  const s = sink();
  s.put('[    1.5] fine\r\n\x1b[31m[   12.000001] something\x1b[0m\r\n');
  expect(s.output.lastWords()).toBe('something');
  s.put(
    '[   13.1] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n[   13.2] CPU: 0 PID: 1\r\n[   13.3]  panic+0x118/0x2f4\r\n---[ end Kernel panic ]---\r\n',
  );
  expect(s.output.lastWords()).toBe('Kernel panic - not syncing: VFS: Unable to mount root fs');
  s.output.restart();
  expect(s.output.lastWords()).toBeNull();
});
