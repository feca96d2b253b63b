// SSE and SSE2 floating point: arithmetic, comparisons, bit operations. Conversions are in sse-convert.ts.
//
// Results are WebAssembly's where the checks of sse-float-check.ts allow it, else the instruction is given up to system/sse/, which is
// exact. RCPPS and RSQRTPS, which hardware approximates to 12 bits, are exact to the last bit here, and raise nothing.

import type { Builder, Readable } from '../stage/builder.ts';
import { setFromEflags } from '../stage/flags.ts';
import { type AnyInsn, insn, OSZAPC } from './insn.ts';
import { low32, maskX, needSse, packed, packedImm } from './sse-common.ts';
import {
  abs,
  andX,
  denormalsX,
  element,
  everywhere,
  inexactPasses,
  infinityX,
  isDenormal,
  isNan,
  isNormal,
  isOrdinary,
  isSignaling,
  isZero,
  type Kind,
  kindOf,
  type Lanes,
  LOWEST,
  lowest,
  normalsX,
  notX,
  numbersX,
  ordinariesX,
  orX,
  passesX,
  roundsToNearest,
  shortX,
  signalingX,
  smallestX,
  trailingZeros,
  unless,
  withLowest,
  zeroesX,
} from './sse-float-check.ts';

export * from './sse-convert.ts';

export const scalarValue = <V>(b: Builder<V>, k: Kind, o: Readable): V => (k === 'f32' ? low32(b, o) : b.read(o));

/** dst.low = f(dst, src).low, computed in whole registers: between them and general ones the way is long. */
const scalar = (mnemonic: string, forms: string, lanes: Lanes, f: <V, X>(b: Builder<V, X>, d: X, s: X) => X): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2, ${mnemonic}`,
    forms,
    cpuid: lanes === 'f32x4' ? 'sse' : 'sse2',
    operands: { dst: 'rw', src: 'r' },
    sem(b, { dst, src }) {
      needSse(b);
      const s = lowest(b, kindOf(lanes), src);
      const d = b.x.read(dst, false);
      b.x.write(dst, withLowest(b, lanes, f(b, d, s), d), false);
    },
  });

/** The four forms PS, PD, SS, SD of one operation. */
function family(
  name: string,
  opcode: string,
  onVector: <V, X>(b: Builder<V, X>, lanes: Lanes, d: X, s: X) => X,
  onScalar: <V, X>(b: Builder<V, X>, lanes: Lanes, d: X, s: X) => X,
): AnyInsn[] {
  return [
    packed(`${name}PS`, `NP 0F ${opcode} /r Vx,Wx`, (b, d, s) => onVector(b, 'f32x4', d, s), 'sse'),
    packed(`${name}PD`, `66 0F ${opcode} /r Vx,Wx`, (b, d, s) => onVector(b, 'f64x2', d, s)),
    scalar(`${name}SS`, `F3 0F ${opcode} /r Vss,Wss`, 'f32x4', (b, d, s) => onScalar(b, 'f32x4', d, s)),
    scalar(`${name}SD`, `F2 0F ${opcode} /r Vsd,Wsd`, 'f64x2', (b, d, s) => onScalar(b, 'f64x2', d, s)),
  ];
}

type Operation = 'add' | 'sub' | 'mul' | 'div' | 'sqrt';

/** What is special about an operation: when a zero may come out of it with no event, and when a result is exact. */
interface Rules {
  readonly zero: <V, X>(b: Builder<V, X>, k: Kind, x: V, y: V) => V;
  readonly exact: <V, X>(b: Builder<V, X>, k: Kind, x: V, y: V, r: V) => V;
  readonly zeroX: <V, X>(b: Builder<V, X>, lanes: Lanes, x: X, y: X) => X;
  /** May say no where the answer is yes. */
  readonly exactX: <V, X>(b: Builder<V, X>, lanes: Lanes, x: X, y: X, r: X) => X;
}

const floatZero = <V, X>(b: Builder<V, X>, k: Kind, v: V): V => b.x.fcmp(k, 'eq', v, b.k(0));
/** The error of a sum, by Knuth's TwoSum: (x - (r - t)) + (y - t) with t = r - x. Where a step overflows it comes out as a NaN. */
const sumIsExact = <V, X>(b: Builder<V, X>, k: Kind, x: V, y: V, r: V, subtract: boolean): V => {
  const f = b.x[k];
  const t = f('sub', r, x);
  const left = f('sub', x, f('sub', r, t));
  return floatZero(b, k, subtract ? f('sub', left, f('add', y, t)) : f('add', left, f('sub', y, t)));
};
const sumIsExactX = <V, X>(b: Builder<V, X>, lanes: Lanes, x: X, y: X, r: X, subtract: boolean): X => {
  const f = (op: 'add' | 'sub', p: X, q: X): X => b.x.op2(`${lanes}.${op}`, p, q);
  const t = f('sub', r, x);
  const left = f('sub', x, f('sub', r, t));
  return zeroesX(b, lanes, subtract ? f('sub', left, f('add', y, t)) : f('add', left, f('sub', y, t)));
};
/** Products of two singles are exact doubles; those of doubles whose significands have 53 bits between them, too. */
const double = <V, X>(b: Builder<V, X>, v: V): V => b.x.convert('f64.from.f32', v);
const productIs = <V, X>(b: Builder<V, X>, k: Kind, p: V, q: V, product: V): V =>
  k === 'f32'
    ? b.x.fcmp('f64', 'eq', b.x.f64('mul', double(b, p), double(b, q)), double(b, product))
    : b.and(b.leU(b.k(53), b.add(trailingZeros(b, p), trailingZeros(b, q))), b.x.fcmp('f64', 'eq', b.x.f64('mul', p, q), product));
const productIsX = <V, X>(b: Builder<V, X>, lanes: Lanes, p: X, q: X, product: X): X =>
  andX(b, shortX(b, lanes, p, q), b.x.op2(`${lanes}.eq`, b.x.op2(`${lanes}.mul`, p, q), product));

/** A sum that is zero is exact; its sign depends on the rounding. */
const sum = (subtract: boolean): Rules => ({
  zero: (b) => roundsToNearest(b),
  exact: (b, k, x, y, r) => sumIsExact(b, k, x, y, r, subtract),
  zeroX: (b) => passesX(b, roundsToNearest(b)),
  exactX: (b, lanes, x, y, r) => sumIsExactX(b, lanes, x, y, r, subtract),
});
const RULES: Readonly<Record<Operation, Rules>> = {
  add: sum(false),
  sub: sum(true),
  mul: {
    zero: (b, k, x, y) => b.or(isZero(b, k, x), isZero(b, k, y)),
    exact: (b, k, x, y, r) => productIs(b, k, x, y, r),
    zeroX: (b, lanes, x, y) => orX(b, zeroesX(b, lanes, x), zeroesX(b, lanes, y)),
    exactX: (b, lanes, x, y) => shortX(b, lanes, x, y),
  },
  div: {
    zero: (b, k, x) => isZero(b, k, x),
    exact: (b, k, x, y, r) => productIs(b, k, r, y, x),
    zeroX: (b, lanes, x) => zeroesX(b, lanes, x),
    exactX: (b, lanes, x, y, r) => productIsX(b, lanes, r, y, x),
  },
  sqrt: {
    zero: (b) => b.k(1),
    exact: (b, k, x, _y, r) => productIs(b, k, r, r, x),
    zeroX: (b, lanes, x) => zeroesX(b, lanes, x),
    exactX: (b, lanes, x, _y, r) => productIsX(b, lanes, r, r, x),
  },
};

/** The operation on all elements; where each operand and result is ordinary. A NaN that pmin passes over shows in the result. */
function compute<V, X>(b: Builder<V, X>, lanes: Lanes, op: Operation, x: X, y: X): { r: X; ordinary: X } {
  const r = op === 'sqrt' ? b.x.op1(`${lanes}.${op}`, x) : b.x.op2(`${lanes}.${op}`, x, y);
  const pmin = (p: X, q: X): X => b.x.op2(`${lanes}.pmin`, p, q);
  const result = abs(b, lanes, r);
  const operands = op === 'sqrt' ? abs(b, lanes, x) : pmin(abs(b, lanes, x), abs(b, lanes, y));
  const large = b.x.op2(`${lanes}.gt`, pmin(operands, result), smallestX(b, lanes));
  return { r, ordinary: andX(b, large, b.x.op2(`${lanes}.lt`, result, infinityX(b, lanes))) };
}
/** x op y, or for a root that of x, in the lowest element. What the others hold is of no account, nor is what becomes of it. */
function scalarOperation<V, X>(b: Builder<V, X>, lanes: Lanes, op: Operation, p: X, q: X): X {
  const { r, ordinary } = compute(b, lanes, op, p, q);
  unless(b, b.and(everywhere(b, lanes, ordinary, LOWEST), inexactPasses(b)), () => {
    const k = kindOf(lanes);
    const [x, y, z] = [element(b, k, p), element(b, k, q), element(b, k, r)];
    const { zero, exact } = RULES[op];
    const denormal = b.or(isDenormal(b, k, x), isDenormal(b, k, y));
    const hidden = b.and(isOrdinary(b, k, z), inexactPasses(b));
    const number = b.and(isNormal(b, k, z), b.or(hidden, exact(b, k, x, y, z)));
    return b.and(b.eqz(denormal), b.or(number, b.and(isZero(b, k, z), zero(b, k, x, y))));
  });
  return r;
}
export function vectorOperation<V, X>(b: Builder<V, X>, lanes: Lanes, op: Operation, x: X, y: X): X {
  const { r, ordinary } = compute(b, lanes, op, x, y);
  unless(b, b.and(everywhere(b, lanes, ordinary), inexactPasses(b)), () => {
    const { zeroX: zero, exactX: exact } = RULES[op];
    const denormal = orX(b, denormalsX(b, lanes, x), denormalsX(b, lanes, y));
    const hidden = andX(b, ordinariesX(b, lanes, r), passesX(b, inexactPasses(b)));
    const number = andX(b, normalsX(b, lanes, r), orX(b, hidden, exact(b, lanes, x, y, r)));
    const none = andX(b, zeroesX(b, lanes, r), zero(b, lanes, x, y));
    return everywhere(b, lanes, andX(b, notX(b, denormal), orX(b, number, none)));
  });
  return r;
}

const arithmetic = (name: string, opcode: string, op: Operation) =>
  family(
    name,
    opcode,
    (b, lanes, d, s) => vectorOperation(b, lanes, op, op === 'sqrt' ? s : d, s),
    (b, lanes, d, s) => scalarOperation(b, lanes, op, op === 'sqrt' ? s : d, s),
  );

/** What is compared raises nothing: no denormals, and no NaNs, or where quiet ones do not matter no signaling ones. */
function comparable<V, X>(b: Builder<V, X>, k: Kind, x: V, y: V, quietPasses: V): void {
  unless(b, b.and(isOrdinary(b, k, x), isOrdinary(b, k, y)), () => {
    const either = (is: typeof isNan): V => b.or(is(b, k, x), is(b, k, y));
    return b.eqz(b.or(either(isDenormal), b.or(either(isSignaling), b.and(either(isNan), b.eqz(quietPasses)))));
  });
}
function comparableX<V, X>(b: Builder<V, X>, lanes: Lanes, x: X, y: X, quietPasses: V, which?: number): void {
  unless(b, everywhere(b, lanes, andX(b, ordinariesX(b, lanes, x), ordinariesX(b, lanes, y)), which), () => {
    const neither = (is: typeof denormalsX): X => notX(b, orX(b, is(b, lanes, x), is(b, lanes, y)));
    const ordered = andX(b, numbersX(b, lanes, x), numbersX(b, lanes, y));
    const quiet = orX(b, ordered, passesX(b, quietPasses));
    return everywhere(b, lanes, andX(b, quiet, andX(b, neither(denormalsX), neither(signalingX))), which);
  });
}

/** MIN: dst < src ? dst : src, so that the source is returned for equal zeros (SDM Vol 2B, MINPS). */
const extreme = (name: string, opcode: string, min: boolean) => {
  const on =
    (which?: number) =>
    <V, X>(b: Builder<V, X>, lanes: Lanes, d: X, s: X): X => {
      comparableX(b, lanes, d, s, b.k(0), which);
      return b.x.op2(`${lanes}.${min ? 'pmin' : 'pmax'}`, s, d);
    };
  return family(name, opcode, on(), on(LOWEST));
};
export const ARITHMETIC: readonly AnyInsn[] = [
  ...arithmetic('ADD', '58', 'add'),
  ...arithmetic('MUL', '59', 'mul'),
  ...arithmetic('SUB', '5C', 'sub'),
  ...arithmetic('DIV', '5E', 'div'),
  ...extreme('MIN', '5D', true),
  ...extreme('MAX', '5F', false),
  ...arithmetic('SQRT', '51', 'sqrt'),
];

const ONE = 0x3f8000003f800000n;
const EXPONENT = 0x7f8000007f800000n;
const SIGN = 0x8000000080000000n;
const QUIET = 0x0040000000400000n;
const INDEFINITE = 0xffc00000ffc00000n;
const all = <V, X>(b: Builder<V, X>, pattern: bigint): X => b.x.constant(pattern, pattern);
/** The approximations take denormals for zeros and give zeros for them, whatever MXCSR says (SDM Vol 2B, RCPPS). */
const flush = <V, X>(b: Builder<V, X>, v: X): X => {
  const denormal = b.x.op2('i32x4.eq', andX(b, v, all(b, EXPONENT)), b.x.constant(0n, 0n));
  return b.x.bitselect(andX(b, v, all(b, SIGN)), v, denormal);
};
/** NaNs are chosen here: WebAssembly leaves it to its host which one comes out. */
const orNaN = <V, X>(b: Builder<V, X>, source: X, r: X): X => b.x.bitselect(r, orX(b, source, all(b, QUIET)), numbersX(b, 'f32x4', source));
const reciprocal = <V, X>(b: Builder<V, X>, s: X): X => orNaN(b, s, flush(b, b.x.op2('f32x4.div', all(b, ONE), flush(b, s))));
const reciprocalRoot = <V, X>(b: Builder<V, X>, s: X): X => {
  const v = flush(b, s);
  const r = b.x.op2('f32x4.div', all(b, ONE), b.x.op1('f32x4.sqrt', v));
  return orNaN(b, s, b.x.bitselect(all(b, INDEFINITE), r, b.x.op2('f32x4.lt', v, b.x.constant(0n, 0n))));
};
export const RECIPROCALS: readonly AnyInsn[] = [
  packed('RCPPS', 'NP 0F 53 /r Vx,Wx', (b, _d, s) => reciprocal(b, s), 'sse'),
  scalar('RCPSS', 'F3 0F 53 /r Vss,Wss', 'f32x4', (b, _d, s) => reciprocal(b, s)),
  packed('RSQRTPS', 'NP 0F 52 /r Vx,Wx', (b, _d, s) => reciprocalRoot(b, s), 'sse'),
  scalar('RSQRTSS', 'F3 0F 52 /r Vss,Wss', 'f32x4', (b, _d, s) => reciprocalRoot(b, s)),
];

const logic = (name: string, opcode: string, f: <V, X>(b: Builder<V, X>, d: X, s: X) => X): AnyInsn[] => [
  packed(`${name}PS`, `NP 0F ${opcode} /r Vx,Wx`, f, 'sse'),
  packed(`${name}PD`, `66 0F ${opcode} /r Vx,Wx`, f),
];
export const LOGIC: readonly AnyInsn[] = [
  ...logic('AND', '54', (b, d, s) => b.x.op2('v128.and', d, s)),
  ...logic('ANDN', '55', (b, d, s) => b.x.op2('v128.andnot', s, d)),
  ...logic('OR', '56', (b, d, s) => b.x.op2('v128.or', d, s)),
  ...logic('XOR', '57', (b, d, s) => b.x.op2('v128.xor', d, s)),
];

/** ZF PF CF: 111 unordered, 001 less, 100 equal, 000 greater; OF SF AF cleared. COMI differs only in raising on a quiet NaN. */
const compareFlags = (mnemonic: string, forms: string, k: Kind, signaling: boolean): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2, ${mnemonic}`,
    forms,
    cpuid: k === 'f32' ? 'sse' : 'sse2',
    operands: { a: 'r', c: 'r' },
    flags: { writes: OSZAPC },
    sem(b, { a, c }) {
      needSse(b);
      const x = scalarValue(b, k, a);
      const y = scalarValue(b, k, c);
      comparable(b, k, x, y, b.k(signaling ? 0 : 1));
      const unordered = b.eqz(b.and(b.x.fcmp(k, 'eq', x, x), b.x.fcmp(k, 'eq', y, y)));
      const cf = b.or(unordered, b.x.fcmp(k, 'lt', x, y));
      const zf = b.or(unordered, b.x.fcmp(k, 'eq', x, y));
      setFromEflags(b, b.or(b.or(cf, b.shl(unordered, b.k(2))), b.shl(zf, b.k(6))));
    },
  });
export const COMPARE_FLAGS: readonly AnyInsn[] = [
  compareFlags('UCOMISS', 'NP 0F 2E /r Vss,Wss', 'f32', false),
  compareFlags('UCOMISD', '66 0F 2E /r Vsd,Wsd', 'f64', false),
  compareFlags('COMISS', 'NP 0F 2F /r Vss,Wss', 'f32', true),
  compareFlags('COMISD', '66 0F 2F /r Vsd,Wsd', 'f64', true),
];

/** Predicates 0..3 EQ LT LE UNORD, bit 2 negates (SDM Vol 2A, Table 3-1). LT and LE, 1 and 2, raise IE on quiet NaNs too. */
const quietPredicate = <V, X>(b: Builder<V, X>, imm: V): V => b.eqz(b.and(b.xor(imm, b.shr(imm, b.k(1))), b.k(1)));
const compareBy = (lanes: Lanes, which?: number) =>
  function compare<V, X>(b: Builder<V, X>, d: X, s: X, imm: V): X {
    comparableX(b, lanes, d, s, quietPredicate(b, imm), which);
    const bit = (n: number): V => b.and(b.shr(imm, b.k(n)), b.k(1));
    const [one, two] = [bit(0), bit(1)];
    // EQ is in EQ and LE, LT in LT and LE.
    const equal = andX(b, b.x.op2(`${lanes}.eq`, d, s), maskX(b, b.eqz(one)));
    const less = andX(b, b.x.op2(`${lanes}.lt`, d, s), maskX(b, b.xor(one, two)));
    const ordered = andX(b, numbersX(b, lanes, d), numbersX(b, lanes, s));
    const unordered = andX(b, notX(b, ordered), maskX(b, b.and(one, two)));
    return b.x.op2('v128.xor', orX(b, orX(b, equal, less), unordered), maskX(b, bit(2)));
  };
const compareScalar = (mnemonic: string, forms: string, lanes: Lanes): AnyInsn =>
  insn(mnemonic, {
    sdm: `Vol 2A, ${mnemonic}`,
    forms,
    cpuid: lanes === 'f32x4' ? 'sse' : 'sse2',
    operands: { dst: 'rw', src: 'r', imm: 'r' },
    sem(b, { dst, src, imm }) {
      needSse(b);
      const s = lowest(b, kindOf(lanes), src);
      const d = b.x.read(dst, false);
      b.x.write(dst, withLowest(b, lanes, compareBy(lanes, LOWEST)(b, d, s, b.read(imm)), d), false);
    },
  });
export const COMPARES: readonly AnyInsn[] = [
  packedImm('CMPPS', 'NP 0F C2 /r Vx,Wx,Ib', compareBy('f32x4'), 'sse'),
  packedImm('CMPPD', '66 0F C2 /r Vx,Wx,Ib', compareBy('f64x2')),
  compareScalar('CMPSS', 'F3 0F C2 /r Vss,Wss,Ib', 'f32x4'),
  compareScalar('CMPSD', 'F2 0F C2 /r Vsd,Wsd,Ib', 'f64x2'),
];
