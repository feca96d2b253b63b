// Profiles: which part of the emulator a sample counts for, and that watching a guest does not change it.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Profiler } from 'node:inspector';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildHello64 } from '@ringworld/guests';
import { expect, test } from 'vitest';
import { demoGuest } from './demo.ts';
import { domainTwins } from './lockstep-domains.ts';
import { type GuestSample, guestProfile, watchGuest } from './profile-guest.ts';
import { bucketsOf } from './profile-host.ts';
import { modulesOf } from './profile-source.ts';
import { elfSymbols, parseSystemMap, Symbols } from './symbols.ts';

/** A profile of chains of frames, each `[function, url, ...]` from the outermost on; the last one gets a millisecond. */
function profileOf(...chains: readonly (readonly [name: string, url: string])[][]): Profiler.Profile {
  const nodes: Profiler.ProfileNode[] = [];
  const samples: number[] = [];
  for (const chain of chains) {
    for (const [i, [functionName, url]] of chain.entries()) {
      const id = nodes.length + 1;
      nodes.push({
        id,
        callFrame: { functionName, url, scriptId: '', lineNumber: 0, columnNumber: 0 },
        ...(i + 1 < chain.length ? { children: [id + 1] } : {}),
      });
    }
    samples.push(nodes.length);
  }
  return { nodes, samples, timeDeltas: samples.map(() => 1000), startTime: 0, endTime: samples.length * 1000 };
}
const file = (path: string) => `file:///somewhere/main/${path}`;

test.each([
  ['wasm-function[7]', 'wasm://wasm/handler-0123', 'interpreter'],
  ['wasm-function[7]', 'wasm://wasm/region-4567', 'JIT code'],
  ['probe', file('hypervisor/machine/exec/cpu.ts'), 'TLB misses and page walks'],
  ['run', file('hypervisor/machine/exec/cpu.ts'), 'CPU loop'],
  ['emit', file('hypervisor/machine/exec/jit/emit.ts'), 'JIT: regions to WebAssembly'],
  ['cpuid', file('hypervisor/machine/system/cpuid.ts'), 'system instructions in TypeScript'],
  ['fsin', file('hypervisor/machine/system/x87/functions.ts'), 'x87 and SSE in TypeScript'],
  ['transmit', file('hypervisor/machine/devices/uart.ts'), 'devices and board'],
  ['expire', file('hypervisor/core/timers.ts'), 'hypervisor'],
  ['serve', file('dom0/consoled/index.ts'), 'dom0'],
  ['(idle)', '', 'idle, waiting for the host'],
])('%s in %s counts for: %s', (name, url, bucket) => {
  expect(bucketsOf(profileOf([[name, url]])).map((b) => b.name)).toEqual([bucket]);
});

test('a built-in counts for its caller, but what compiles WebAssembly for itself', () => {
  const handlers = file('hypervisor/machine/exec/handlers.ts');
  const buckets = bucketsOf(
    profileOf(
      [
        ['place', handlers],
        ['push', ''],
      ],
      [
        ['place', handlers],
        ['Module', ''],
      ],
      [['set', handlers]],
    ),
  );
  expect(buckets.map((b) => [b.name, b.ms])).toEqual([
    ['decoding and handlers', 2],
    ['compilation by V8', 1],
  ]);
});

test('a line of a bundle counts for the source that it came from', () => {
  const text = 'import "x";\n\n// hypervisor/core/timers.ts\nfunction a() {}\n// note\n\n// dom0/xl/main.ts\nfunction b() {}\n';
  expect(modulesOf(text)).toEqual([
    { line: 2, path: 'hypervisor/core/timers.ts' },
    { line: 6, path: 'dom0/xl/main.ts' },
  ]);
  const buckets = bucketsOf(profileOf([['a', 'bundle']]), (_, line) => (line === 0 ? 'hypervisor/core/timers.ts' : ''));
  expect(buckets.map((b) => b.name)).toEqual(['hypervisor']);
});

test('guest addresses are named by symbol, or by page', () => {
  const symbols = new Symbols(parseSystemMap('ffffffff81000000 T _text\nffffffff81000100 t helper\nffffffff81000180 D data\n'));
  const at = (rip: number): GuestSample => ({ cpu: 0, rip, ms: 1 });
  const kernel = -0x7f000000;
  const lines = guestProfile([at(kernel + 0x110), at(kernel + 0x17f), at(kernel), at(0x401234)], symbols);
  expect(lines.map((l) => [l.name, l.samples])).toEqual([
    ['helper', 2],
    ['0x401000', 1],
    ['_text', 1],
  ]);
  expect(symbols.at(kernel + 0x104)).toBe('helper+0x4');
  expect(symbols.at(kernel - 1)).toBeNull();
});

test('a System.map, /proc/kallsyms and an ELF file are read', () => {
  expect(parseSystemMap('ffffffffc0000000 t init_module\t[loop]\nffffffffffffffff B The real System.map is elsewhere\n')).toEqual([
    { address: -0x40000000, name: 'init_module [loop]' },
  ]);
  expect(elfSymbols(buildHello64()).map((s) => s.name)).toContain('_start');
  expect(elfSymbols(new Uint8Array(100))).toEqual([]);
});

test('watching a guest leaves its every cycle as it was, and finds it where it is', async () => {
  const make = domainTwins({ guests: [demoGuest('hello64', buildHello64())], cpus: 1, note: () => {}, write: () => {} });
  const [plain, watched] = [make('jit', false), make('jit', false)];
  const samples: GuestSample[] = [];
  watchGuest(watched.machine, 500, samples);
  const end = 20_000_000;
  expect(await watched.advance(end)).toBe(await plain.advance(end));
  expect(watched.cycles).toBe(plain.cycles);
  expect(samples.length).toBeGreaterThan(10);
  const symbols = new Symbols(elfSymbols(buildHello64()));
  expect(guestProfile(samples, symbols).every((l) => l.name.length > 0)).toBe(true);
});

test('the command runs a domain and tells where the time went', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'ringworld-profile-'));
  try {
    const kernel = join(dir, 'hello.elf');
    const json = join(dir, 'profile.json');
    writeFileSync(kernel, buildHello64());
    const cli = new URL('./ringworld.mjs', import.meta.url).pathname;
    const args = [cli, 'profile', '--profile-json', json, '--every=1000', '--system-map', kernel, '--kernel', kernel, 'memory=16'];
    const { code, out, err } = await new Promise<{ code: number | null; out: string; err: string }>((done) => {
      const child = execFile(process.execPath, args, (_, out, err) => done({ code: child.exitCode, out, err }));
      child.stdin?.end();
    });
    expect(code).toBe(0);
    expect(out).toContain('hello from pv64');
    expect(err).toMatch(/^interpreter +\d+ ms/m);
    // The command may have run from its bundle.
    expect(err).toMatch(/^hypervisor +\d+ ms/m);
    expect(err).toMatch(/^blocks +\d+/m);
    const facts = JSON.parse(readFileSync(json, 'utf8')) as { guest: { name: string }[] };
    expect(facts.guest.length).toBeGreaterThan(1);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
