// FADD ... FDIVR in all forms, comparisons, FXAM, FTST, and the functions that need only exact arithmetic (SDM Vol 1, 8.3.5, 8.3.6).

import type { Decoded } from '../../isa/decoded.ts';
import { EFLAGS } from '../../state.ts';
import { add, compare, divide, extract, multiply, remainder, roundToInteger, scale, squareRoot, subtract } from './arithmetic.ts';
import type { F80 } from './float80.ts';
import { INDEFINITE, kindOf, signOf, withSign, zero } from './float80.ts';
import type { X87Handler } from './operations.ts';
import { loadFloat, loadInteger, memorySize, operation, stackIndex } from './operations.ts';
import type { Env } from './round.ts';
import { EX } from './round.ts';
import { type Fpu, FSW } from './unit.ts';

type Binary = (a: F80, b: F80, env: Env) => F80;
const reversed =
  (op: Binary): Binary =>
  (a, b, env) =>
    op(b, a, env);

/** The second operand: memory as float or integer, or a stack register, which must not be empty. */
function source(f: Fpu, d: Decoded, integer: boolean): F80 | 'empty' | undefined {
  if (memorySize(d, 1)) return integer ? loadInteger(f, d, 1) : loadFloat(f, d, 1);
  return f.isEmpty(stackIndex(d, 1)) ? 'empty' : f.get(stackIndex(d, 1));
}

const arithmetic = (op: Binary, { pop = false, integer = false } = {}): X87Handler =>
  operation((f, d) => {
    const target = stackIndex(d, 0);
    const b = source(f, d, integer);
    if (b === undefined) return false;
    let value = INDEFINITE;
    if (b === 'empty' || f.isEmpty(target)) {
      // An underflow hides what the conversion of a memory operand met.
      f.env.flags = EX.IE | EX.SF;
    } else value = op(f.get(target), b, f.env);
    if (f.stopped) return true;
    f.set(target, value);
    if (pop) f.pop();
    return true;
  });

const family = (op: Binary) => ({
  plain: arithmetic(op),
  pop: arithmetic(op, { pop: true }),
  integer: arithmetic(op, { integer: true }),
});
const sum = family(add);
const difference = family(subtract);
const reversedDifference = family(reversed(subtract));
const product = family(multiply);
const quotient = family(divide);
const reversedQuotient = family(reversed(divide));

/** Condition codes of a comparison of ST0 with its operand. */
const CODES = { '1': 0, '-1': FSW.C0, '0': FSW.C3 } as const;
const UNORDERED = FSW.C0 | FSW.C2 | FSW.C3;

interface CompareOptions {
  readonly quiet?: boolean;
  readonly integer?: boolean;
  readonly pops?: number;
  /** ST1 without an operand (FCOMPP), or the constant zero (FTST). */
  readonly implicit?: 'st1' | 'zero';
  /** Result to ZF, PF and CF. */
  readonly toFlags?: boolean;
}

const comparison = ({ quiet = false, integer = false, pops = 0, implicit, toFlags = false }: CompareOptions): X87Handler =>
  operation((f, d) => {
    const b = implicit === 'zero' ? zero(0) : implicit === 'st1' ? (f.isEmpty(1) ? 'empty' : f.get(1)) : source(f, d, integer);
    if (b === undefined) return false;
    let order: -1 | 0 | 1 | undefined;
    if (b === 'empty' || f.isEmpty(0)) f.env.flags = EX.IE | EX.SF;
    else order = compare(f.get(0), b, quiet, f.env);
    // The codes are set masked or not (the manual has them only for masked exceptions; processors set them always).
    const codes = order === undefined ? UNORDERED : CODES[`${order}`];
    if (toFlags) {
      // The codes are where SAHF would put them: C0 to CF, C2 to PF, C3 to ZF; OF, SF and AF are cleared.
      const keep = f.cpu.rflags & ~(EFLAGS.CF | EFLAGS.PF | EFLAGS.AF | EFLAGS.ZF | EFLAGS.SF | EFLAGS.OF);
      const flags = (codes & FSW.C0 ? EFLAGS.CF : 0) | (codes & FSW.C2 ? EFLAGS.PF : 0) | (codes & FSW.C3 ? EFLAGS.ZF : 0);
      f.cpu.rflags = keep | flags;
    } else f.setConditions(codes);
    if (f.stopped) return true;
    for (let i = 0; i < pops; i++) f.pop();
    return true;
  });

const fxam = operation((f) => {
  const classes = {
    unsupported: 0,
    qnan: FSW.C0,
    snan: FSW.C0,
    normal: FSW.C2,
    infinity: FSW.C2 | FSW.C0,
    zero: FSW.C3,
    denormal: FSW.C3 | FSW.C2,
  } as const;
  const v = f.get(0);
  f.setConditions((f.isEmpty(0) ? FSW.C3 | FSW.C0 : classes[kindOf(v)]) | (signOf(v) ? FSW.C1 : 0));
  return true;
});

/** ST0 = op(ST0). */
export const unary = (op: (a: F80, env: Env) => F80): X87Handler =>
  operation((f) => {
    const value = f.require(0) ? op(f.get(0), f.env) : INDEFINITE;
    if (!f.stopped) f.set(0, value);
    return true;
  });

/** ST0 = op(ST0, ST1). C2 says that an operation is not complete; only FPREM leaves one so. */
const withSt1 = (op: (f: Fpu, a: F80, b: F80) => F80, clearsC2 = false): X87Handler =>
  operation((f) => {
    if (clearsC2) f.setC2(false);
    const value = f.require(0, 1) ? op(f, f.get(0), f.get(1)) : INDEFINITE;
    if (!f.stopped) f.set(0, value);
    return true;
  });

const partialRemainder = (nearest: boolean): X87Handler =>
  withSt1((f, a, b) => {
    const r = remainder(a, b, nearest, f.env);
    const q = r.quotient;
    // Without a remainder the quotient bits stay.
    if (f.stopped || q === undefined) return r.value;
    // Low three bits of the quotient, oddly spread: C0 is bit 2, C3 bit 1, C1 bit 0.
    f.setConditions(r.complete ? (q & 4 ? FSW.C0 : 0) | (q & 2 ? FSW.C3 : 0) | (q & 1 ? FSW.C1 : 0) : FSW.C2);
    return r.value;
  }, true);

/** Exponent in ST1, significand in ST0. */
const fxtract = operation((f) => {
  if (!f.require(0)) {
    if (!f.stopped) {
      f.set(0, INDEFINITE);
      f.push(INDEFINITE);
    }
    return true;
  }
  if (f.isFull) {
    if (f.push(INDEFINITE)) f.set(1, INDEFINITE);
    return true;
  }
  const [exponent, significand] = extract(f.get(0), f.env);
  if (f.stopped) return true;
  f.set(0, exponent);
  f.push(significand);
  return true;
});

export const arithmeticHandlers: Readonly<Record<string, X87Handler>> = {
  FADD: sum.plain,
  FADDP: sum.pop,
  FIADD: sum.integer,
  FMUL: product.plain,
  FMULP: product.pop,
  FIMUL: product.integer,
  FSUB: difference.plain,
  FSUBP: difference.pop,
  FISUB: difference.integer,
  FSUBR: reversedDifference.plain,
  FSUBRP: reversedDifference.pop,
  FISUBR: reversedDifference.integer,
  FDIV: quotient.plain,
  FDIVP: quotient.pop,
  FIDIV: quotient.integer,
  FDIVR: reversedQuotient.plain,
  FDIVRP: reversedQuotient.pop,
  FIDIVR: reversedQuotient.integer,
  FCOM: comparison({}),
  FCOMP: comparison({ pops: 1 }),
  FCOMPP: comparison({ pops: 2, implicit: 'st1' }),
  FUCOM: comparison({ quiet: true }),
  FUCOMP: comparison({ quiet: true, pops: 1 }),
  FUCOMPP: comparison({ quiet: true, pops: 2, implicit: 'st1' }),
  FICOM: comparison({ integer: true }),
  FICOMP: comparison({ integer: true, pops: 1 }),
  FCOMI: comparison({ toFlags: true }),
  FCOMIP: comparison({ toFlags: true, pops: 1 }),
  FUCOMI: comparison({ toFlags: true, quiet: true }),
  FUCOMIP: comparison({ toFlags: true, quiet: true, pops: 1 }),
  FTST: comparison({ implicit: 'zero' }),
  FXAM: fxam,
  FSQRT: unary(squareRoot),
  FRNDINT: unary(roundToInteger),
  FCHS: unary((a) => withSign(a, 1 - signOf(a))),
  FABS: unary((a) => withSign(a, 0)),
  FSCALE: withSt1((f, a, b) => scale(a, b, f.env)),
  FPREM: partialRemainder(false),
  FPREM1: partialRemainder(true),
  FXTRACT: fxtract,
};
