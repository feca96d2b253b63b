// The real command, as a user meets it when something is wrong: one line that names file and cause, exit code 1, no stack trace; and a
// hello guest from command to exit.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildHello32, buildHello64 } from '@ringworld/guests';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tinyElf } from '../toolstack/testing/tiny-elf.ts';

/** A 64-bit kernel of these instructions, its hypercall page right behind them. */
function tinyKernel(code: readonly number[]): Uint8Array {
  const data = new Uint8Array(8192);
  data.set(code);
  const notes = { XEN_VERSION: 'xen-3.0', GUEST_OS: 'test', LOADER: 'generic', VIRT_BASE: BASE, ENTRY: AT, HYPERCALL_PAGE: AT + 4096 };
  return tinyElf({ bits: 64, segments: [{ paddr: 0x100000, vaddr: AT, data }], notes });
}
const BASE = -0x80000000;
const AT = -0x7ff00000;
const word = (n: number) => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >>> 24) & 0xff];
/** mov edi, cmd; lea rsi, [rip + 5]; call sched_op; and what rsi points to. */
const schedOp = (cmd: number, argument: number) => [
  ...[0xbf, ...word(cmd), 0x48, 0x8d, 0x35, ...word(5)],
  ...[0xe8, ...word(4096 + 29 * 32 - 17), ...word(argument)],
];
const SCHEDOP_block = 1;
const SCHEDOP_shutdown = 2;

const CLI = new URL('./ringworld.mjs', import.meta.url).pathname;
let dir: string;

const file = (name: string, content: string | Uint8Array): string => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function ringworld(...args: string[]): Promise<Ended> {
  return new Promise((done) => {
    const child = execFile(
      process.execPath,
      [CLI, ...args],
      { cwd: dir, timeout: 100_000, env: { ...process.env, RINGWORLD_SOCKET: join(dir, 'none') } },
      (_, stdout, stderr) => {
        done({ status: child.exitCode, stdout, stderr });
      },
    );
    child.stdin?.end();
  });
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ringworld-cli-'));
  file('hello64', buildHello64());
  file('hello32', buildHello32());
  file('poweroff', tinyKernel(schedOp(SCHEDOP_shutdown, 0)));
  file('reboot', tinyKernel(schedOp(SCHEDOP_shutdown, 1)));
  file('crash', tinyKernel(schedOp(SCHEDOP_shutdown, 3)));
  file('wild', tinyKernel([0x0f, 0x0b]));
  file('block', tinyKernel(schedOp(SCHEDOP_block, 0)));
  file('spin', tinyKernel([0xeb, 0xfe]));
  file('text', 'this is no kernel\n'.repeat(100));
  file('hello.cfg', 'name = "hello"\nkernel = "hello64"\nmemory = 16\n');
});
afterAll(() => rmSync(dir, { recursive: true }));

describe.concurrent('a mistake is answered by one line and exit code 1', () => {
  test.each([
    [['create', '-F', 'none.cfg'], 'ringworld: none.cfg: cannot read the configuration: no such file\n'],
    [['create', '-F', '--kernel', 'none'], 'ringworld: none: cannot read the kernel: no such file\n'],
    [['create', '-F', 'hello.cfg', 'ramdisk="none"'], 'ringworld: none: cannot read the ramdisk: no such file\n'],
    [['create', '-F', '.'], 'ringworld: .: cannot read the configuration: is a directory\n'],
    [['create', '-F', 'text'], "ringworld: text:1: near `is': expected `=' or `+='\n"],
    [['create', '-F', '--kernel', 'text'], 'ringworld: text: not a kernel: neither an ELF image nor a Linux bzImage\n'],
    [['create', '-F', 'hello.cfg', 'memory=zero'], "ringworld: argument 'memory=zero': memory is not a valid number: `zero'\n"],
    [['create', 'hello.cfg'], /^ringworld: create: give -F .* no host is running at .*\n$/],
    [['create', '-c', '--frob', 'hello.cfg'], /^ringworld: create: Unknown option '--frob'.*\n$/],
    [['create', '-c', 'hello.cfg', 'hello.cfg'], 'ringworld: create: two domains are named "hello"\n'],
    [['launch'], "ringworld: unknown command 'launch'; 'ringworld help' lists what there is\n"],
    [['list'], /^ringworld: no host is running at .*: 'ringworld host' starts one, .*\n$/],
  ])('ringworld %j', async (args, message) => {
    const { status, stdout, stderr } = await ringworld(...args);
    if (typeof message === 'string') expect(stderr).toBe(message);
    else expect(stderr).toMatch(message);
    expect([status, stdout]).toEqual([1, '']);
  });

  test('too little memory', async () => {
    const { status, stderr } = await ringworld('create', '-F', 'hello.cfg', 'memory=1');
    expect(stderr).toMatch(/^ringworld: hello\.cfg: memory: .*\n$/);
    expect(status).toBe(1);
  });

  test('more memory than the machine can have', async () => {
    const { status, stderr } = await ringworld('create', '-F', 'hello.cfg', 'memory=8192');
    expect(stderr).toMatch(/^ringworld: the domains ask for 8192 MiB.*\n$/);
    expect(status).toBe(1);
  });
});

test('--version and help go to standard output', async () => {
  expect(await ringworld('--version')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^ringworld \d+\.\d+\.\d+\n$/) });
  expect(await ringworld('help')).toMatchObject({ status: 0, stdout: expect.stringContaining('create [OPTIONS] FILE.cfg') });
});

test('a hello guest runs from its file, an unknown setting is named, and two runs take the same virtual time', async () => {
  const first = await ringworld('create', '-F', '--json', 'hello.cfg', 'frobnicate=1');
  expect(first.stderr).toContain("ringworld: warning: argument 'frobnicate=1': unknown setting `frobnicate' ignored\n");
  expect(first.stderr).toContain('hello from pv64');
  expect(first.status).toBe(0);
  const report = JSON.parse(first.stdout) as Record<string, unknown>;
  expect(report).toMatchObject({ name: 'hello', domid: 1, exitReason: 'poweroff', shutdownCode: 0 });
  const second = JSON.parse((await ringworld('create', '-F', '--json', '-q', 'hello.cfg')).stdout) as Record<string, unknown>;
  expect(second.virtualCycles).toBe(report.virtualCycles);
  expect(second.hypercalls).toEqual(report.hypercalls);
});

test('two domains run side by side, their lines marked', async () => {
  const { status, stdout } = await ringworld('create', '-F', 'hello.cfg', file('b.cfg', 'name="pae"\nkernel="hello32"\nmemory=16'));
  expect(status).toBe(0);
  expect(stdout).toContain('(hello) hello from pv64');
  expect(stdout).toContain('(pae) hello from pv32pae');
});

describe.concurrent('the exit code says how the domain ended', () => {
  test.each([
    ['poweroff', [], 0, ''],
    ['reboot', ['on_reboot="destroy"'], 4, 'ringworld: reboot (domain 1) rebooted: on_reboot ends it\n'],
    ['crash', [], 3, 'ringworld: crash (domain 1) crashed: no reason was given\n'],
    ['wild', [], 3, /^ringworld: wild \(domain 1\) crashed: .+\n$/],
    ['spin', ['--timeout', '1'], 5, 'ringworld: spin (domain 1) did not end in time\n'],
    ['block', [], 6, /^ringworld: block \(domain 1\) waits for something that cannot come/],
  ])('%s', async (kernel, args, code, message) => {
    const { status, stdout, stderr } = await ringworld('create', '-F', '--kernel', kernel, 'memory=16', ...args);
    if (typeof message === 'string') expect(stderr).toBe(message);
    else expect(stderr).toMatch(message);
    expect([status, stdout]).toEqual([code, '']);
  });

  test('a domain that reboots is started again, and again', async () => {
    const { status, stderr, stdout } = await ringworld('create', '-F', '--json', '--kernel', 'reboot', 'memory=16', '--timeout', '5');
    expect(stderr).toContain('ringworld: reboot: restarted as domain 2\nringworld: reboot: restarted as domain 3\n');
    expect(status).toBe(5);
    expect((JSON.parse(stdout) as { restarts: number }).restarts).toBeGreaterThan(1);
  });

  test('on_crash=restart restarts after a crash', async () => {
    const { stderr } = await ringworld('create', '-F', '--kernel', 'wild', 'memory=16', 'on_crash="restart"', '--timeout', '5');
    expect(stderr).toMatch(/wild \(domain 1\) crashed: .*\nringworld: wild: restarted as domain 2\n/);
  });
});
