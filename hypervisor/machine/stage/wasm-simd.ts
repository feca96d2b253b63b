// The 128-bit part of the WebAssembly builder: SSE semantics become WebAssembly SIMD.

import { PARAM } from '../exec/records.ts';
import { I32, I64, pushU, V128 } from '../exec/wasm.ts';
import { STATE } from '../state.ts';
import type { Readable, SimdBuilder, Writable } from './builder.ts';
import { type Constant, foldVectors, identity, isOnes, isZero, shuffleOf, ZERO } from './simd-fold.ts';
import { SIMD } from './simd-opcodes.ts';
import type { WasmBuilder } from './wasm-builder.ts';
import type { Val } from './wasm-values.ts';

export interface XVal {
  readonly local: number;
  /** Its value, where that is known. */
  readonly known?: Constant;
}

const F_OPS = {
  f64: { add: 0xa0, sub: 0xa1, mul: 0xa2, div: 0xa3, sqrt: 0x9f, eq: 0x61, lt: 0x63, le: 0x65 },
  f32: { add: 0x92, sub: 0x93, mul: 0x94, div: 0x95, sqrt: 0x91, eq: 0x5b, lt: 0x5d, le: 0x5f },
} as const;
const F64_REINTERPRET_I64 = 0xbf;
const F32_REINTERPRET_I32 = 0xbe;
const I64_REINTERPRET_F64 = 0xbd;
const I32_REINTERPRET_F32 = 0xbc;

/** What each conversion takes and gives, and the bytes between. 0xfc n: the saturating truncations. */
const CONVERT = {
  'f64.from.s64': { from: 'i64', to: 'f64', code: [0xb9] },
  'f64.from.s32': { from: 'i32', to: 'f64', code: [0xb7] },
  'f32.from.s64': { from: 'i64', to: 'f32', code: [0xb4] },
  'f32.from.s32': { from: 'i32', to: 'f32', code: [0xb2] },
  'f64.from.f32': { from: 'f32', to: 'f64', code: [0xbb] },
  'f32.from.f64': { from: 'f64', to: 'f32', code: [0xb6] },
  's64.trunc.f64': { from: 'f64', to: 'i64', code: [0xfc, 6] },
  's64.trunc.f32': { from: 'f32', to: 'i64', code: [0xfc, 4] },
  'f64.nearest': { from: 'f64', to: 'f64', code: [0x9e] },
  'f32.nearest': { from: 'f32', to: 'f32', code: [0x90] },
  'f64.floor': { from: 'f64', to: 'f64', code: [0x9c] },
  'f64.ceil': { from: 'f64', to: 'f64', code: [0x9b] },
  'f64.trunc': { from: 'f64', to: 'f64', code: [0x9d] },
  'f32.floor': { from: 'f32', to: 'f32', code: [0x8e] },
  'f32.ceil': { from: 'f32', to: 'f32', code: [0x8d] },
  'f32.trunc': { from: 'f32', to: 'f32', code: [0x8f] },
} as const;

export function createSimd(b: WasmBuilder): SimdBuilder<Val, XVal> {
  const op = (name: string): void => {
    const code = SIMD[name];
    if (code === undefined) throw new Error(`no SIMD operation '${name}'`);
    b.code.push(0xfd);
    pushU(b.code, code);
  };
  const memory = (name: string, offset: number): void => {
    op(name);
    b.code.push(0);
    pushU(b.code, offset);
  };
  const take = (): XVal => {
    const local = b.local(V128);
    b.set(local);
    return { local };
  };
  const constant = (known: Constant): XVal => {
    op('v128.const');
    for (const half of known) for (let i = 0n; i < 8n; i++) b.code.push(Number((half >> (8n * i)) & 0xffn));
    return { ...take(), known };
  };
  const shuffle = (a: XVal, c: XVal, lanes: readonly number[]): XVal => {
    b.get(a.local);
    b.get(c.local);
    op('i8x16.shuffle');
    for (const l of lanes) b.code.push(l);
    return take();
  };
  const binary = (name: string, a: XVal, c: XVal): XVal => {
    b.get(a.local);
    b.get(c.local);
    op(name);
    return take();
  };
  /** What comes out with no operation, where an operand is known. */
  const folded = (name: string, a: XVal, c: XVal): XVal | undefined => {
    const both = a.known && c.known && foldVectors(name, a.known, c.known);
    if (both) return constant(both);
    const same = (c.known && identity(name, c.known, true)) ?? (a.known && identity(name, a.known, false));
    if (same === undefined) return undefined;
    return same === 'zero' ? constant(ZERO) : c.known ? a : c;
  };
  const cells = new Map<object, { host: number; window: number }>();
  const cellOf = (o: Readable | Writable, write: boolean, aligned: boolean) => {
    const s = b.shape(o);
    if (s.kind !== 'mem') throw new Error('not a memory operand');
    const lin = b.linear(s.seg, b.address(o), 16, write);
    if (aligned) b.if(b.and(lin, b.k(15)), () => b.raise(13, 0));
    return b.probe(lin, 16, write, s.seg);
  };
  const asFloat = (v: Val, t: 'f32' | 'f64'): void => {
    if (t === 'f64') {
      b.push64(v);
      b.code.push(F64_REINTERPRET_I64);
    } else {
      b.push32(v);
      b.code.push(F32_REINTERPRET_I32);
    }
  };
  const fromFloat = (t: 'f32' | 'f64'): Val => {
    b.code.push(t === 'f64' ? I64_REINTERPRET_F64 : I32_REINTERPRET_F32);
    return t === 'f64' ? b.take(I64, 64) : b.take(I32, 32);
  };
  const arithmetic = (t: 'f32' | 'f64', name: 'add' | 'sub' | 'mul' | 'div' | 'sqrt', a: Val, c: Val | undefined): Val => {
    asFloat(a, t);
    if (c) asFloat(c, t);
    b.code.push(F_OPS[t][name]);
    return fromFloat(t);
  };
  return {
    read(o, aligned) {
      const s = b.shape(o);
      if (s.kind === 'xmm') {
        b.pushField(s.field);
        memory('v128.load', 0);
        return take();
      }
      const cell = cellOf(o, o.access === 'rw', aligned);
      if (o.access === 'rw') cells.set(o, cell);
      b.get(cell.host);
      memory('v128.load', 0);
      return take();
    },
    write(o, v, aligned) {
      const s = b.shape(o);
      if (s.kind === 'xmm') {
        b.pushField(s.field);
        b.get(v.local);
        memory('v128.store', 0);
        return;
      }
      const cell = cells.get(o) ?? cellOf(o, true, aligned);
      b.get(cell.host);
      b.get(v.local);
      memory('v128.store', 0);
      b.commitCell(cell);
    },
    reg(n) {
      b.get(PARAM.cpu);
      memory('v128.load', STATE.xmm + n * 16);
      return take();
    },
    setReg(n, v) {
      b.get(PARAM.cpu);
      b.get(v.local);
      memory('v128.store', STATE.xmm + n * 16);
    },
    constant: (lo, hi) => constant([BigInt.asUintN(64, lo), BigInt.asUintN(64, hi)]),
    make(lo, hi) {
      if (lo.local < 0 && hi.local < 0) return constant([lo.c, hi.c]);
      if (hi.local < 0 && hi.c === 0n) {
        op('v128.const');
        for (let i = 0; i < 16; i++) b.code.push(0);
        b.push64(lo);
        op('i64x2.replace_lane');
        b.code.push(0);
        return take();
      }
      b.push64(lo);
      op('i64x2.splat');
      b.push64(hi);
      op('i64x2.replace_lane');
      b.code.push(1);
      return take();
    },
    lane(a, i) {
      if (a.known) return b.k(a.known[i]);
      b.get(a.local);
      op('i64x2.extract_lane');
      b.code.push(i);
      return b.take(I64, 64);
    },
    insert(a, size, i, v) {
      b.get(a.local);
      if (size === 8) b.push64(v);
      else b.push32(v);
      op(size === 8 ? 'i64x2.replace_lane' : 'i32x4.replace_lane');
      b.code.push(i);
      return take();
    },
    op1(name, a) {
      b.get(a.local);
      op(name);
      return take();
    },
    op2(name, a, c) {
      if (name !== 'i8x16.swizzle') return folded(name, a, c) ?? binary(name, a, c);
      const lanes = c.known && shuffleOf(c.known);
      return lanes ? shuffle(a, a, lanes) : binary(name, a, c);
    },
    bitselect(a, c, mask) {
      if (mask.known && isOnes(mask.known)) return a;
      if (mask.known && isZero(mask.known)) return c;
      b.get(a.local);
      b.get(c.local);
      b.get(mask.local);
      op('v128.bitselect');
      return take();
    },
    shift(name, kind, a, n) {
      b.get(a.local);
      b.push32(n);
      op(`${name}.${kind}`);
      return take();
    },
    shuffle,
    bitmask(name, a) {
      b.get(a.local);
      op(`${name}.bitmask`);
      return b.take(I32, 16);
    },
    f64: (name, a, c) => arithmetic('f64', name, a, c),
    f32: (name, a, c) => arithmetic('f32', name, a, c),
    fcmp(t, name, a, c) {
      asFloat(a, t);
      asFloat(c, t);
      b.code.push(F_OPS[t][name]);
      return b.take(I32, 1);
    },
    convert(name, a) {
      const { from, to, code } = CONVERT[name];
      if (from === 'i64') b.push64(a);
      else if (from === 'i32') b.push32(a);
      else asFloat(a, from);
      b.code.push(...code);
      return to === 'i64' ? b.take(I64, 64) : fromFloat(to);
    },
  };
}
