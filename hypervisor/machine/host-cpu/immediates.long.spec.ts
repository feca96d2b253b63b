// Every immediate byte of every SIMD instruction that has one, on the host's own CPU, the oracle and the emulated one: modes of string
// comparisons, shuffles, blends, roundings, counts.

import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { decode } from '../exec/decode.ts';
import { type Form, formsOf } from '../isa/forms.ts';
import { FAMILIES } from '../isa/index.ts';
import type { AnyInsn } from '../isa/insn.ts';
import { definedFlags, describeCase, differences } from './compare.ts';
import { casesFor, type Generated } from './generate.ts';
import { interpreterExecutor, jitExecutor, systemExecutor } from './interpreter-executor.ts';
import { nodeNative } from './node-native.ts';
import { oracleExecutor } from './oracle-executor.ts';
import { Random } from './random.ts';
import { undefinedResult } from './undefined.ts';

const SIMD = ['mmx', 'sseInteger', 'sseFloat', 'ssse3', 'sse41', 'sse42', 'aes', 'sha'] as const;
const hasByte = (f: Form): boolean => f.operands.at(-1)?.text === 'Ib';
const INSTRUCTIONS = SIMD.flatMap((f) => FAMILIES[f]).filter((i) => formsOf(i).some(hasByte));
const BITS = 64;

const native = nodeNative();
afterAll(() => {
  if (typeof native !== 'string') native.dispose();
});
beforeEach(() => new Promise<void>((done) => setTimeout(done, 1)));

/** A case of an instruction for each immediate, the last byte of its code. */
function everyImmediate(random: Random, i: AnyInsn): Generated[] {
  const all: Generated[] = [];
  for (let imm = 0; imm < 256; ) {
    for (const g of casesFor(random, i, BITS, 1)) {
      if (!hasByte(g.form) || imm > 255) continue;
      const code = g.case.code.slice();
      code[code.length - 1] = imm++;
      const decoded = decode(code, 0, code.length, { bits: BITS });
      if (typeof decoded !== 'string') all.push({ ...g, decoded, case: { ...g.case, code } });
    }
  }
  return all;
}

describe.skipIf(typeof native === 'string')('with every immediate', () => {
  const executors = [
    ...(typeof native === 'string' ? [] : [native]),
    oracleExecutor,
    systemExecutor(),
    interpreterExecutor(),
    jitExecutor(),
  ];
  it.each(INSTRUCTIONS.map((i) => [i.mnemonic, i] as const))('%s', (_, insn) => {
    const generated = everyImmediate(new Random(11), insn);
    const [want, ...others] = executors.map((e) => e.run(generated.map((g) => g.case)));
    const wrong: string[] = [];
    let compared = 0;
    generated.forEach((g, n) => {
      const a = want?.[n];
      for (const outcomes of others) {
        const b = outcomes[n];
        if (a === undefined || b === undefined || undefinedResult(g, a, b)) continue;
        compared++;
        const found = differences(a, b, definedFlags(g));
        if (found.length > 0) wrong.push(`${describeCase(g)}: ${found.slice(0, 4).join('; ')}`);
      }
    });
    expect(wrong.slice(0, 5)).toEqual([]);
    expect(compared).toBeGreaterThanOrEqual(256);
  });
});
