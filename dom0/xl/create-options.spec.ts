// The arguments of `ringworld create`.
import { expect, test } from 'vitest';
import { parseCreateArguments, readGuests } from './create-options.ts';

test('options, files and overrides are told apart', () => {
  const o = parseCreateArguments(['-F', '--timeout', '2.5', 'a.cfg', 'memory=256', '-c', 'dir=x/b.cfg', './c=d.cfg', '--cpus=2']);
  expect(o).toMatchObject({
    foreground: true,
    console: true,
    timeoutSeconds: 2.5,
    cpus: 2,
    configFiles: ['a.cfg', './c=d.cfg'],
    overrides: ['memory=256', 'dir=x/b.cfg'],
  });
});

test.each([
  [['--frob'], /create: Unknown option '--frob'/],
  [['--timeout', 'soon'], /create: --timeout soon: not a usable number/],
  [['--timeout', '0'], /not a usable number/],
  [['--cpus', '1.5'], /not a usable number/],
  [['--engine', 'turbo'], /^create: --engine turbo: there are interp, jit, both$/],
])('%j is refused', (args, message) => {
  expect(() => parseCreateArguments(args)).toThrow(message);
});

test('without a file the kernel gives the name, and settings come from options', () => {
  const kernel = new URL(import.meta.url).pathname;
  const options = parseCreateArguments(['-F', '--kernel', kernel, '--memory', '64', '--cmdline', 'a=b', 'vcpus=2']);
  const [guest] = readGuests(options, () => {});
  expect(guest!.config).toMatchObject({ name: 'create-options.spec.ts', memoryMiB: 64, vcpus: 2, cmdline: 'a=b' });
  expect(guest!.files.kernel.bytes.length).toBeGreaterThan(100);
});

test('no domain at all is named as the trouble', () => {
  expect(() => readGuests(parseCreateArguments(['-F']), () => {})).toThrow('which domain?');
});
