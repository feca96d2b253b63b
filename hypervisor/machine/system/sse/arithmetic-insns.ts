// SSE and SSE2 floating point, whole and exact: what staged code (isa/sse-float.ts) gives up because something special may happen comes
// here. Also the frame that other families with floating point can use: operands in, exceptions settled, result out.

import type { Decoded } from '../../isa/decoded.ts';
import { ARITHMETIC_FLAGS, EFLAGS, STATE } from '../../state.ts';
import { CR4, EXC } from '../bits.ts';
import { sseUsable } from '../fpu-check.ts';
import { next } from '../mode.ts';
import type { SystemCpu } from '../ports.ts';
import { DOUBLE, type Format, SINGLE } from './format.ts';
import { ALL_FLAGS, BEFORE_RESULT, FloatEnv, MASK_SHIFT } from './mxcsr.ts';
import { immediate, readSource, readXmm, registerOf, writeXmm } from './operands.ts';
import { add, type Binary, compare, div, max, min, mul, sqrt, sub, type Unary } from './operations.ts';

/**
 * Puts what was met into MXCSR. False, with #XM recorded, where an exception is not masked: no result is to be written then. Without
 * CR4.OSXMMEXCPT the exception is #UD (SDM Vol 3A, 2.5).
 */
export function settle(cpu: SystemCpu, env: FloatEnv): boolean {
  const open = ~(env.mxcsr >>> MASK_SHIFT) & ALL_FLAGS;
  const flags = env.flags & open & BEFORE_RESULT ? env.flags & BEFORE_RESULT : env.flags;
  cpu.setU32(STATE.mxcsr, env.mxcsr | flags);
  return !(flags & open) || cpu.fault(cpu.lo(STATE.cr4) & CR4.OSXMMEXCPT ? EXC.XM : EXC.UD);
}

export type Compute = (env: FloatEnv, dst: bigint, src: bigint, imm: number) => bigint;
export type SseHandler = (cpu: SystemCpu, d: Decoded) => boolean;

/** An XMM register = compute(that register, source, imm8). */
export const toXmm =
  (compute: Compute): SseHandler =>
  (cpu, d) => {
    if (!sseUsable(cpu)) return false;
    const src = readSource(cpu, d, 1);
    if (src === undefined) return false;
    const dst = registerOf(d, 0);
    const env = new FloatEnv(cpu.u32(STATE.mxcsr));
    const r = compute(env, readXmm(cpu, dst), src, immediate(d, 2));
    if (!settle(cpu, env)) return false;
    writeXmm(cpu, dst, r);
    return next(cpu, d);
  };

export const lane = (f: Format, v: bigint, i: number): bigint => BigInt.asUintN(8 * f.size, v >> BigInt(8 * f.size * i));

/** The first `count` elements computed one by one, the rest of the destination kept. */
export function elements(f: Format, count: number, dst: bigint, compute: (i: number) => bigint): bigint {
  let r = count * f.size === 16 ? 0n : (dst >> BigInt(8 * f.size * count)) << BigInt(8 * f.size * count);
  for (let i = 0; i < count; i++) r |= compute(i) << BigInt(8 * f.size * i);
  return r;
}

/** The four instructions PS, PD, SS, SD of one operation. */
const family = (name: string, make: (f: Format, count: number) => Compute): Record<string, SseHandler> => ({
  [`${name}PS`]: toXmm(make(SINGLE, 4)),
  [`${name}PD`]: toXmm(make(DOUBLE, 2)),
  [`${name}SS`]: toXmm(make(SINGLE, 1)),
  [`${name}SD`]: toXmm(make(DOUBLE, 1)),
});
const binary =
  (op: Binary) =>
  (f: Format, count: number): Compute =>
  (env, dst, src) =>
    elements(f, count, dst, (i) => op(env, f, lane(f, dst, i), lane(f, src, i)));
const unary =
  (op: Unary) =>
  (f: Format, count: number): Compute =>
  (env, dst, src) =>
    elements(f, count, dst, (i) => op(env, f, lane(f, src, i)));

const LESS = 1;
const LESS_OR_EQUAL = 2;
/** Predicates 0..3 EQ LT LE UNORD, bit 2 negates; LT and LE, negated or not, are signaling (SDM Vol 2A, CMPPS, Table 3-1). */
const compares =
  (f: Format, count: number): Compute =>
  (env, dst, src, imm) =>
    elements(f, count, dst, (i) => {
      const which = imm & 3;
      const order = compare(env, f, lane(f, dst, i), lane(f, src, i), which === LESS || which === LESS_OR_EQUAL);
      const holds = [order === 0, order === -1, order === -1 || order === 0, order === undefined][which] !== ((imm & 4) !== 0);
      return holds ? (f.sign << 1n) - 1n : 0n;
    });

/** COMIS (signaling) and UCOMIS: ZF PF CF are 111 for unordered, 001 less, 100 equal, 000 greater; OF SF AF are cleared. */
const compareFlags =
  (f: Format, signaling: boolean): SseHandler =>
  (cpu, d) => {
    if (!sseUsable(cpu)) return false;
    const src = readSource(cpu, d, 1);
    if (src === undefined) return false;
    const env = new FloatEnv(cpu.u32(STATE.mxcsr));
    const order = compare(env, f, lane(f, readXmm(cpu, registerOf(d, 0)), 0), lane(f, src, 0), signaling);
    if (!settle(cpu, env)) return false;
    const { CF, PF, ZF } = EFLAGS;
    cpu.rflags = (cpu.rflags & ~ARITHMETIC_FLAGS) | (order === undefined ? ZF | PF | CF : order < 0 ? CF : order === 0 ? ZF : 0);
    return next(cpu, d);
  };

export const sseArithmeticHandlers: Record<string, SseHandler> = {
  ...family('ADD', binary(add)),
  ...family('SUB', binary(sub)),
  ...family('MUL', binary(mul)),
  ...family('DIV', binary(div)),
  ...family('MIN', binary(min)),
  ...family('MAX', binary(max)),
  ...family('SQRT', unary(sqrt)),
  CMPPS: toXmm(compares(SINGLE, 4)),
  CMPPD: toXmm(compares(DOUBLE, 2)),
  CMPSS: toXmm(compares(SINGLE, 1)),
  // String CMPSD is the record CMPS.
  CMPSD: toXmm(compares(DOUBLE, 1)),
  UCOMISS: compareFlags(SINGLE, false),
  UCOMISD: compareFlags(DOUBLE, false),
  COMISS: compareFlags(SINGLE, true),
  COMISD: compareFlags(DOUBLE, true),
};
