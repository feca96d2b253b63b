// Runs generated cases on several executors and lists, by mnemonic, where they differ from the first.

import type { AnyInsn } from '../isa/insn.ts';
import type { Executor } from './case.ts';
import { describeCase, differences } from './compare.ts';
import { casesFor } from './generate.ts';
import { Random } from './random.ts';
import { undefinedResult } from './undefined.ts';

export interface Job {
  readonly instructions: readonly AnyInsn[];
  readonly bits: 32 | 64;
  readonly seed: number;
  /** Cases for each combination of form, operand size and kind of operand. */
  readonly each: number;
  /** The first is what the others are held against. */
  readonly executors: readonly Executor[];
}

export interface Report {
  /** By mnemonic; an empty list where all agree. */
  readonly differences: ReadonlyMap<string, readonly string[]>;
  /** Cases compared, by mnemonic. */
  readonly compared: ReadonlyMap<string, number>;
}

export function conformance({ instructions, bits, seed, each, executors }: Job): Report {
  const random = new Random(seed);
  const generated = instructions.filter((i) => i.sem !== undefined).flatMap((i) => casesFor(random, i, bits, each));
  const cases = generated.map((g) => g.case);
  const [reference, ...others] = executors.map((e) => ({ name: e.name, outcomes: e.run(cases) }));
  const found = new Map<string, string[]>();
  const compared = new Map<string, number>();
  generated.forEach((g, n) => {
    const { mnemonic } = g.decoded.insn;
    const list = found.get(mnemonic) ?? [];
    found.set(mnemonic, list);
    const want = reference?.outcomes[n];
    if (want === undefined) return;
    for (const { name, outcomes } of others) {
      const got = outcomes[n];
      if (got === undefined || undefinedResult(g, want, got)) continue;
      compared.set(mnemonic, (compared.get(mnemonic) ?? 0) + 1);
      const wrong = differences(g, want, got);
      if (wrong.length > 0) list.push(`${describeCase(g)}, seed ${seed}: ${name} has ${wrong.slice(0, 6).join('; ')}`);
    }
  });
  return { differences: found, compared };
}
