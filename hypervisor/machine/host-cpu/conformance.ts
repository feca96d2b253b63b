// Runs generated cases on several executors and lists, by mnemonic, where they differ from the first.

import type { Form } from '../isa/forms.ts';
import type { AnyInsn } from '../isa/insn.ts';
import type { Bits, Case, Executor, Outcome } from './case.ts';
import { ALL_VISIBLE, definedFlags, describeCase, differences, FLAG_BITS } from './compare.ts';
import { casesFor } from './generate.ts';
import { Random } from './random.ts';
import { SequenceMaker } from './sequence.ts';
import { isCode, undefinedCodes, undefinedResult } from './undefined.ts';

export interface Job {
  readonly instructions: readonly AnyInsn[];
  readonly bits: Bits;
  readonly seed: number;
  /** Cases for each combination of form, operand size and kind of operand. */
  readonly each: number;
  /** Those without staged semantics too: of the executors, the oracle cannot do them. */
  readonly unstaged?: boolean;
  /** The first is what the others are held against. */
  readonly executors: readonly Executor[];
}

export interface Report {
  /** By mnemonic; an empty list where all agree. */
  readonly differences: ReadonlyMap<string, readonly string[]>;
  /** Cases compared, by mnemonic. */
  readonly compared: ReadonlyMap<string, number>;
  /** As named by formKey(): the forms of which a case was compared that did not end in a fault on the first executor. */
  readonly formsDone: ReadonlySet<string>;
}

/** A form with a register or with memory where ModRM has the choice. */
export const formKey = (f: Form, memory: boolean): string =>
  `${f.insn.mnemonic}, ${f.text}${f.modrm === 'no' ? '' : memory ? ', memory' : ', register'}`;

const UD = 6;
const SS = 12;
const GP = 13;
/** harness.c. */
const TIMEOUT = 0xff;
const APPROXIMATE = /^R(CP|SQRT)[SP]S$/;

/** So many cases at a time; between two lots the test runner gets its turn, for it gives up a worker that is silent for a minute. */
const LOT = 250;

async function runAll(executors: readonly Executor[], cases: readonly Case[]) {
  const all: { readonly name: string; readonly outcomes: (Outcome | undefined)[] }[] = [];
  for (const e of executors) {
    const outcomes: (Outcome | undefined)[] = [];
    for (let at = 0; at < cases.length; at += LOT) {
      outcomes.push(...e.run(cases.slice(at, at + LOT)));
      await new Promise((done) => setTimeout(done, 1));
    }
    all.push({ name: e.name, outcomes });
  }
  return all;
}

export async function conformance({ instructions, bits, seed, each, unstaged = false, executors }: Job): Promise<Report> {
  const random = new Random(seed);
  const generated = instructions.filter((i) => unstaged || i.sem !== undefined).flatMap((i) => casesFor(random, i, bits, each));
  const cases = generated.map((g) => g.case);
  const [reference, ...others] = await runAll(executors, cases);
  const found = new Map<string, string[]>();
  const compared = new Map<string, number>();
  const formsDone = new Set<string>();
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
      if (want.vector < 0) formsDone.add(formKey(g.form, g.memory));
      const wrong = differences(want, got, definedFlags(g), APPROXIMATE.test(mnemonic), undefinedCodes(mnemonic));
      if (wrong.length > 0) list.push(`${describeCase(g)}, seed ${seed}: ${name} has ${wrong.slice(0, 6).join('; ')}`);
    }
  });
  return { differences: found, compared, formsDone };
}

export interface SequenceJob {
  readonly instructions: readonly AnyInsn[];
  readonly bits: Bits;
  readonly seed: number;
  readonly programs: number;
  /** Instructions in a program, at most. */
  readonly length: number;
  readonly executors: readonly Executor[];
}

/** As conformance(), for programs: one text for each that differs, its instructions below. */
export async function sequenceConformance({ instructions, bits, seed, programs, length, executors }: SequenceJob): Promise<{
  readonly compared: number;
  readonly differences: readonly string[];
}> {
  const random = new Random(seed);
  const maker = new SequenceMaker(random, instructions, bits);
  const made = Array.from({ length: programs }, () => maker.make(1 + random.below(length)));
  const cases = made.map((s) => s.case);
  const [reference, ...others] = await runAll(executors, cases);
  const found: string[] = [];
  let compared = 0;
  made.forEach((s, n) => {
    const want = reference?.outcomes[n];
    // The host lacks an instruction, or a stray write has made a loop endless.
    if (want === undefined || want.vector === UD || want.vector === TIMEOUT) return;
    let mask = ALL_VISIBLE;
    for (const f of s.tainted) mask &= ~FLAG_BITS[f];
    const codes = s.listing.reduce((all, l) => all | undefinedCodes(l.split(' ')[0] ?? ''), 0);
    // A fault in the middle of a repeated comparison: undefined.ts.
    if (want.vector >= 0 && s.listing.some((l) => /^(CMPS|SCAS)/.test(l))) mask = 0n;
    for (const { name, outcomes } of others) {
      const got = outcomes[n];
      if (got === undefined || isCode(got.address)) continue;
      // Misaligned and past the limit of SS: undefined.ts.
      if (want.vector === GP && got.vector === SS && want.rip === got.rip) continue;
      // Which of its two operands CMPS reads first is not defined, so neither is which of two faults it raises.
      if (want.vector >= 0 && got.vector >= 0 && s.listing.at(-1)?.startsWith('CMPS')) continue;
      compared++;
      const wrong = differences(want, got, mask, false, codes);
      if (wrong.length > 0)
        found.push(`program ${n} of seed ${seed}, ${bits}-bit: ${name} has ${wrong.slice(0, 6).join('; ')}\n  ${s.listing.join('\n  ')}`);
    }
  });
  return { compared, differences: found };
}
