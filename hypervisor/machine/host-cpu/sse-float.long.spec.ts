// As sse-float.spec.ts, with many more cases, in every code size, in the interpreter and in the JIT.

import { afterAll, describe, expect, it } from 'vitest';
import { FAMILIES } from '../isa/index.ts';
import { HANDLERS } from '../system/execute.ts';
import { conformance } from './conformance.ts';
import { interpreterExecutor, jitExecutor, systemExecutor } from './interpreter-executor.ts';
import { nodeNative } from './node-native.ts';
import { oracleExecutor } from './oracle-executor.ts';

const native = nodeNative();
const hasNative = typeof native !== 'string';
afterAll(() => {
  if (hasNative) native.dispose();
});

const instructions = Object.values(FAMILIES)
  .flat(1)
  .filter((i) => i.sem !== undefined && HANDLERS.has(i.mnemonic) && /^sse/.test(i.cpuid ?? ''));

const executors = [...(hasNative ? [native] : []), systemExecutor(), interpreterExecutor(), jitExecutor(), oracleExecutor];

describe.skipIf(!hasNative).each([
  [64, 40],
  [32, 12],
  [16, 12],
] as const)('as the host has it, in %i-bit code, %i cases each', (bits, each) => {
  it.each(instructions.map((i) => [i.mnemonic, i] as const))('%s', async (_, insn) => {
    const report = await conformance({ instructions: [insn], bits, seed: 20 + bits, each, executors });
    expect([...report.differences.values()].flat().slice(0, 6)).toEqual([]);
  });
});
