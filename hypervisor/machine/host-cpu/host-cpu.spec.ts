// Every form of every integer instruction and of SSE, on the host's own CPU, the oracle and the interpreter. Where there is no such host the
// interpreter is still held against the oracle. Then random programs, in one run and cut into slices.

import { afterAll, describe, expect, it } from 'vitest';
import { FAMILIES } from '../isa/index.ts';
import type { Executor } from './case.ts';
import { conformance, sequenceConformance } from './conformance.ts';
import { interpreterExecutor, systemExecutor } from './interpreter-executor.ts';
import { nodeNative } from './node-native.ts';
import { oracleExecutor } from './oracle-executor.ts';

const STAGED = (
  [
    'alu',
    'bits',
    'decimal',
    'flow',
    'mov',
    'muldiv',
    'shift',
    'stack',
    'string',
    'sseMove',
    'sseInteger',
    'sseFloat',
    'mmx',
    'sse3',
    'ssse3',
    'sse41',
    'sse42',
    'aes',
    'sha',
  ] as const
).flatMap((f) => FAMILIES[f]);
const CASES_EACH = 1;

const native = nodeNative();
const hasNative = typeof native !== 'string';
afterAll(() => {
  if (hasNative) native.dispose();
});

it.skipIf(!hasNative)(`the host's CPU can be asked${hasNative ? '' : ` (it cannot: ${native})`}`, () => {
  expect(hasNative).toBe(true);
});

const references: readonly Executor[] = [...(hasNative ? [native] : []), oracleExecutor];
const interpreter = interpreterExecutor();
const executors = [...references, interpreter];
const slices = interpreterExecutor(5);

describe.each([64, 32, 16] as const)('in %i-bit code', async (bits) => {
  // Every form costs the interpreter a handler of a few milliseconds: outside 64-bit code that is for the long suite, and for the programs below.
  // The TypeScript forms stand in for it where the oracle's give up.
  const quick = hasNative && bits !== 64 ? [...references, systemExecutor()] : executors;
  const { differences, compared } = await conformance({
    instructions: STAGED,
    bits,
    seed: 20260 + bits,
    each: CASES_EACH,
    executors: quick,
  });
  it.each([...differences.keys()])('%s does the same everywhere', (mnemonic) => {
    expect(differences.get(mnemonic)?.slice(0, 5)).toEqual([]);
    expect(compared.get(mnemonic) ?? 0).toBeGreaterThan(0);
  });
});

it.each([64, 32, 16] as const)('random programs of %i-bit code end the same everywhere', async (bits) => {
  const run = { instructions: STAGED, bits, seed: 7 + bits, programs: 60, length: 20 };
  const { compared, differences } = await sequenceConformance({ ...run, executors: [...executors, slices] });
  expect(differences).toEqual([]);
  expect(compared).toBeGreaterThan(0);
});
