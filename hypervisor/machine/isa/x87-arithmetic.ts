// The semantics of x87 arithmetic and comparisons on ordinary operands (SDM Vol 1, 8.3.5, 8.3.6). For all others, and where the stack
// under- or overflows, they give the instruction up to system/x87/.

import type { Builder, Operand, Readable, Subroutine } from '../stage/builder.ts';
import { setFromEflags } from '../stage/flags.ts';
import { EFLAGS } from '../state.ts';
import { ROUND_TO_INTEGER } from './x87-convert.ts';
import { DIVIDE, REMAINDER, SCALE, SQUARE_ROOT } from './x87-divide.ts';
import { ADD, COMPARE, MULTIPLY } from './x87-float.ts';
import { fromInteger, fromMemory, type MemoryKind } from './x87-memory.ts';
import { BIAS, isInRange, MAX_EXPONENT, SIGN, TOP } from './x87-round.ts';
import { type Float, flagsOf, Unit } from './x87-unit.ts';
import { C0, C1, C2, C3 } from './x87-word.ts';

/** A source operand: what it needs is said now, before check(); it is read when the answer is called. */
function source<V, X>(u: Unit<V, X>, o: Readable, kind: MemoryKind): () => Float<V> {
  if (!o.isReg) return () => fromMemory(u.b, o, kind);
  const register = u.operand(o);
  u.require(register);
  return () => u.get(register);
}

/** What an instruction makes of its two operands, in order. */
export interface Operation {
  readonly f: Subroutine;
  readonly reversed: boolean;
  /** The operand that is taken away has its sign turned. */
  readonly negates: boolean;
}
const operation = (f: Subroutine, reversed = false, negates = false): Operation => ({ f, reversed, negates });
export const OPERATIONS = {
  add: operation(ADD),
  multiply: operation(MULTIPLY),
  subtract: operation(ADD, false, true),
  subtractReversed: operation(ADD, true, true),
  divide: operation(DIVIDE),
  divideReversed: operation(DIVIDE, true),
} as const;

interface Arithmetic {
  readonly kind?: MemoryKind;
  readonly pops?: boolean;
}

/** dst = dst op src. */
export const arithmetic =
  ({ f, reversed, negates }: Operation, { kind = 'float', pops = false }: Arithmetic = {}) =>
  <V, X>(b: Builder<V, X>, { dst, src }: { dst: Operand<'rw'>; src: Operand<'r'> }): void => {
    const u = new Unit(b);
    const target = u.operand(dst);
    u.require(target);
    u.requirePrecisionMasked();
    const second = source(u, src, kind);
    u.check();
    const y = second();
    const x = u.get(target);
    const [left, right] = reversed ? [y, x] : [x, y];
    const [sig, status] = b.call(f, left.sig, left.se, right.sig, negates ? b.xor(right.se, b.k(SIGN)) : right.se, u.word);
    u.accept(status);
    u.replace(target, { sig, se: status });
    u.setStatus(flagsOf(b, status));
    if (pops) u.pop();
    u.finish(src);
  };

interface Comparison {
  readonly kind?: MemoryKind;
  readonly pops?: 0 | 1 | 2;
  /** The answer goes to ZF, PF and CF. */
  readonly toFlags?: boolean;
}

/** ST0 with what `second` gives. */
function compareWith<V, X>(u: Unit<V, X>, second: () => Float<V>, { pops = 0, toFlags = false }: Comparison, memory?: Operand): void {
  const { b } = u;
  const top = u.top();
  u.require(top);
  u.check();
  const y = second();
  const x = u.get(top);
  const [less, equal] = b.call(COMPARE, x.sig, x.se, y.sig, y.se);
  u.accept(equal);
  const codes = (ifLess: number | bigint, ifEqual: number | bigint): V =>
    b.or(b.select(less, b.k(ifLess), b.k(0)), b.select(equal, b.k(ifEqual), b.k(0)));
  if (toFlags) u.setStatus(undefined);
  else u.setStatus(codes(C0, C3), C0 | C2 | C3);
  for (let i = 0; i < pops; i++) u.pop();
  u.finish(memory);
  if (toFlags) setFromEflags(b, codes(EFLAGS.CF, EFLAGS.ZF));
}

export const comparison =
  (c: Comparison = {}) =>
  <V, X>(b: Builder<V, X>, { b: second }: { b: Operand<'r'> }): void => {
    const u = new Unit(b);
    compareWith(u, source(u, second, c.kind ?? 'float'), c, second);
  };

/** FCOMPP and FUCOMPP: with ST1. */
export function compareAndPopBoth<V, X>(b: Builder<V, X>): void {
  const u = new Unit(b);
  const register = u.st(b.k(16));
  u.require(register);
  compareWith(u, () => u.get(register), { pops: 2 });
}

export function FTST<V, X>(b: Builder<V, X>): void {
  compareWith(new Unit(b), () => ({ sig: b.k(0), se: b.k(0) }), {});
}

export function FXAM<V, X>(b: Builder<V, X>): void {
  const u = new Unit(b);
  u.check();
  const top = u.top();
  const { sig, se } = u.get(top);
  const e = b.and(se, b.k(MAX_EXPONENT));
  const hasIntegerBit = b.ltS(sig, b.k(0));
  const zeroOrDenormal = b.select(sig, b.k(C3 | C2), b.k(C3));
  const finite = b.select(e, b.select(hasIntegerBit, b.k(C2), b.k(0)), zeroOrDenormal);
  const special = b.select(b.eq(sig, b.k(TOP)), b.k(C2 | C0), b.select(hasIntegerBit, b.k(C0), b.k(0)));
  const kind = b.select(b.eq(e, b.k(MAX_EXPONENT)), special, finite);
  const codes = b.select(u.isEmpty(top), b.k(C3 | C0), kind);
  u.setStatus(b.or(codes, b.select(b.and(se, b.k(SIGN)), b.k(C1), b.k(0))), C0 | C2 | C3);
  u.finish();
}

/** FCHS and FABS: any contents will do. */
export const sign =
  (change: 'turn' | 'clear') =>
  <V, X>(b: Builder<V, X>): void => {
    const u = new Unit(b);
    const top = u.top();
    u.require(top);
    u.check();
    const { sig, se } = u.get(top);
    u.replace(top, { sig, se: change === 'turn' ? b.xor(se, b.k(SIGN)) : b.and(se, b.k(MAX_EXPONENT)) });
    u.setStatus(undefined);
    u.finish();
  };

export function FSQRT<V, X>(b: Builder<V, X>): void {
  const u = new Unit(b);
  const top = u.top();
  u.require(top);
  u.requirePrecisionMasked();
  u.check();
  const x = u.get(top);
  const [sig, status] = b.call(SQUARE_ROOT, x.sig, x.se, u.word);
  u.accept(status);
  u.replace(top, { sig, se: status });
  u.setStatus(flagsOf(b, status));
  u.finish();
}

export function FRNDINT<V, X>(b: Builder<V, X>): void {
  const u = new Unit(b);
  const top = u.top();
  u.require(top);
  u.requirePrecisionMasked();
  u.check();
  const { sig, se } = u.get(top);
  const [n, status] = b.call(ROUND_TO_INTEGER, sig, se, u.word);
  u.accept(status);
  const shift = b.clz(n);
  const exponent = b.select(n, b.sub(b.k(BIAS + 63), shift), b.k(0));
  u.replace(top, { sig: b.shl(n, shift), se: b.or(exponent, b.and(se, b.k(SIGN))) });
  u.setStatus(flagsOf(b, status));
  u.finish();
}

export function FSCALE<V, X>(b: Builder<V, X>): void {
  const u = new Unit(b);
  const [top, second] = [u.top(), u.st(b.k(16))];
  u.require(top);
  u.require(second);
  u.check();
  const [x, y] = [u.get(top), u.get(second)];
  const [sig, status] = b.call(SCALE, x.sig, x.se, y.sig, y.se);
  u.accept(status);
  u.replace(top, { sig, se: status });
  u.setStatus(undefined);
  u.finish();
}

/** FPREM and FPREM1, where one step is enough: exponents less than 64 apart. */
export const remainder =
  (nearest: boolean) =>
  <V, X>(b: Builder<V, X>): void => {
    const u = new Unit(b);
    const [top, second] = [u.top(), u.st(b.k(16))];
    u.require(top);
    u.require(second);
    u.check();
    const [x, y] = [u.get(top), u.get(second)];
    const [sig, status] = b.call(REMAINDER, x.sig, x.se, y.sig, y.se, b.k(nearest ? 1 : 0));
    u.accept(status);
    u.replace(top, { sig, se: status });
    u.setStatus(flagsOf(b, status), C0 | C2 | C3);
    u.finish();
  };

/** Exponent and significand of a normal number. */
export function FXTRACT<V, X>(b: Builder<V, X>): void {
  const u = new Unit(b);
  const top = u.top();
  u.require(top);
  const room = u.room();
  u.check();
  const { sig, se } = u.get(top);
  const e = b.and(se, b.k(MAX_EXPONENT));
  const isNormal = b.and(b.ltS(sig, b.k(0)), isInRange(b, e));
  b.if(b.eqz(isNormal), () => b.slow());
  u.replace(top, fromInteger(b, b.sub(e, b.k(BIAS))));
  u.setStatus(undefined);
  u.push(room, { sig, se: b.or(b.and(se, b.k(SIGN)), b.k(BIAS)) });
  u.finish();
}
