// SSE floating point on the host's own CPU, in its TypeScript form and in the oracle: results, and MXCSR with all its flags, under every
// rounding, DAZ, FTZ and mask. The interpreter has its turn in host-cpu.spec.ts, and here in the long suite.

import { afterAll, describe, expect, it } from 'vitest';
import { FAMILIES } from '../isa/index.ts';
import { HANDLERS } from '../system/execute.ts';
import { conformance } from './conformance.ts';
import { systemExecutor } from './interpreter-executor.ts';
import { nodeNative } from './node-native.ts';
import { oracleExecutor } from './oracle-executor.ts';

const native = nodeNative();
const hasNative = typeof native !== 'string';
afterAll(() => {
  if (hasNative) native.dispose();
});

const CASES = 20;
const instructions = Object.values(FAMILIES)
  .flat(1)
  .filter((i) => i.sem !== undefined && HANDLERS.has(i.mnemonic) && /^sse/.test(i.cpuid ?? ''));

describe.skipIf(!hasNative)('as the host has it', async () => {
  const executors = [...(hasNative ? [native] : []), systemExecutor(), oracleExecutor];
  const { differences, compared } = await conformance({ instructions, bits: 64, seed: 1, each: CASES, executors });
  it.each([...differences.keys()])('%s', (mnemonic) => {
    expect(differences.get(mnemonic)?.slice(0, 6)).toEqual([]);
    expect(compared.get(mnemonic) ?? 0).toBeGreaterThan(CASES);
  });
});
