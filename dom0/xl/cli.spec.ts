// The real command, as a user meets it when something is wrong: one line that names file and cause, exit code 1, no stack trace; and a
// hello guest from command to exit.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildHello32, buildHello64 } from '@ringworld/guests';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const CLI = new URL('./ringworld.mjs', import.meta.url).pathname;
let dir: string;

const file = (name: string, content: string | Uint8Array): string => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};

function ringworld(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8',
    cwd: dir,
    input: '',
    timeout: 100_000,
  });
  return { status, stdout, stderr };
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ringworld-cli-'));
  file('hello64', buildHello64());
  file('hello32', buildHello32());
  file('text', 'this is no kernel\n'.repeat(100));
  file('hello.cfg', 'name = "hello"\nkernel = "hello64"\nmemory = 16\n');
});
afterAll(() => rmSync(dir, { recursive: true }));

describe('a mistake is answered by one line and exit code 1', () => {
  test.each([
    [['create', '-F', 'none.cfg'], 'ringworld: none.cfg: cannot read the configuration: no such file\n'],
    [['create', '-F', '--kernel', 'none'], 'ringworld: none: cannot read the kernel: no such file\n'],
    [['create', '-F', 'hello.cfg', 'ramdisk="none"'], 'ringworld: none: cannot read the ramdisk: no such file\n'],
    [['create', '-F', '.'], 'ringworld: .: cannot read the configuration: is a directory\n'],
    [['create', '-F', 'text'], "ringworld: text:1: near `is': expected `=' or `+='\n"],
    [['create', '-F', '--kernel', 'text'], 'ringworld: text: not a kernel: neither an ELF image nor a Linux bzImage\n'],
    [['create', '-F', 'hello.cfg', 'memory=zero'], "ringworld: argument 'memory=zero': memory is not a valid number: `zero'\n"],
    [['create', 'hello.cfg'], /^ringworld: create: give -F .*\n$/],
    [['create', '-c', '--frob', 'hello.cfg'], /^ringworld: create: Unknown option '--frob'.*\n$/],
    [['create', '-c', 'hello.cfg', 'hello.cfg'], 'ringworld: create: two domains are named "hello"\n'],
    [['launch'], "ringworld: unknown command 'launch'; 'ringworld help' lists what there is\n"],
    [['list'], /^ringworld: 'list' needs a machine that keeps running.*\n$/],
  ])('ringworld %j', (args, message) => {
    const { status, stdout, stderr } = ringworld(...args);
    if (typeof message === 'string') expect(stderr).toBe(message);
    else expect(stderr).toMatch(message);
    expect([status, stdout]).toEqual([1, '']);
  });

  test('too little memory', () => {
    const { status, stderr } = ringworld('create', '-F', 'hello.cfg', 'memory=1');
    expect(stderr).toMatch(/^ringworld: hello\.cfg: memory: .*\n$/);
    expect(status).toBe(1);
  });

  test('more memory than the machine can have', () => {
    const { status, stderr } = ringworld('create', '-F', 'hello.cfg', 'memory=8192');
    expect(stderr).toMatch(/^ringworld: the domains ask for 8192 MiB.*\n$/);
    expect(status).toBe(1);
  });
});

test('--version and help go to standard output', () => {
  expect(ringworld('--version')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^ringworld \d+\.\d+\.\d+\n$/) });
  expect(ringworld('help')).toMatchObject({ status: 0, stdout: expect.stringContaining('create [OPTIONS] FILE.cfg') });
});

test('a hello guest runs from its file, an unknown setting is named, and two runs take the same virtual time', () => {
  const first = ringworld('create', '-F', '--json', 'hello.cfg', 'frobnicate=1');
  expect(first.stderr).toContain("ringworld: warning: argument 'frobnicate=1': unknown setting `frobnicate' ignored\n");
  expect(first.stderr).toContain('hello from pv64');
  expect(first.status).toBe(0);
  const report = JSON.parse(first.stdout) as Record<string, unknown>;
  expect(report).toMatchObject({ name: 'hello', domid: 1, exitReason: 'poweroff', shutdownCode: 0 });
  const second = JSON.parse(ringworld('create', '-F', '--json', '-q', 'hello.cfg').stdout) as Record<string, unknown>;
  expect(second.virtualCycles).toBe(report.virtualCycles);
  expect(second.hypercalls).toEqual(report.hypercalls);
});

test('two domains run side by side, their lines marked', () => {
  const { status, stdout } = ringworld('create', '-F', 'hello.cfg', file('b.cfg', 'name="pae"\nkernel="hello32"\nmemory=16'));
  expect(status).toBe(0);
  expect(stdout).toContain('(hello) hello from pv64');
  expect(stdout).toContain('(pae) hello from pv32pae');
});
