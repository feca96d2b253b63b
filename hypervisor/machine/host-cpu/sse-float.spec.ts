// SSE floating point on the host's own CPU, in its TypeScript form and staged: results, and MXCSR with all its flags, under every
// rounding, DAZ, FTZ and mask.

import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { FAMILIES } from '../isa/index.ts';
import { HANDLERS } from '../system/execute.ts';
import { conformance } from './conformance.ts';
import { interpreterExecutor, systemExecutor } from './interpreter-executor.ts';
import { nodeNative } from './node-native.ts';
import { oracleExecutor } from './oracle-executor.ts';

const native = nodeNative();
const hasNative = typeof native !== 'string';
afterAll(() => {
  if (hasNative) native.dispose();
});
beforeEach(() => new Promise<void>((done) => setTimeout(done, 1)));

const CASES = Number(process.env.SSE_CASES ?? 60);
const SEED = Number(process.env.SSE_SEED ?? 1);
const instructions = Object.values(FAMILIES)
  .flat(1)
  .filter((i) => i.sem !== undefined && HANDLERS.has(i.mnemonic) && /^(sse|mmx)/.test(i.cpuid ?? ''));

describe.skipIf(!hasNative)('SSE floating point as the host has it', () => {
  const executors = [
    ...(hasNative ? [native] : []),
    systemExecutor(),
    ...(process.env.ONLY_SYSTEM ? [] : [interpreterExecutor(), oracleExecutor]),
  ];
  it.each(instructions.map((i) => [i.mnemonic, i] as const))('%s', (_, insn) => {
    const report = conformance({ instructions: [insn], bits: 64, seed: SEED, each: CASES, executors });
    expect([...report.differences.values()].flat().slice(0, 6)).toEqual([]);
    expect([...report.compared.values()][0] ?? 0).toBeGreaterThan(CASES);
  });
});
