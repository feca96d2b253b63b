// What staged floating point asks before it takes WebAssembly's result for x86's: that nothing special can have happened. WebAssembly
// rounds to nearest and knows no flags; where a flag may have to be raised, a NaN chosen, or another rounding obeyed, the instruction is
// given up to TypeScript (system/sse/), which is exact.
//
// The checks come in two steps. The first is short and passes nearly always: operands and result are ordinary numbers, and MXCSR hides
// inexactness, because the precision exception is masked and its flag is set already, as it is soon after any program's first quotient. The
// second, behind a branch that is rarely taken, knows zeros, and results that are exact in spite of a clear flag: a program whose doubles
// are integers never sets it.

import type { Builder, Readable } from '../stage/builder.ts';
import { STATE } from '../state.ts';
import { MXCSR } from '../system/sse/mxcsr.ts';
import { low32, maskX } from './sse-common.ts';

export type Kind = 'f32' | 'f64';
export type Lanes = 'f32x4' | 'f64x2';

const both = (lo: bigint): readonly [bigint, bigint] => [lo, lo];

interface Limits {
  /** Left shift that brings the magnitude of a pattern to the top of 64 bits. */
  readonly shift: number;
  /** Smallest normal number and infinity, as magnitudes shifted so; and 2^31 and 2^63. */
  readonly smallest: bigint;
  readonly infinity: bigint;
  readonly two31: bigint;
  readonly two63: bigint;
  /** The same in all elements of a vector, and the bits that tell quiet from signaling NaNs. */
  readonly smallestX: readonly [bigint, bigint];
  readonly infinityX: readonly [bigint, bigint];
  readonly two31X: readonly [bigint, bigint];
  readonly quiet: bigint;
  readonly quietX: readonly [bigint, bigint];
  /** Bits of the fraction that are zero when the product of two such numbers is exact. */
  readonly lowHalfX: readonly [bigint, bigint];
  /** Name of the shape for bit masks and equality, and the mask of all elements. */
  readonly integer: 'i32x4' | 'i64x2';
  readonly all: number;
}
export const LIMITS: Readonly<Record<Kind, Limits>> = {
  f32: {
    shift: 33,
    smallest: 1n << 56n,
    infinity: 0xffn << 56n,
    two31: (127n + 31n) << 56n,
    two63: (127n + 63n) << 56n,
    smallestX: both(0x0080000000800000n),
    infinityX: both(0x7f8000007f800000n),
    two31X: both(0x4f0000004f000000n),
    quiet: 1n << 22n,
    quietX: both(0x0040000000400000n),
    lowHalfX: both(0x00000fff00000fffn),
    integer: 'i32x4',
    all: 15,
  },
  f64: {
    shift: 1,
    smallest: 1n << 53n,
    infinity: 0x7ffn << 53n,
    two31: (1023n + 31n) << 53n,
    two63: (1023n + 63n) << 53n,
    smallestX: both(1n << 52n),
    infinityX: both(0x7ffn << 52n),
    two31X: both((1023n + 31n) << 52n),
    quiet: 1n << 51n,
    quietX: both(1n << 51n),
    lowHalfX: both((1n << 27n) - 1n),
    integer: 'i64x2',
    all: 3,
  },
};
export const kindOf = (lanes: Lanes): Kind => (lanes === 'f32x4' ? 'f32' : 'f64');

// --- the lowest element, in and out of a vector

/** An operand's lowest element in a vector; what the others hold is of no account. */
export const lowest = <V, X>(b: Builder<V, X>, k: Kind, o: Readable): X =>
  o.isReg ? b.x.read(o, false) : b.x.make(k === 'f32' ? low32(b, o) : b.read(o), b.k(0));
export const element = <V, X>(b: Builder<V, X>, k: Kind, v: X): V => (k === 'f32' ? b.zext(b.x.lane(v, 0), 4) : b.x.lane(v, 0));
const BYTES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/** `rest` with the lowest element of r. */
export const withLowest = <V, X>(b: Builder<V, X>, lanes: Lanes, r: X, rest: X): X =>
  b.x.shuffle(
    r,
    rest,
    BYTES.map((n) => (n < (lanes === 'f32x4' ? 4 : 8) ? n : n + 16)),
  );
/** For `everywhere`: in the lowest element. */
export const LOWEST = 1;

// --- MXCSR

/** Rounding is to nearest, and an inexact result changes nothing: PE is masked, and set. */
export const inexactPasses = <V, X>(b: Builder<V, X>): V =>
  b.eq(b.and(b.state(STATE.mxcsr, 4), b.k(MXCSR.RC | MXCSR.PM | MXCSR.PE)), b.k(MXCSR.PM | MXCSR.PE));
/** As inexactPasses, for what does not round by MXCSR.RC. */
export const inexactPassesTruncating = <V, X>(b: Builder<V, X>): V =>
  b.eq(b.and(b.state(STATE.mxcsr, 4), b.k(MXCSR.PM | MXCSR.PE)), b.k(MXCSR.PM | MXCSR.PE));
export const roundsToNearest = <V, X>(b: Builder<V, X>): V => b.eqz(b.and(b.state(STATE.mxcsr, 4), b.k(MXCSR.RC)));

/** Gives the instruction up unless `first`, or else second(), holds. */
export function unless<V, X>(b: Builder<V, X>, first: V, second: () => V): void {
  b.if(b.eqz(first), () => b.if(b.eqz(second()), () => b.slow()));
}

// --- scalars

export const magnitude = <V, X>(b: Builder<V, X>, k: Kind, v: V): V => b.shl(v, b.k(LIMITS[k].shift));
/** Finite and above the smallest normal number: a tiny result that was rounded up to that one has underflowed. */
export function isOrdinary<V, X>(b: Builder<V, X>, k: Kind, v: V): V {
  const { smallest, infinity } = LIMITS[k];
  return b.ltU(b.sub(magnitude(b, k, v), b.k(smallest + 1n)), b.k(infinity - smallest - 1n));
}
export function isNormal<V, X>(b: Builder<V, X>, k: Kind, v: V): V {
  const { smallest, infinity } = LIMITS[k];
  return b.ltU(b.sub(magnitude(b, k, v), b.k(smallest)), b.k(infinity - smallest));
}
export const isZero = <V, X>(b: Builder<V, X>, k: Kind, v: V): V => b.eqz(magnitude(b, k, v));
export const isDenormal = <V, X>(b: Builder<V, X>, k: Kind, v: V): V =>
  b.ltU(b.sub(magnitude(b, k, v), b.k(1)), b.k(LIMITS[k].smallest - 1n));
export const isNan = <V, X>(b: Builder<V, X>, k: Kind, v: V): V => b.ltU(b.k(LIMITS[k].infinity), magnitude(b, k, v));
/** A NaN that raises IE wherever it is met. */
export const isSignaling = <V, X>(b: Builder<V, X>, k: Kind, v: V): V => b.and(isNan(b, k, v), b.eqz(b.and(v, b.k(LIMITS[k].quiet))));
/** Zeros that end a double's significand, the implicit bit counted as one. */
export const trailingZeros = <V, X>(b: Builder<V, X>, v: V): V => b.ctz(b.or(v, b.k(1n << 52n)));

// --- vectors: masks of elements, all ones where it holds

export const abs = <V, X>(b: Builder<V, X>, lanes: Lanes, v: X): X => b.x.op1(`${lanes}.abs`, v);
const constant = <V, X>(b: Builder<V, X>, [lo, hi]: readonly [bigint, bigint]): X => b.x.constant(lo, hi);
export const smallestX = <V, X>(b: Builder<V, X>, lanes: Lanes): X => constant(b, LIMITS[kindOf(lanes)].smallestX);
export const infinityX = <V, X>(b: Builder<V, X>, lanes: Lanes): X => constant(b, LIMITS[kindOf(lanes)].infinityX);
export const two31X = <V, X>(b: Builder<V, X>, lanes: Lanes): X => constant(b, LIMITS[kindOf(lanes)].two31X);
export const andX = <V, X>(b: Builder<V, X>, a: X, c: X): X => b.x.op2('v128.and', a, c);
export const orX = <V, X>(b: Builder<V, X>, a: X, c: X): X => b.x.op2('v128.or', a, c);
export const notX = <V, X>(b: Builder<V, X>, a: X): X => b.x.op1('v128.not', a);
/** Whether a mask holds in all elements, or in those of `which`. */
export function everywhere<V, X>(b: Builder<V, X>, lanes: Lanes, mask: X, which = LIMITS[kindOf(lanes)].all): V {
  const { integer, all } = LIMITS[kindOf(lanes)];
  const bits = b.x.bitmask(integer, mask);
  return b.eq(which === all ? bits : b.and(bits, b.k(which)), b.k(which));
}
export const zeroesX = <V, X>(b: Builder<V, X>, lanes: Lanes, v: X): X => b.x.op2(`${lanes}.eq`, v, b.x.constant(0n, 0n));
export const denormalsX = <V, X>(b: Builder<V, X>, lanes: Lanes, v: X): X =>
  andX(b, b.x.op2(`${lanes}.lt`, abs(b, lanes, v), smallestX(b, lanes)), notX(b, zeroesX(b, lanes, v)));
export function normalsX<V, X>(b: Builder<V, X>, lanes: Lanes, v: X): X {
  const m = abs(b, lanes, v);
  return andX(b, b.x.op2(`${lanes}.ge`, m, smallestX(b, lanes)), b.x.op2(`${lanes}.lt`, m, infinityX(b, lanes)));
}
/** As isOrdinary: for an inexact result. */
export function ordinariesX<V, X>(b: Builder<V, X>, lanes: Lanes, v: X): X {
  const m = abs(b, lanes, v);
  return andX(b, b.x.op2(`${lanes}.gt`, m, smallestX(b, lanes)), b.x.op2(`${lanes}.lt`, m, infinityX(b, lanes)));
}
export const numbersX = <V, X>(b: Builder<V, X>, lanes: Lanes, v: X): X => b.x.op2(`${lanes}.eq`, v, v);
export const signalingX = <V, X>(b: Builder<V, X>, lanes: Lanes, v: X): X => {
  const { integer, quietX } = LIMITS[kindOf(lanes)];
  const quiet = andX(b, v, constant(b, quietX));
  return andX(b, notX(b, numbersX(b, lanes, v)), b.x.op2(`${integer}.eq`, quiet, b.x.constant(0n, 0n)));
};
/** Elements of which both have half of the fraction's bits at most: their product is exact. */
export const shortX = <V, X>(b: Builder<V, X>, lanes: Lanes, v: X, w: X): X => {
  const { integer, lowHalfX } = LIMITS[kindOf(lanes)];
  return b.x.op2(`${integer}.eq`, andX(b, orX(b, v, w), constant(b, lowHalfX)), b.x.constant(0n, 0n));
};
export const passesX = <V, X>(b: Builder<V, X>, condition: V): X => maskX(b, condition);
