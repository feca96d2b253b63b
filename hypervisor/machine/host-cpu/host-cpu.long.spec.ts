// As host-cpu.spec.ts, with many more cases.

import { afterAll, describe, expect, it } from 'vitest';
import { FAMILIES } from '../isa/index.ts';
import { conformance, sequenceConformance } from './conformance.ts';
import { interpreterExecutor, jitExecutor } from './interpreter-executor.ts';
import { nodeNative } from './node-native.ts';
import { oracleExecutor } from './oracle-executor.ts';

const native = nodeNative();
afterAll(() => {
  if (typeof native !== 'string') native.dispose();
});
const references = typeof native === 'string' ? [oracleExecutor] : [native, oracleExecutor];

const RUNS = [
  [64, 1],
  [64, 2],
  [32, 3],
  [32, 4],
  [16, 5],
] as const;
/** Not the system family: CLI and SWAPGS are not for CPL 3, and the oracle knows no privilege (system/privileged.spec.ts has them). */
const STAGED = Object.entries(FAMILIES)
  .filter(([name, family]) => name !== 'system' && family.some((i) => i.sem !== undefined))
  .map(([name]) => name as keyof typeof FAMILIES);

/** Compiling every case takes as long as twenty interpreted ones: one seed for each code size, fewer cases of each form. */
const COMPILED: ReadonlySet<number> = new Set([1, 3, 5]);

describe.each(STAGED)('%s', (family) => {
  // New ones for each family: the JIT throws its code away again and again, and then compiles every handler that it has anew.
  const interpreter = interpreterExecutor();
  const jit = jitExecutor();
  it.each(RUNS)('agrees in %i-bit code with seed %i', async (bits, seed) => {
    const job = { instructions: FAMILIES[family], bits, seed };
    const reports = [
      await conformance({ ...job, each: 2, executors: [...references, interpreter] }),
      ...(COMPILED.has(seed) ? [await conformance({ ...job, each: 1, executors: [...references, jit] })] : []),
    ];
    expect(reports.flatMap((r) => [...r.differences.values()].flat()).slice(0, 20)).toEqual([]);
  });
});

it.each(RUNS)('random programs of %i-bit code with seed %i end the same everywhere', async (bits, seed) => {
  const instructions = Object.values(FAMILIES).flat(1);
  const [interpreter, jit] = [interpreterExecutor(), jitExecutor()];
  const executors = [...references, interpreter, interpreterExecutor(3), interpreterExecutor(40), ...(COMPILED.has(seed) ? [jit] : [])];
  const report = await sequenceConformance({ instructions, bits, seed, programs: 120, length: 40, executors });
  expect(report.differences.slice(0, 10)).toEqual([]);
});
