// The host with a real small machine, and the commands against it through its socket: what they print, and what they end with when they
// are used wrongly.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { domid } from '@ringworld/abi';
import { buildHello64 } from '@ringworld/guests';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NO_DEVICES } from '../toolstack/device-config.ts';
import { nicDevice } from '../toolstack/device-nic.ts';
import { parseElf } from '../toolstack/elf.ts';
import { publishP2m } from '../toolstack/testing/publish-p2m.ts';
import type { DomainConfig } from '../toolstack/xlcfg.ts';
import type { Environment } from './commands/options.ts';
import { HOST_COMMANDS } from './commands/table.ts';
import { demoGuest } from './demo.ts';
import { switchOn } from './host.ts';
import { HostMachine } from './host-machine.ts';
import { connectHost, listenAsHost } from './node-host-socket.ts';
import { XlError } from './user-error.ts';

let dir: string;
let path: string;
let machine: HostMachine;
let running: Promise<void>;
let stopListening: () => void;
const notes: string[] = [];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'ringworld-host-'));
  path = join(dir, 'sub', 'host.sock');
  machine = new HostMachine(switchOn({ guestMiB: 64, cpus: 2, bootEpoch: 1_767_225_600 }), (line) => void notes.push(line));
  stopListening = await listenAsHost(path, machine, (line) => void notes.push(line));
  running = machine.run();
});
afterAll(async () => {
  machine.stop();
  await running;
  stopListening();
  rmSync(dir, { recursive: true });
});

/** A command as main() runs it. */
async function xl(name: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const said: { out: string[]; err: string[] } = { out: [], err: [] };
  const env: Environment = {
    out: (text) => void said.out.push(text),
    err: (text) => void said.err.push(text),
    connect: async () => (await connectHost(path))!,
  };
  try {
    const { run } = await HOST_COMMANDS[name]!();
    return { code: await run(args, env), out: said.out.join(''), err: said.err.join('') };
  } catch (e) {
    if (!(e instanceof Error)) throw e;
    said.err.push(`${e instanceof XlError ? '' : 'ringworld: '}${e.message}\n`);
    return { code: e instanceof XlError ? e.code : 1, out: said.out.join(''), err: said.err.join('') };
  }
}

/** A hello guest under a name; paused it stays as it was built. `settings` in place of what it has otherwise. */
async function guest(name: string, paused: boolean, settings: Partial<DomainConfig> = {}): Promise<number> {
  const made = demoGuest(name, buildHello64());
  const client = (await connectHost(path))!;
  try {
    return (await client.call('create', { guest: { ...made, config: { ...made.config, onPoweroff: 'preserve', ...settings } }, paused }))
      .domid;
  } finally {
    client.close();
  }
}

test('a domain comes, is listed in its states, and goes', async () => {
  const id = await guest('first', true);
  const row = (letters: string) => expect.stringMatching(new RegExp(`\\nfirst {36} +${id} +16 +1 {5}${letters}  +0\\.0\\n$`));
  expect((await xl('list', 'first')).out).toEqual(row('--p---'));
  expect((await xl('domid', 'first')).out).toBe(`${id}\n`);
  expect((await xl('domname', String(id))).out).toBe('first\n');
  expect(await xl('rename', 'first', 'second')).toEqual({ code: 0, out: '', err: '' });
  expect((await xl('domid', 'first')).code).toBe(1);
  expect(await xl('unpause', 'second')).toEqual({ code: 0, out: '', err: '' });
  const client = (await connectHost(path))!;
  expect(await client.call('waitForEnd', { domid: id })).toEqual({ reason: 0 });
  client.close();
  expect((await xl('list', 'second')).out).toMatch(/second .* ---s--/);
  expect(await xl('destroy', 'second')).toEqual({ code: 0, out: '', err: '' });
  expect((await xl('list')).out.split('\n').length).toBe(3);
});

test('a console shows what was said while nobody looked, to the first who looks', async () => {
  const id = await guest('talker', false);
  const client = (await connectHost(path))!;
  await client.call('waitForEnd', { domid: id });
  let text = '';
  const call = client.open('console', { domain: 'talker' }, (bytes) => {
    text += new TextDecoder().decode(bytes as Uint8Array);
  });
  for (let i = 0; i < 100 && !text.includes('hello'); i++) await new Promise((done) => setTimeout(done, 5));
  expect(text).toContain('hello from pv64');
  await xl('destroy', 'talker');
  await call.reply;
  client.close();
});

describe('cores', () => {
  /** As its kernel would have it: it says where its table of frames is. */
  function published(id: number): void {
    const { privcmd } = machine.host.toolstack;
    const { config } = machine.residents.get(id)!.guest;
    publishP2m(privcmd, { domid: domid(id), kernel: buildHello64(), memoryMiB: config.memoryMiB });
  }
  const pagesIn = (file: string) => parseElf(file, readFileSync(file)).sections.find((s) => s.name === '.xen_pages')!.data.length / 4096;

  test('dump-core writes one and leaves the domain as it is', async () => {
    const id = await guest('dumped', true);
    published(id);
    const file = join(dir, 'my.core');
    expect(await xl('dump-core', 'dumped', file)).toEqual({ code: 0, out: '', err: '' });
    expect(pagesIn(file)).toBe(16 * 256);
    expect((await xl('list', 'dumped')).out).toMatch(/ --p--- /);
    await xl('destroy', 'dumped');
  });

  test('an action coredump-... writes one, and goes on also where it cannot', async () => {
    machine.coreFolder = dir;
    for (const [name, isPublished] of [
      ['dies-1', true],
      ['dies-2', false],
    ] as const) {
      notes.length = 0;
      const id = await guest(name, true, { onPoweroff: 'coredump-destroy' });
      if (isPublished) published(id);
      const file = join(dir, `${name}.core`);
      const client = (await connectHost(path))!;
      const end = client.call('waitForEnd', { domid: id });
      await xl('unpause', name);
      expect(await end).toEqual({ reason: 0 });
      client.close();
      expect((await xl('list', name)).code).toBe(1);
      expect(notes).toEqual([
        `domain ${id} (${name}) has shut down: poweroff; action: coredump-destroy`,
        `dumping core to ${file}`,
        ...(isPublished ? [] : [`core dump failed: ${name}: the guest says that it has 0 frames`]),
      ]);
      expect(existsSync(file)).toBe(isPublished);
      if (isPublished) expect(pagesIn(file)).toBe(16 * 256);
    }
  });
});

test('top shows what the backends have counted', async () => {
  const { device } = nicDevice('bridge=xenbr0', 0, new Uint8Array(16));
  const id = await guest('busy', true, { devices: { ...NO_DEVICES, nics: [device] } });
  // Dom0 hears of a new device by a watch.
  for (let i = 0; i < 100 && !machine.host.vifs.has(`vif/${id}/0`); i++) await new Promise((done) => setTimeout(done, 5));
  Object.assign(machine.host.vifs.get(`vif/${id}/0`)!.stats, { txBytes: 3 << 10, rxBytes: 5 << 10 });
  expect((await xl('top')).out).toMatch(/^ {6}busy ----p-.* 1 +1 +3 +5 +0 +0 +0 +0 +0$/m);
  await xl('destroy', 'busy');
  expect(machine.host.vifs.size).toBe(0);
});

test('vCPUs are listed and pinned, weights kept', async () => {
  await guest('cpus', true);
  expect(await xl('vcpu-pin', 'cpus', '0', '1')).toEqual({ code: 0, out: '', err: '' });
  const list = (await xl('vcpu-list', 'cpus')).out;
  expect(list.split('\n')[0]).toBe('Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)');
  expect(list).toMatch(/^cpus {28} +\d+ +0 +0 {3}--- +0\.0 {2}1 \/ all$/m);
  expect(await xl('sched-credit', '-d', 'cpus', '-w', '512')).toMatchObject({ code: 0 });
  expect((await xl('sched-credit', '-d', 'cpus')).out).toMatch(/^cpus +\d+ {4}512 {4}0$/m);
  await xl('destroy', 'cpus');
});

test('info, dmesg, top and uptime tell of this machine', async () => {
  const { out } = await xl('info');
  expect(out).toMatch(/^nr_cpus {16}: 2$/m);
  expect(out).toMatch(/^xen_version {12}: 4\.17\.\d+$/m);
  expect((await xl('info', 'xen_scheduler')).out).toBe('credit\n');
  expect((await xl('dmesg')).out).toContain('(XEN) Brought up 2 CPUs\n');
  expect((await xl('dmesg', '-c')).out).toContain('Brought up');
  expect((await xl('dmesg')).out).toBe('');
  expect((await xl('top')).out).toMatch(/^ {2}Domain-0 -----r /m);
  expect((await xl('uptime', '-s', '0')).out).toMatch(/^ 00:00:\d\d up {2}0:00, Domain-0 \(0\)\n$/);
  expect((await xl('list', '-l')).out).toBe('[]\n');
  expect(JSON.parse((await xl('list', '--json')).out)).toEqual([expect.objectContaining({ domid: 0, name: 'Domain-0', state: 'r-----' })]);
});

describe('what cannot be is said in xl’s words', () => {
  beforeAll(async () => void (await guest('there', true)));
  afterAll(async () => void (await xl('destroy', 'there')));
  const invalid = (who: string) => `${who} is an invalid domain identifier (rc=-6)\n`;
  test.each([
    ['destroy pause unpause shutdown reboot console vcpu-list block-list network-list'.split(' '), ['foo']],
    ['rename mem-set mem-max vcpu-set sysrq trigger block-detach network-detach'.split(' '), ['foo', '1']],
    [['vcpu-pin'], ['foo', '0', '0']],
    [
      ['save', 'dump-core'],
      ['foo', '/tmp/x'],
    ],
    [['sched-credit'], ['-d', 'foo']],
    [['block-attach'], ['foo', 'x.img,raw,xvda']],
    [['destroy', 'pause', 'vcpu-list'], ['4711']],
  ])('a domain that is not there: %j %j', async (names, args) => {
    for (const name of names) {
      const who = args.find((a) => a === 'foo' || a === '4711')!;
      const { code, err } = await xl(name, ...args);
      expect([name, code]).toEqual([name, 1]);
      // block-list goes on with the next domain, and xl does not say why.
      expect(err).toBe(name === 'block-list' ? `${who} is an invalid domain identifier\n` : invalid(who));
    }
  });
  test.each([
    [['list', '4711'], "Error: Domain '4711' does not exist.\n"],
    [['list', 'foo'], invalid('foo')],
    [['domid', 'foo'], "Can't get domid of domain name 'foo', maybe this domain does not exist.\n"],
    [['domname', '4711'], "Can't get domain name of domain id '4711', maybe this domain does not exist.\n"],
    [['domname', 'foo'], 'Invalid domain id.\n\n'],
    [['destroy', '0'], /^Not destroying domain 0; use -f to force\.\n/],
    [['pause', '0'], /^ringworld: domain 0 is the machine's own/],
    [['rename', 'there', 'Domain-0'], 'ringworld: domain with name "Domain-0" already exists.\n'],
    [['shutdown'], 'You must specify -a or a domain id.\n\n'],
    [['mem-set', 'there', 'lots'], 'invalid memory size: lots\n'],
    [['mem-set', 'there', '64'], /^memory_dynamic_max must be .*\ncannot set domid \d+ dynamic max memory to : 64\n$/],
    [['mem-max', 'there', '8'], /^memory_static_max must be .*\ncannot set domid \d+ static max memory to : 8\n$/],
    [['vcpu-set', 'there', 'x'], 'Error: Invalid argument.\n'],
    [['vcpu-set', 'there', '2'], 'ringworld: Requested 2 VCPUs, however maxcpus is 1!\n'],
    [['vcpu-set', 'there', '3'], /^You are overcommmitting! You have 2 physical CPUs and want 3 vCPUs!/],
    [['vcpu-pin', 'there', 'x', '0'], 'Error: Invalid argument x as VCPU.\n'],
    [['vcpu-pin', 'there', '0', '2'], /^Error: Invalid argument 2 as a list of CPUs/],
    [['vcpu-pin', 'there', '7', '0'], /^ringworld: Could not set affinity for vcpu `7'\./],
    [['sched-credit', '-w', '5'], 'Must specify a domain.\n'],
    [['sched-credit', '-d', 'there', '-w', '0'], /^ringworld: Cpu weight out of range/],
    [['sched-credit', '-d', 'there', '-c', '50'], /^ringworld: libxl_domain_sched_params_set failed\./],
    [['sysrq', 'there', 'long'], /^Invalid sysrq\.\n/],
    [['trigger', 'there', 'frob'], 'Invalid trigger "frob"\n'],
    [['trigger', 'there', 'power'], /^ringworld: trigger: .*ENOSYS\n$/],
    [['block-detach', 'there', 'xvda'], 'Error: Device xvda not connected.\n'],
    [['network-detach', 'there', '0'], 'Unknown device 0.\n'],
    [['block-attach', 'there', 'x.img,raw,nonsense'], /^ringworld: .*nonsense/],
    [['save', 'there', '/nonexistent/x'], /Failed to open temp file \/nonexistent\/x for writing: ENOENT\n$/],
    [['save', 'there', join(tmpdir(), 'ringworld-none.save')], /domain \d+ is paused: its kernel cannot suspend\nFailed to save domain/],
    [['dump-core', 'there', '/nonexistent/x'], 'core dump failed: /nonexistent/x: cannot be written: no such file\n'],
    [['dump-core', 'there', join(tmpdir(), 'ringworld-none.core')], 'core dump failed: there: the guest says that it has 0 frames\n'],
    [['restore', '/nonexistent/x'], /cannot open saved domain \/nonexistent\/x: ENOENT\n$/],
    [['top', '-d', 'x'], 'top: x is not a usable number\n'],
  ])('%j', async (args, message) => {
    const { code, err } = await xl(...(args as [string, ...string[]]));
    if (typeof message === 'string') expect(err).toBe(message);
    else expect(err).toMatch(message);
    expect(code).toBe(1);
  });
  test('a second domain of that name', async () => {
    await expect(guest('there', true)).rejects.toThrow('domain with name "there" already exists.');
  });
});

test('files that are no saved domains are refused, and leave nothing behind', async () => {
  const cases: [string, Uint8Array | string, RegExp][] = [
    ['empty', '', /ends within the file header/],
    ['text', 'x'.repeat(5000), /not a saved domain/],
  ];
  for (const [name, content, message] of cases) {
    const file = join(dir, name);
    writeFileSync(file, content);
    const { code, err } = await xl('restore', file);
    expect([name, code]).toEqual([name, 1]);
    expect(err).toMatch(message);
  }
  expect((await xl('list')).out.split('\n').length).toBe(3);
});

test('a second host at the same place is refused', async () => {
  await expect(listenAsHost(path, machine, () => {})).rejects.toThrow(`a host is running already: process ${process.pid}, at ${path}`);
  const plain = join(dir, 'plain');
  writeFileSync(plain, '');
  await expect(listenAsHost(plain, machine, () => {})).rejects.toThrow(`${plain} exists and is no socket`);
  await expect(listenAsHost(join(dir, 'x'.repeat(120)), machine, () => {})).rejects.toThrow(/too long for a socket's name/);
  await expect(connectHost(plain)).resolves.toBeNull();
});
