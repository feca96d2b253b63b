// SSE3 and SSE4.1 floating point in TypeScript: additions across, dot products, rounding to integral values. Staged code (isa/sse3-float.ts,
// isa/sse41-float.ts) comes here when something special may happen.

import { STATE } from '../../state.ts';
import { sseUsable } from '../fpu-check.ts';
import { next } from '../mode.ts';
import { type Compute, elements, lane, type SseHandler, settle, toXmm } from './arithmetic-insns.ts';
import { DOUBLE, type Format, SINGLE } from './format.ts';
import { FloatEnv, type Rounding } from './mxcsr.ts';
import { immediate, readSource, readXmm, registerOf, writeXmm } from './operands.ts';
import { add, type Binary, mul, sub, toIntegral } from './operations.ts';

/** Subtracts in even elements, adds in odd ones. */
const alternating =
  (f: Format, count: number): Compute =>
  (env, dst, src) =>
    elements(f, count, dst, (i) => (i & 1 ? add : sub)(env, f, lane(f, dst, i), lane(f, src, i)));

/** Element 2n with 2n + 1: the destination's pairs, then the source's. */
const across =
  (f: Format, count: number, op: Binary): Compute =>
  (env, dst, src) =>
    elements(f, count, dst, (i) => {
      const from = i < count / 2 ? dst : src;
      const at = 2 * (i % (count / 2));
      return op(env, f, lane(f, from, at), lane(f, from, at + 1));
    });

/**
 * The products that imm8's high bits choose, added in pairs; to the elements that its low bits choose (SDM Vol 2A, DPPS). Multiplications
 * and each round of additions are steps of their own: an exception that is not masked ends the instruction before the next is begun.
 */
const dotProduct =
  (f: Format, count: 2 | 4): SseHandler =>
  (cpu, d) => {
    if (!sseUsable(cpu)) return false;
    const src = readSource(cpu, d, 1);
    if (src === undefined) return false;
    const register = registerOf(d, 0);
    const dst = readXmm(cpu, register);
    const imm = immediate(d, 2);
    const step = (n: number, compute: (env: FloatEnv, i: number) => bigint): bigint[] | undefined => {
      const env = new FloatEnv(cpu.u32(STATE.mxcsr));
      const results = Array.from({ length: n }, (_, i) => compute(env, i));
      return settle(cpu, env) ? results : undefined;
    };
    let terms = step(count, (env, i) => (imm & (0x10 << i) ? mul(env, f, lane(f, dst, i), lane(f, src, i)) : 0n));
    while (terms !== undefined && terms.length > 1) {
      const of = terms;
      terms = step(of.length / 2, (env, i) => add(env, f, of[2 * i] ?? 0n, of[2 * i + 1] ?? 0n));
    }
    const sum = terms?.[0];
    if (sum === undefined) return false;
    writeXmm(
      cpu,
      register,
      elements(f, count, dst, (i) => (imm & (1 << i) ? sum : 0n)),
    );
    return next(cpu, d);
  };

/** imm8: rounding (1:0), or MXCSR's instead (2), and whether inexactness is kept quiet (3). */
const rounds =
  (f: Format, count: number): Compute =>
  (env: FloatEnv, dst, src, imm) => {
    const rounding = imm & 4 ? env.rounding : ((imm & 3) as Rounding);
    return elements(f, count, dst, (i) => toIntegral(env, f, lane(f, src, i), rounding, (imm & 8) !== 0));
  };

export const sse4Handlers: Record<string, SseHandler> = {
  ADDSUBPS: toXmm(alternating(SINGLE, 4)),
  ADDSUBPD: toXmm(alternating(DOUBLE, 2)),
  HADDPS: toXmm(across(SINGLE, 4, add)),
  HADDPD: toXmm(across(DOUBLE, 2, add)),
  HSUBPS: toXmm(across(SINGLE, 4, sub)),
  HSUBPD: toXmm(across(DOUBLE, 2, sub)),
  DPPS: dotProduct(SINGLE, 4),
  DPPD: dotProduct(DOUBLE, 2),
  ROUNDPS: toXmm(rounds(SINGLE, 4)),
  ROUNDPD: toXmm(rounds(DOUBLE, 2)),
  ROUNDSS: toXmm(rounds(SINGLE, 1)),
  ROUNDSD: toXmm(rounds(DOUBLE, 1)),
};
