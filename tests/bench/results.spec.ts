// The figures of a benchmark: medians, ratios, means and what is printed of them; the arguments; a program timed from outside.
import { expect, test } from 'vitest';
import { benchOptions } from './options.ts';
import { asJson, meanRatio, median, type Row, ratio, table } from './results.ts';
import { timed } from './timed.ts';

const row = (name: string, seconds: Row['seconds']): Row => ({ section: 'micro', group: 'g', name, seconds, runs: {} });

test('the median of an even number of runs lies between the middle two', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
});

test('a ratio is our time over the rival’s, and none where one of them did not end', () => {
  const which = { ours: 'here', rival: 'qemu' } as const;
  expect(ratio(row('a', { here: 1, qemu: 4 }), which)).toBe(0.25);
  expect(ratio(row('a', { here: null, qemu: 4 }), which)).toBeNull();
  expect(ratio(row('a', { here: 1 }), which)).toBeNull();
  const rows = [row('a', { here: 1, qemu: 4 }), row('b', { here: 4, qemu: 4 }), row('c', { here: null, qemu: 1 })];
  expect(meanRatio(rows, which)).toBeCloseTo(0.5);
});

test('the table has a column for each emulator and each ratio, and the geometric mean', () => {
  const text = table([row('fast', { here: 1, qemu: 4, bochs: 40 }), row('slow', { here: 4, qemu: 4, bochs: null })]);
  expect(text.split('\n').map((l) => l.trimEnd())).toEqual([
    '                ringworld, s  QEMU TCG, s  Bochs, s  / TCG  / Bochs',
    '--------------  ------------  -----------  --------  -----  -------',
    'fast                    1.00         4.00      40.0   0.25     0.03',
    'slow                    4.00         4.00  too long   1.00',
    'geometric mean                                        0.50     0.03',
  ]);
});

test('the JSON names host, versions and means', () => {
  const rows = [row('a', { here: 1, qemu: 4 })];
  const json = JSON.parse(asJson(rows, { versions: { qemu: 'Q', bochs: null, ringworld: 'r', node: 'n' }, engine: 'jit' })) as unknown;
  expect(json).toMatchObject({
    versions: { qemu: 'Q', bochs: null },
    geometricMeans: { micro: { 'here/qemu': 0.25 } },
    rows: [{ name: 'a' }],
  });
});

test('sections and a filter are told apart, and what is wrong is said', () => {
  expect(benchOptions(['micro', 'sse', '--runs=1', '--bochs-runs=0', '--no-qemu'], 'x')).toMatchObject({
    sections: ['micro'],
    filter: 'sse',
    runs: 1,
    bochsRuns: 0,
    useQemu: false,
    json: 'x',
  });
  expect(benchOptions([], 'x')!.sections).toEqual(['micro', 'boot', 'user', 'io']);
  expect(() => benchOptions(['--runs=0'], 'x')).toThrow('--runs=0: a whole number of at least 1 is needed');
  expect(() => benchOptions(['--engine=both'], 'x')).toThrow('there are jit and interp');
  expect(() => benchOptions(['a', 'b'], 'x')).toThrow('one filter at most');
});

test('a program is timed to its end, to a text, and no longer than is allowed', async () => {
  const script = (text: string) => ['-e', text];
  const whole = await timed(process.execPath, script('console.log("one"); setTimeout(() => console.log("two"), 200)'), {
    timeoutSeconds: 60,
  });
  expect(whole.output).toBe('one\ntwo\n');
  expect(whole.at('two')! - whole.at('one')!).toBeGreaterThan(0.1);
  expect(whole.at('three')).toBeUndefined();
  const cut = await timed(process.execPath, script('console.log("ready"); setInterval(() => {}, 1000)'), {
    timeoutSeconds: 60,
    until: 'ready',
  });
  expect([cut.output, cut.isTimeout]).toEqual(['ready\n', false]);
  const late = await timed(process.execPath, script('setInterval(() => {}, 1000)'), { timeoutSeconds: 0.5 });
  expect(late.isTimeout).toBe(true);
});
