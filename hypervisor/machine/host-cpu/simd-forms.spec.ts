// MMX and SSE to SSE4.2, AES-NI, PCLMULQDQ and SHA: that no form of theirs is left out when they are held against the host's CPU, in any
// mode, be it with registers or with memory.

import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { type Form, formsOf } from '../isa/forms.ts';
import { FAMILIES } from '../isa/index.ts';
import type { AnyInsn } from '../isa/insn.ts';
import type { Bits, Executor } from './case.ts';
import { conformance, formKey } from './conformance.ts';
import { interpreterExecutor, systemExecutor } from './interpreter-executor.ts';
import { nodeNative } from './node-native.ts';
import { oracleExecutor } from './oracle-executor.ts';

const SIMD = ['mmx', 'sseMove', 'sseInteger', 'sseFloat', 'sse3', 'ssse3', 'sse41', 'sse42', 'aes', 'sha'] as const;
const INSTRUCTIONS = SIMD.flatMap((f) => FAMILIES[f]);
/** Of forms of which all cases faulted (misaligned, or with an exception that is not masked) more are tried. */
const CASES_EACH = 2;
const ROUNDS = 8;

const native = nodeNative();
afterAll(() => {
  if (typeof native !== 'string') native.dispose();
});
beforeEach(() => new Promise<void>((done) => setTimeout(done, 1)));

/** What there is to compare in a mode. */
function keysOf(f: Form, bits: Bits): string[] {
  const { conditions } = f;
  const exists = bits === 64 ? !conditions.has('i64') : !conditions.has('o64') && !conditions.has('w1');
  if (!exists) return [];
  const kinds = f.modrm === 'no' ? [false] : [...(f.memOnly ? [] : [false]), ...(f.regOnly ? [] : [true])];
  return kinds.map((memory) => formKey(f, memory));
}

describe.skipIf(typeof native === 'string')('no form is left out', () => {
  const references = typeof native === 'string' ? [] : [native];
  const unstaged = INSTRUCTIONS.filter((i) => i.sem === undefined);
  it.each([64, 32, 16] as const)('in %i-bit code', async (bits) => {
    const done = new Set<string>();
    const wrong: string[] = [];
    const run = async (instructions: readonly AnyInsn[], seed: number, ...executors: readonly Executor[]): Promise<void> => {
      const report = await conformance({
        instructions,
        bits,
        seed,
        each: CASES_EACH,
        unstaged: true,
        executors: [...references, ...executors],
      });
      wrong.push(...[...report.differences.values()].flat());
      for (const f of report.formsDone) done.add(f);
    };
    const left = (i: AnyInsn): boolean => formsOf(i).some((f) => keysOf(f, bits).some((key) => !done.has(key)));
    const interpreter = interpreterExecutor();
    for (let round = 0; round < ROUNDS; round++) {
      await run(INSTRUCTIONS.filter(left), 31 + round, oracleExecutor, systemExecutor());
      await run(unstaged.filter(left), 31 + round, interpreter);
    }
    expect(wrong).toEqual([]);
    expect(INSTRUCTIONS.filter(left).map((i) => i.mnemonic)).toEqual([]);
  });
  it('and all are staged, but for two', () => {
    expect(unstaged.map((i) => i.mnemonic).sort()).toEqual(['MASKMOVDQU', 'MASKMOVQ']);
  });
});
