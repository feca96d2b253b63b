// The 128-bit part of the oracle: lane by lane, on bigints of 128 bits.

import { STATE } from '../state.ts';
import type { Operand, Readable, SimdBuilder, Writable } from './builder.ts';
import { GP, OracleFault, type SimdHost } from './oracle-state.ts';

const U128 = (1n << 128n) - 1n;

/** Lanes of `bits` bits, lowest first. */
export const lanes = (v: bigint, bits: number): bigint[] =>
  Array.from({ length: 128 / bits }, (_, i) => BigInt.asUintN(bits, v >> BigInt(i * bits)));
export const fromLanes = (values: readonly bigint[], bits: number): bigint =>
  values.reduce((all, v, i) => all | (BigInt.asUintN(bits, v) << BigInt(i * bits)), 0n);

const signed = (bits: number, v: bigint): bigint => BigInt.asIntN(bits, v);
const clamp = (v: bigint, low: bigint, high: bigint): bigint => (v < low ? low : v > high ? high : v);
const mask = (c: boolean): bigint => (c ? -1n : 0n);

type Lane = (a: bigint, b: bigint, bits: number) => bigint;
/** Integer operations of two lanes, zero-extended, by the part of their name after the shape. */
const INTEGER: Readonly<Record<string, Lane>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  add_sat_s: (a, b, n) => saturateS(signed(n, a) + signed(n, b), n),
  sub_sat_s: (a, b, n) => saturateS(signed(n, a) - signed(n, b), n),
  add_sat_u: (a, b, n) => saturateU(a + b, n),
  sub_sat_u: (a, b, n) => saturateU(a - b, n),
  min_s: (a, b, n) => (signed(n, a) < signed(n, b) ? a : b),
  max_s: (a, b, n) => (signed(n, a) > signed(n, b) ? a : b),
  min_u: (a, b) => (a < b ? a : b),
  max_u: (a, b) => (a > b ? a : b),
  avgr_u: (a, b) => (a + b + 1n) >> 1n,
  q15mulr_sat_s: (a, b, n) => saturateS((signed(n, a) * signed(n, b) + 0x4000n) >> 15n, n),
  eq: (a, b) => mask(a === b),
  ne: (a, b) => mask(a !== b),
  lt_s: (a, b, n) => mask(signed(n, a) < signed(n, b)),
  gt_s: (a, b, n) => mask(signed(n, a) > signed(n, b)),
  le_s: (a, b, n) => mask(signed(n, a) <= signed(n, b)),
  ge_s: (a, b, n) => mask(signed(n, a) >= signed(n, b)),
  lt_u: (a, b) => mask(a < b),
  gt_u: (a, b) => mask(a > b),
  le_u: (a, b) => mask(a <= b),
  ge_u: (a, b) => mask(a >= b),
};
const saturateS = (v: bigint, bits: number): bigint => clamp(v, -(1n << BigInt(bits - 1)), (1n << BigInt(bits - 1)) - 1n);
const saturateU = (v: bigint, bits: number): bigint => clamp(v, 0n, (1n << BigInt(bits)) - 1n);

const BITWISE: Readonly<Record<string, (a: bigint, b: bigint) => bigint>> = {
  'v128.and': (a, b) => a & b,
  'v128.or': (a, b) => a | b,
  'v128.xor': (a, b) => a ^ b,
  'v128.andnot': (a, b) => a & ~b & U128,
};

const widthOf = (shape: string): number => Number(/^[if](\d+)x/.exec(shape)?.[1] ?? 0);

// --- floating point on patterns
const scratch = new DataView(new ArrayBuffer(8));
export type Float = 'f32' | 'f64';
export const toNumber = (type: Float, pattern: bigint): number => {
  if (type === 'f32') {
    scratch.setUint32(0, Number(pattern & 0xffffffffn));
    return scratch.getFloat32(0);
  }
  scratch.setBigUint64(0, pattern);
  return scratch.getFloat64(0);
};
export const toPattern = (type: Float, v: number): bigint => {
  if (type === 'f32') {
    scratch.setFloat32(0, v);
    return BigInt(scratch.getUint32(0));
  }
  scratch.setFloat64(0, v);
  return scratch.getBigUint64(0);
};
/** f32 results are rounded twice, which for + - * / sqrt of two f32 gives the same as rounding once. */
const FLOAT: Readonly<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  sqrt: (a) => Math.sqrt(a),
  ceil: (a) => Math.ceil(a),
  floor: (a) => Math.floor(a),
  trunc: (a) => Math.trunc(a),
  nearest: (a) => nearest(a),
};
const COMPARE: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt: (a, b) => a < b,
  gt: (a, b) => a > b,
  le: (a, b) => a <= b,
  ge: (a, b) => a >= b,
};
const quieted = (type: Float, pattern: bigint): bigint => pattern | (type === 'f32' ? 1n << 22n : 1n << 51n);
const REAL_INDEFINITE: Readonly<Record<Float, bigint>> = { f32: 0xffc00000n, f64: 0xfff8000000000000n };

/** An operation on patterns with x86's rules for NaNs: the first operand's, else the second's, else the default (SDM Vol 1, table 4-7). */
function compute(type: Float, op: string, a: bigint, b: bigint | undefined): bigint {
  const f = FLOAT[op];
  if (f === undefined) throw new Error(`the oracle has no ${type} ${op}`);
  const x = toNumber(type, a);
  if (Number.isNaN(x)) return quieted(type, BigInt.asUintN(type === 'f32' ? 32 : 64, a));
  const y = b === undefined ? 0 : toNumber(type, b);
  if (b !== undefined && Number.isNaN(y)) return quieted(type, BigInt.asUintN(type === 'f32' ? 32 : 64, b));
  const r = f(x, y);
  return Number.isNaN(r) ? REAL_INDEFINITE[type] : toPattern(type, r);
}

/** To the nearest integer, ties to even. */
function nearest(a: number): number {
  if (!Number.isFinite(a) || Math.abs(a) >= 2 ** 52) return a;
  const low = Math.floor(a);
  const r = a - low < 0.5 ? low : a - low > 0.5 ? low + 1 : low % 2 === 0 ? low : low + 1;
  return r === 0 && (a < 0 || Object.is(a, -0)) ? -0 : r;
}
const truncate = (v: number, bits: number): bigint => {
  if (Number.isNaN(v)) return 0n;
  const edge = 2 ** (bits - 1);
  return v >= edge ? (1n << BigInt(bits - 1)) - 1n : v < -edge ? -(1n << BigInt(bits - 1)) : BigInt(Math.trunc(v));
};

/** Between formats a NaN is quieted and keeps its sign and the high bits of its payload. */
function promote(pattern: bigint): bigint {
  const v = BigInt.asUintN(32, pattern);
  const x = toNumber('f32', v);
  if (!Number.isNaN(x)) return toPattern('f64', x);
  return ((v >> 31n) << 63n) | 0x7ff8000000000000n | ((v & 0x7fffffn) << 29n);
}
function demote(v: bigint): bigint {
  const x = toNumber('f64', v);
  if (!Number.isNaN(x)) return toPattern('f32', x);
  return ((v >> 63n) << 31n) | 0x7fc00000n | ((v >> 29n) & 0x7fffffn);
}

export function binary(name: string, a: bigint, b: bigint): bigint {
  const whole = BITWISE[name];
  if (whole !== undefined) return whole(a, b);
  const [shape = '', op = ''] = name.split('.');
  const bits = widthOf(shape);
  const other = lanes(b, bits);
  if (shape.startsWith('f')) {
    const type = `f${bits}` as Float;
    const compare = COMPARE[op];
    return fromLanes(
      lanes(a, bits).map((v, i) => {
        const [x, y] = [toNumber(type, v), toNumber(type, other[i] ?? 0n)];
        if (compare !== undefined) return mask(compare(x, y));
        // pmin and pmax return a pattern, not a number: b < a ? b : a, and a < b ? b : a.
        if (op === 'pmin') return y < x ? (other[i] ?? 0n) : v;
        if (op === 'pmax') return x < y ? (other[i] ?? 0n) : v;
        return compute(type, op, v, other[i] ?? 0n);
      }),
      bits,
    );
  }
  if (op === 'swizzle') {
    const source = lanes(a, 8);
    return fromLanes(
      other.map((i) => source[Number(i)] ?? 0n),
      8,
    );
  }
  const narrow = /^narrow_i(\d+)x\d+_([su])$/.exec(op);
  if (narrow !== null) {
    const from = Number(narrow[1]);
    const saturate = narrow[2] === 's' ? saturateS : saturateU;
    return fromLanes(
      [...lanes(a, from), ...lanes(b, from)].map((v) => saturate(signed(from, v), bits)),
      bits,
    );
  }
  const wide = /^extmul_(low|high)_i\d+x\d+_([su])$/.exec(op);
  if (wide !== null || op === 'dot_i16x8_s') {
    const half = bits / 2;
    const extend = wide?.[2] === 'u' ? (v: bigint) => v : (v: bigint) => signed(half, v);
    const y = lanes(b, half);
    const products = lanes(a, half).map((v, i) => extend(v) * extend(y[i] ?? 0n));
    const n = products.length / 2;
    if (wide === null)
      return fromLanes(
        Array.from({ length: n }, (_, i) => (products[2 * i] ?? 0n) + (products[2 * i + 1] ?? 0n)),
        bits,
      );
    return fromLanes(wide[1] === 'low' ? products.slice(0, n) : products.slice(n), bits);
  }
  const lane = INTEGER[op];
  if (lane === undefined) throw new Error(`the oracle has no ${name}`);
  return fromLanes(
    lanes(a, bits).map((v, i) => lane(v, other[i] ?? 0n, bits)),
    bits,
  );
}

export function unary(name: string, a: bigint): bigint {
  if (name === 'v128.not') return ~a & U128;
  const [shape = '', op = ''] = name.split('.');
  const bits = widthOf(shape);
  const extend = /^extend_(low|high)_i\d+x\d+_([su])$/.exec(op);
  if (extend !== null) {
    const half = bits / 2;
    const all = lanes(a, half).map((v) => (extend[2] === 's' ? signed(half, v) : v));
    return fromLanes(extend[1] === 'low' ? all.slice(0, all.length / 2) : all.slice(all.length / 2), bits);
  }
  const pairwise = /^extadd_pairwise_i\d+x\d+_([su])$/.exec(op);
  if (pairwise !== null) {
    const half = bits / 2;
    const all = lanes(a, half).map((v) => (pairwise[1] === 's' ? signed(half, v) : v));
    return fromLanes(
      Array.from({ length: all.length / 2 }, (_, i) => (all[2 * i] ?? 0n) + (all[2 * i + 1] ?? 0n)),
      bits,
    );
  }
  const each = (f: (v: bigint) => bigint): bigint => fromLanes(lanes(a, bits).map(f), bits);
  if (shape.startsWith('f')) {
    const type = `f${bits}` as Float;
    const convert = /^convert_(?:low_)?i32x4_([su])$/.exec(op);
    if (convert !== null) {
      const source = lanes(a, 32).slice(0, 128 / bits);
      return fromLanes(
        source.map((v) => toPattern(type, Number(convert[1] === 's' ? signed(32, v) : v))),
        bits,
      );
    }
    if (op === 'promote_low_f32x4') return fromLanes(lanes(a, 32).slice(0, 2).map(promote), 64);
    if (op === 'demote_f64x2_zero') return fromLanes(lanes(a, 64).map(demote), 32);
    // These two are bit operations, on NaNs too.
    const sign = 1n << BigInt(bits - 1);
    if (op === 'neg') return each((v) => v ^ sign);
    if (op === 'abs') return each((v) => v & ~sign);
    return each((v) => compute(type, op, v, undefined));
  }
  if (op === 'trunc_sat_f32x4_s') return each((v) => truncate(toNumber('f32', v), 32));
  if (op === 'trunc_sat_f64x2_s_zero')
    return fromLanes(
      lanes(a, 64).map((v) => truncate(toNumber('f64', v), 32)),
      32,
    );
  if (op === 'abs') return each((v) => (signed(bits, v) < 0n ? -v : v));
  if (op === 'neg') return each((v) => -v);
  if (op === 'popcnt') return each((v) => BigInt(v.toString(2).replaceAll('0', '').length));
  if (op === 'splat') return each(() => BigInt.asUintN(bits, a));
  throw new Error(`the oracle has no ${name}`);
}

const CONVERT: Readonly<Record<string, (a: bigint) => bigint>> = {
  'f64.from.s64': (a) => toPattern('f64', Number(signed(64, a))),
  'f64.from.s32': (a) => toPattern('f64', Number(signed(32, a))),
  'f32.from.s64': (a) => singleFromInteger(signed(64, a)),
  'f32.from.s32': (a) => toPattern('f32', Number(signed(32, a))),
  'f64.from.f32': promote,
  'f32.from.f64': demote,
  's64.trunc.f64': (a) => BigInt.asUintN(64, truncate(toNumber('f64', a), 64)),
  's64.trunc.f32': (a) => BigInt.asUintN(64, truncate(toNumber('f32', a), 64)),
};

/** One rounding only: through a double, 64-bit integers would be rounded twice. Bits past the 26th fold into a sticky bit. */
function singleFromInteger(v: bigint): bigint {
  const magnitude = v < 0n ? -v : v;
  const drop = BigInt(Math.max(0, magnitude.toString(2).length - 40));
  const sticky = (magnitude & ((1n << drop) - 1n)) !== 0n ? 1n : 0n;
  const rounded = Number((magnitude >> drop) | sticky) * 2 ** Number(drop);
  return toPattern('f32', v < 0n ? -rounded : rounded);
}

export function oracleSimd(b: SimdHost): SimdBuilder<bigint, bigint> {
  const XMM = (n: number) => STATE.xmm + n * 16;
  const reg = (n: number): bigint => b.state(XMM(n), 8) | (b.state(XMM(n) + 8, 8) << 64n);
  const setReg = (n: number, v: bigint): void => {
    b.setState(XMM(n), 8, BigInt.asUintN(64, v));
    b.setState(XMM(n) + 8, 8, v >> 64n);
  };
  const checked = (o: Operand, aligned: boolean): bigint => {
    const at = b.address(o);
    const base = b.mode.bits === 64 && b.segment(o) < 4 ? 0n : b.state(STATE.seg + b.segment(o) * 16 + 8, 8);
    if (aligned && ((at + base) & 15n) !== 0n) throw new OracleFault(GP, 0);
    return at;
  };
  const register = (o: Operand): number => {
    const d = (o as unknown as { decoded: { kind: string; index: number } }).decoded;
    return d.index;
  };
  return {
    read: (o: Readable, aligned) => (o.isReg ? reg(register(o)) : b.load_(b.segment(o), checked(o, aligned), 16, o.access !== 'r')),
    write: (o: Writable, v, aligned) => {
      if (o.isReg) setReg(register(o), v);
      else b.store_(b.segment(o), checked(o, aligned), 16, v);
    },
    reg,
    setReg,
    constant: (lo, hi) => BigInt.asUintN(64, lo) | (BigInt.asUintN(64, hi) << 64n),
    make: (lo, hi) => lo | (hi << 64n),
    lane: (a, i) => BigInt.asUintN(64, a >> BigInt(64 * i)),
    insert: (a, size, i, v) =>
      fromLanes(
        lanes(a, size * 8).map((old, n) => (n === i ? v : old)),
        size * 8,
      ),
    op1: unary,
    op2: binary,
    bitselect: (a, c, m) => (a & m) | (c & ~m & U128),
    shift: (name, kind, a, n) => {
      const bits = widthOf(name);
      const by = n % BigInt(bits);
      return fromLanes(
        lanes(a, bits).map((v) => (kind === 'shl' ? v << by : kind === 'shr_u' ? v >> by : signed(bits, v) >> by)),
        bits,
      );
    },
    shuffle: (a, c, which) => {
      const all = [...lanes(a, 8), ...lanes(c, 8)];
      return fromLanes(
        which.map((i) => all[i] ?? 0n),
        8,
      );
    },
    bitmask: (name, a) => {
      const bits = widthOf(name);
      return lanes(a, bits).reduce((m, v, i) => m | ((v >> BigInt(bits - 1)) << BigInt(i)), 0n);
    },
    f64: (op, a, c) => compute('f64', op, a, c),
    f32: (op, a, c) => compute('f32', op, a, c),
    fcmp: (type, op, a, c) => (COMPARE[op]?.(toNumber(type, a), toNumber(type, c)) ? 1n : 0n),
    convert: (op, a) => {
      const direct = CONVERT[op];
      if (direct !== undefined) return direct(a);
      const [type = '', how = ''] = op.split('.');
      return compute(type as Float, how, a, undefined);
    },
  };
}
