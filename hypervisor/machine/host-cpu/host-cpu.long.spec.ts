// As host-cpu.spec.ts, with many more cases.

import { afterAll, describe, expect, it } from 'vitest';
import { FAMILIES } from '../isa/index.ts';
import type { Executor } from './case.ts';
import { conformance, sequenceConformance } from './conformance.ts';
import { interpreterExecutor } from './interpreter-executor.ts';
import { nodeNative } from './node-native.ts';
import { oracleExecutor } from './oracle-executor.ts';

const native = nodeNative();
afterAll(() => {
  if (typeof native !== 'string') native.dispose();
});

describe.each(Object.keys(FAMILIES) as (keyof typeof FAMILIES)[])('%s', (family) => {
  const executors: Executor[] = [...(typeof native === 'string' ? [] : [native]), oracleExecutor, interpreterExecutor()];
  it.each([
    [64, 1],
    [64, 2],
    [32, 3],
    [32, 4],
    [16, 5],
  ] as const)('agrees in %i-bit code with seed %i', (bits, seed) => {
    const report = conformance({ instructions: FAMILIES[family], bits, seed, each: 60, executors });
    expect([...report.differences.values()].flat().slice(0, 20)).toEqual([]);
  });
});

it.each([
  [64, 1],
  [64, 2],
  [32, 3],
  [32, 4],
  [16, 5],
] as const)('random programs of %i-bit code with seed %i end the same everywhere', (bits, seed) => {
  const instructions = Object.values(FAMILIES).flat(1);
  const executors: Executor[] = [
    ...(typeof native === 'string' ? [] : [native]),
    oracleExecutor,
    interpreterExecutor(),
    interpreterExecutor(3),
    interpreterExecutor(40),
  ];
  const report = sequenceConformance({ instructions, bits, seed, programs: 3000, length: 40, executors });
  expect(report.differences.slice(0, 10)).toEqual([]);
});
