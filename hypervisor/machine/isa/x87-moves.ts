// The semantics of x87 loads, stores, constants, exchanges and conditional moves, and of the control instructions (SDM Vol 1, 8.3.3,
// 8.3.4, 8.3.10), for ordinary operands; see x87-arithmetic.ts.

import type { Builder, Operand, Readable } from '../stage/builder.ts';
import { condition } from '../stage/flags.ts';
import { STATE } from '../state.ts';
import { CR0 } from '../system/bits.ts';
import { sz } from './operand.ts';
import { ROUND_TO_INTEGER, TO_DOUBLE, TO_SINGLE } from './x87-convert.ts';
import { fromMemory, type MemoryKind, storeExtended } from './x87-memory.ts';
import { BIAS, SIGN, TOP } from './x87-round.ts';
import { type Float, flagsOf, Unit } from './x87-unit.ts';
import { EXCEPTION_FLAGS, EXCEPTIONS, INITIAL, RC_ZERO, ROUNDING_SHIFT, STATUS_SHIFT } from './x87-word.ts';

/** FLD and FILD. */
export const load =
  (kind: MemoryKind) =>
  <V, X>(b: Builder<V, X>, { src }: { src: Readable }): void => {
    const u = new Unit(b);
    const room = u.room();
    const from = src.isReg ? u.operand(src) : undefined;
    if (from !== undefined) u.require(from);
    u.check();
    const v = from === undefined ? fromMemory(b, src, kind) : u.get(from);
    u.setStatus(undefined);
    u.push(room, v);
    u.finish(src);
  };

/** A constant: exact, or rounded up in its last place under some rounding control (SDM Vol 1, 8.3.4). `below`: what it was cut at. */
interface Constant {
  readonly exponent: number;
  readonly sig: bigint;
  /** The bits after sig are above a half, below it, or all zero. */
  readonly tail: 'above' | 'below' | 'none';
}
export const CONSTANTS = {
  FLD1: { exponent: BIAS, sig: TOP, tail: 'none' },
  FLDZ: { exponent: 0, sig: 0n, tail: 'none' },
  FLDPI: { exponent: BIAS + 1, sig: 0xc90f_daa2_2168_c234n, tail: 'above' },
  FLDL2T: { exponent: BIAS + 1, sig: 0xd49a_784b_cd1b_8afen, tail: 'below' },
  FLDL2E: { exponent: BIAS, sig: 0xb8aa_3b29_5c17_f0bbn, tail: 'above' },
  FLDLG2: { exponent: BIAS - 2, sig: 0x9a20_9a84_fbcf_f798n, tail: 'above' },
  FLDLN2: { exponent: BIAS - 1, sig: 0xb172_17f7_d1cf_79abn, tail: 'above' },
} as const satisfies Record<string, Constant>;

export const loadConstant =
  ({ exponent, sig, tail }: Constant) =>
  <V, X>(b: Builder<V, X>): void => {
    const u = new Unit(b);
    const room = u.room();
    u.check();
    const rc = b.and(b.shr(u.word, b.k(ROUNDING_SHIFT)), b.k(3));
    // All are positive: up rounds away from zero; to nearest depends on the tail, which is never exactly a half.
    const up = tail === 'none' ? b.k(0) : tail === 'above' ? b.or(b.eqz(rc), b.eq(rc, b.k(2))) : b.eq(rc, b.k(2));
    u.setStatus(undefined);
    u.push(room, { sig: b.add(b.k(sig), up), se: b.k(exponent) });
    u.finish();
  };

/** FST and FSTP. */
export const store =
  (pops: boolean) =>
  <V, X>(b: Builder<V, X>, { dst }: { dst: Operand<'w'> }): void => {
    const u = new Unit(b);
    const top = u.top();
    u.require(top);
    if (dst.isReg || dst.size === 10) {
      const register = dst.isReg ? u.operand(dst) : undefined;
      u.check();
      const v = u.get(top);
      if (register === undefined) storeExtended(b, dst, v);
      else u.set(register, v);
      u.setStatus(undefined);
    } else {
      u.requirePrecisionMasked();
      u.check();
      const v = u.get(top);
      const [bits, status] = b.call(dst.size === 4 ? TO_SINGLE : TO_DOUBLE, v.sig, v.se, u.word);
      u.accept(status);
      b.write(dst, bits);
      u.setStatus(status);
    }
    if (pops) u.pop();
    u.finish(dst);
  };

/** FIST, FISTP and FISTTP. */
export const storeInteger =
  (pops: boolean, truncates = false) =>
  <V, X>(b: Builder<V, X>, { dst }: { dst: Operand<'w'> }): void => {
    const u = new Unit(b);
    const top = u.top();
    u.require(top);
    u.requirePrecisionMasked();
    u.check();
    const { sig, se } = u.get(top);
    const [n, status] = b.call(ROUND_TO_INTEGER, sig, se, truncates ? b.or(u.word, b.k(RC_ZERO)) : u.word);
    u.accept(status);
    // The most negative number, and what does not fit.
    const limit = 1n << BigInt(dst.size * 8 - 1);
    b.if(b.leU(b.k(limit), n), () => b.slow());
    b.write(dst, b.zext(b.select(b.and(se, b.k(SIGN)), b.sub(b.k(0), n), n), sz(dst)));
    u.setStatus(flagsOf(b, status));
    if (pops) u.pop();
    u.finish(dst);
  };

export function FXCH<V, X>(b: Builder<V, X>, { b: other }: { b: Operand<'rw'> }): void {
  const u = new Unit(b);
  const top = u.top();
  const second = u.operand(other);
  u.require(top);
  u.require(second);
  u.check();
  const x = u.get(top);
  const y = u.get(second);
  u.replace(top, y);
  u.replace(second, x);
  u.setStatus(undefined);
  u.finish();
}

/** FCMOVcc, by the condition code of the CMOVcc that asks the same. */
export const moveIf =
  (cc: number) =>
  <V, X>(b: Builder<V, X>, { src }: { src: Operand<'r'> }): void => {
    const u = new Unit(b);
    const top = u.top();
    const from = u.operand(src);
    u.require(top);
    u.require(from);
    u.check();
    const c = condition(b, cc);
    const [x, y] = [u.get(top), u.get(from)];
    const chosen: Float<V> = { sig: b.select(c, y.sig, x.sig), se: b.select(c, y.se, x.se) };
    u.replace(top, chosen);
    u.setStatus(undefined);
    u.finish();
  };

// --- control: pointers stay

export const moveTop =
  (by: 1 | -1) =>
  <V, X>(b: Builder<V, X>): void => {
    const u = new Unit(b);
    u.check();
    u.moveTop(by);
    u.setStatus(undefined);
    u.commit();
  };

export function FFREE<V, X>(b: Builder<V, X>, { dst }: { dst: Operand<'w'> }): void {
  const u = new Unit(b);
  u.check();
  u.free(u.operand(dst));
  u.commit();
}

export function FNSTSW<V, X>(b: Builder<V, X>, { dst }: { dst: Operand<'w'> }): void {
  const u = new Unit(b, false);
  u.check();
  b.write(dst, b.zext(b.shr(u.word, b.k(STATUS_SHIFT)), 2));
}

export function FNSTCW<V, X>(b: Builder<V, X>, { dst }: { dst: Operand<'w'> }): void {
  const u = new Unit(b, false);
  u.check();
  b.write(dst, b.zext(u.word, 2));
}

export function FLDCW<V, X>(b: Builder<V, X>, { src }: { src: Operand<'r'> }): void {
  const u = new Unit(b);
  u.check();
  // Reserved bits are zero; bit 6 reads as one.
  const control = b.or(b.and(b.read(src), b.k(0x1f3f)), b.k(0x40));
  const flags = b.shr(u.word, b.k(STATUS_SHIFT));
  // An exception met earlier that this unmasks is pending from now on.
  b.if(b.and(b.and(flags, b.not(control)), b.k(EXCEPTION_FLAGS)), () => b.slow());
  u.word = b.or(b.and(u.word, b.k(~0xffffn)), control);
  u.commit();
}

export function FNCLEX<V, X>(b: Builder<V, X>): void {
  const u = new Unit(b, false);
  u.check();
  u.word = b.and(u.word, b.k(~EXCEPTIONS));
  u.commit();
}

/** FNINIT; it leaves the registers' contents. */
export function FNINIT<V, X>(b: Builder<V, X>): void {
  const u = new Unit(b, false);
  u.check();
  u.word = b.k(INITIAL);
  u.commit();
  b.setState(STATE.fip, 8, b.k(0));
  b.setState(STATE.fdp, 8, b.k(0));
}

export function FNOP<V, X>(b: Builder<V, X>): void {
  new Unit(b).check();
}

/** #NM only with both MP and TS (SDM Vol 2C, WAIT/FWAIT). */
export function FWAIT<V, X>(b: Builder<V, X>): void {
  const cr0 = b.state(STATE.cr0, 4);
  const trapped = b.eq(b.and(cr0, b.k(CR0.MP | CR0.TS)), b.k(CR0.MP | CR0.TS));
  const pending = b.and(b.state(STATE.fsw, 2), b.k(0x80));
  b.if(b.or(trapped, pending), () => b.slow());
}

/** MMX's way back to x87: all registers empty, TOP 0 as behind every MMX instruction (SDM Vol 3A, 12.2). */
export function EMMS<V, X>(b: Builder<V, X>): void {
  const u = new Unit(b);
  u.check();
  const notTop = b.k(~(0x3800n << 16n));
  u.word = b.or(b.and(u.word, notTop), b.k(0xffffn << 32n));
  u.commit();
}
