// As host-cpu.spec.ts, with many more cases.

import { afterAll, describe, expect, it } from 'vitest';
import { FAMILIES } from '../isa/index.ts';
import type { Executor } from './case.ts';
import { conformance } from './conformance.ts';
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
  ] as const)('agrees in %i-bit code with seed %i', (bits, seed) => {
    const report = conformance({ instructions: FAMILIES[family], bits, seed, each: 60, executors });
    expect([...report.differences.values()].flat().slice(0, 20)).toEqual([]);
  });
});
