// Every form of every integer instruction: the oracle against the host's own CPU.

import { afterAll, describe, expect, it } from 'vitest';
import { FAMILIES } from '../isa/index.ts';
import type { AnyInsn } from '../isa/insn.ts';
import { describeCase, differences } from './compare.ts';
import { casesFor, type Generated } from './generate.ts';
import { nodeNative } from './node-native.ts';
import { oracleExecutor } from './oracle-executor.ts';
import { Random } from './random.ts';
import { undefinedResult } from './undefined.ts';

const native = nodeNative();
const INTEGER: readonly AnyInsn[] = (['alu', 'bits', 'decimal', 'flow', 'mov', 'muldiv', 'shift', 'stack', 'string'] as const).flatMap(
  (f) => FAMILIES[f],
);
const CASES_PER_COMBINATION = 12;

describe.skipIf(typeof native === 'string')(
  `integer instructions do what the host's CPU does${typeof native === 'string' ? ` (${native})` : ''}`,
  () => {
    if (typeof native === 'string') return;
    afterAll(() => native.dispose());

    for (const bits of [64, 32] as const) {
      const random = new Random(20260 + bits);
      const generated: Generated[] = INTEGER.filter((i) => i.sem !== undefined).flatMap((i) =>
        casesFor(random, i, bits, CASES_PER_COMBINATION),
      );
      const cases = generated.map((g) => g.case);
      const want = native.run(cases);
      const got = oracleExecutor.run(cases);
      const wrong = new Map<string, string[]>();
      generated.forEach((g, n) => {
        const name = g.decoded.insn.mnemonic;
        const list = wrong.get(name) ?? [];
        wrong.set(name, list);
        const [w, o] = [want[n], got[n]];
        if (w === undefined || o === undefined || undefinedResult(g, w, o)) return;
        const found = differences(g, w, o);
        if (found.length > 0) list.push(`${describeCase(g)}: ${found.slice(0, 6).join('; ')}`);
      });
      for (const [name, list] of wrong) {
        it(`${name} in ${bits}-bit code`, () => {
          expect(list.slice(0, 5)).toEqual([]);
        });
      }
    }
  },
);
