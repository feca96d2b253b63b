// What the commands print, from answers played by hand; columns and words are those of tools/xl.
import { describe, expect, test } from 'vitest';
import type { DomainStatus } from '../host-calls.ts';
import { bitmapText, parseCpus } from './cpus.ts';
import { listLines, stateLetters, uptimeText } from './list.ts';
import { parseMemory } from './memory.ts';
import { HelpAsked, parseOptions, type Usage, usageText } from './options.ts';
import { picture } from './top.ts';

const domain = (more: Partial<DomainStatus>): DomainStatus => ({
  domid: 1,
  name: 'web',
  uuid: new Uint8Array(16),
  memKb: 262144,
  maxMemKb: 263168,
  running: false,
  blocked: true,
  paused: false,
  dying: false,
  shutdown: null,
  cpuTimeNs: 1_250_000_000,
  vcpusOnline: 2,
  vcpuMaxId: 1,
  uptime: 5,
  ...more,
});

test("list has xl's columns to the character", () => {
  expect(listLines([domain({ domid: 0, name: 'Domain-0', running: true, blocked: false, vcpusOnline: 1 }), domain({})])).toBe(
    'Name                                        ID   Mem VCPUs\tState\tTime(s)\n' +
      'Domain-0                                     0   256     1     r-----       1.3\n' +
      'web                                          1   256     2     -b----       1.3\n',
  );
});

test.each([
  [{ running: true, blocked: false }, 'r-----'],
  [{ paused: true, blocked: false }, '--p---'],
  [{ shutdown: 0, blocked: false }, '---s--'],
  [{ shutdown: 1, blocked: false }, '---sr-'],
  [{ shutdown: 2, blocked: false }, '---ss-'],
  [{ shutdown: 3, blocked: false }, '---sc-'],
  [{ shutdown: 4, blocked: false }, '---sw-'],
  [{ shutdown: 9, blocked: false }, '---s?-'],
  [{ dying: true, blocked: false, paused: true }, '--p--d'],
])('%j is %s', (more, letters) => {
  expect(stateLetters(domain(more))).toBe(letters);
});

test.each([
  ['128', 131072],
  ['128m', 131072],
  ['1g', 1048576],
  ['512k', 512],
  ['4096b', 4],
  ['1T', 1073741824],
  ['', null],
  ['-1', null],
  ['12x', null],
  ['1.5g', null],
])('memory %j is %j KiB', (text, kb) => {
  expect(parseMemory(text)).toBe(kb);
});

test.each([
  ['all', [0, 1, 2, 3]],
  ['0', [0]],
  ['0,2-3', [0, 2, 3]],
  ['all,^1', [0, 2, 3]],
  ['4', null],
  ['2-1', null],
  ['^0', null],
  ['x', null],
  ['', null],
])('CPUs %j of four are %j', (text, cpus) => {
  expect(parseCpus(text, 4)).toEqual(cpus);
});

test('bitmaps print as ranges', () => {
  expect([[], [0, 1, 2, 3], [0], [1, 2, 3], [0, 2, 3]].map((b) => bitmapText(b, 4))).toEqual(['none', 'all', '0', '1-3', '0,2-3']);
});

test('uptimes print as xl has them', () => {
  expect([uptimeText(5, false), uptimeText(3723, false), uptimeText(90061, false), uptimeText(200000, true)]).toEqual([
    ' 0:00:05',
    ' 1:02:03',
    '1 day,  1:01:01',
    '2 days,  7:33',
  ]);
});

test('top counts the share of a CPU between two pictures', () => {
  const info = {
    totalPages: 262144,
    freePages: 131072,
    pageSize: 4096,
    xenMajor: 4,
    xenMinor: 17,
    xenExtra: '.7',
    cpus: 2,
    cpuKhz: 2100000,
    wallclock: 3600,
  };
  // SAFE: the fields that a picture shows.
  const at = (uptime: number, d: DomainStatus) => ({
    domains: [d],
    info: { ...info, uptime } as never,
    counts: [
      { domid: 1, nets: 1, vbds: 2, netTx: 2047, netRx: 5 << 20, vbdReads: 7, vbdWrites: 8, vbdReadSectors: 56, vbdWriteSectors: 88 },
    ],
  });
  const text = picture(at(12, domain({ cpuTimeNs: 2e9 })), at(10, domain({ cpuTimeNs: 1e9 })), false);
  expect(text.split('\n')).toEqual([
    'xentop - 01:00:00   Xen 4.17.7',
    '1 domains: 0 running, 1 blocked, 0 paused, 0 crashed, 0 dying, 0 shutdown',
    'Mem: 1048576k total, 524288k used, 524288k free    CPUs: 2 @ 2100MHz',
    '      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS' +
      ' NETS NETTX(k) NETRX(k) VBDS   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT',
    '       web --b---          2   50.0     262144   25.0     263168      25.1     2' +
      '    1        1     5120    2        7        8         56         88',
    '',
  ]);
});

describe('options', () => {
  const usage: Usage = {
    name: 'frob',
    synopsis: '[options] <Domain>',
    about: 'Frob a domain.',
    options: { a: { text: 'all', long: 'all' }, w: { text: 'weight', value: true, long: 'weight' } },
    needs: 1,
    most: 1,
  };
  test('stand anywhere, together, long or short', () => {
    for (const args of [
      ['-a', '-w', '5', 'd'],
      ['d', '-aw5'],
      ['--all', '--weight=5', 'd'],
      ['--weight', '5', '-a', '--', 'd'],
    ]) {
      const { flags, values, rest } = parseOptions(usage, args);
      expect([[...flags], [...values], rest]).toEqual([['a'], [['w', '5']], ['d']]);
    }
  });
  test.each([
    [['-x', 'd'], "option `x' not supported."],
    [['--frob', 'd'], "option `--frob' not supported."],
    [['-w'], "option `w' needs a value."],
    [[], "'ringworld frob' requires at least 1 argument."],
    [['a', 'b'], "'ringworld frob' takes at most 1 argument."],
  ])('%j is answered with what is wrong and the usage, exit code 2', (args, message) => {
    expect(() => parseOptions(usage, args)).toThrow(
      expect.objectContaining({ code: 2, message: `${message}\n\n${usageText(usage)}`.trimEnd() }),
    );
  });
  test('-h is the usage', () => {
    expect(() => parseOptions(usage, ['d', '-h'])).toThrow(HelpAsked);
  });
});
