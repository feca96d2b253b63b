// SSE and SSE2 conversions, whole and exact, for what staged code (isa/sse-convert.ts, isa/mmx.ts) gives up.

import type { Decoded } from '../../isa/decoded.ts';
import { STATE } from '../../state.ts';
import { enterMmx } from '../fpstate.ts';
import { mmxUsable, sseUsable } from '../fpu-check.ts';
import { next } from '../mode.ts';
import { setGpr } from '../operands.ts';
import type { SystemCpu } from '../ports.ts';
import { type Compute, elements, lane, type SseHandler, settle, toXmm } from './arithmetic-insns.ts';
import { DOUBLE, type Format, SINGLE } from './format.ts';
import { FloatEnv, TOWARD_ZERO } from './mxcsr.ts';
import { readSource, registerOf, writeMm } from './operands.ts';
import { convert, fromInteger, toInteger } from './operations.ts';

const dword = (v: bigint, i: number): bigint => BigInt.asIntN(32, v >> BigInt(32 * i));

/** The lowest `count` elements to signed dwords, zeros above. */
const toDwords =
  (f: Format, count: number, truncate: boolean): Compute =>
  (env, _dst, src) =>
    elements(SINGLE, count, 0n, (i) => toInteger(env, f, lane(f, src, i), 32, truncate ? TOWARD_ZERO : env.rounding));

/** A general register from the lowest element. */
const toGeneral =
  (f: Format, truncate: boolean): SseHandler =>
  (cpu, d) => {
    if (!sseUsable(cpu)) return false;
    const src = readSource(cpu, d, 1);
    const dst = d.operands[0];
    if (src === undefined || dst?.kind !== 'reg') return false;
    const env = new FloatEnv(cpu.u32(STATE.mxcsr));
    const r = toInteger(env, f, lane(f, src, 0), dst.size === 8 ? 64 : 32, truncate ? TOWARD_ZERO : env.rounding);
    if (!settle(cpu, env)) return false;
    setGpr(cpu, dst.index, dst.size, r);
    return next(cpu, d);
  };

/** The lowest element from a general register or memory of its size. */
const fromGeneral =
  (f: Format): SseHandler =>
  (cpu, d) => {
    const src = d.operands[1];
    const wide = src !== undefined && 'size' in src && src.size === 8;
    const compute: Compute = (env, dst, v) => elements(f, 1, dst, () => fromInteger(env, f, BigInt.asIntN(wide ? 64 : 32, v)));
    return toXmm(compute)(cpu, d);
  };

/** Two dwords in an MMX register. The transition to MMX is made even if an exception follows (a host has been asked). */
function toMmx(compute: Compute): SseHandler {
  return (cpu, d) => {
    if (!sseUsable(cpu) || !mmxUsable(cpu)) return false;
    const src = readSource(cpu, d, 1);
    if (src === undefined) return false;
    const env = new FloatEnv(cpu.u32(STATE.mxcsr));
    const r = compute(env, 0n, src, 0);
    enterMmx(cpu);
    if (!settle(cpu, env)) return false;
    writeMm(cpu, registerOf(d, 0), r);
    return next(cpu, d);
  };
}

/** From an MMX register, which turns the x87 unit over, or from memory, which does not (isa/mmx.ts). */
const fromMmx =
  (compute: Compute): SseHandler =>
  (cpu: SystemCpu, d: Decoded) => {
    const mmx = d.operands[1]?.kind === 'reg';
    if (!sseUsable(cpu) || (mmx && !mmxUsable(cpu))) return false;
    if (mmx) enterMmx(cpu);
    return toXmm(compute)(cpu, d);
  };

export const sseConvertHandlers: Record<string, SseHandler> = {
  CVTSI2SS: fromGeneral(SINGLE),
  CVTSI2SD: fromGeneral(DOUBLE),
  CVTSS2SI: toGeneral(SINGLE, false),
  CVTTSS2SI: toGeneral(SINGLE, true),
  CVTSD2SI: toGeneral(DOUBLE, false),
  CVTTSD2SI: toGeneral(DOUBLE, true),
  CVTSS2SD: toXmm((env, dst, src) => elements(DOUBLE, 1, dst, () => convert(env, SINGLE, DOUBLE, lane(SINGLE, src, 0)))),
  CVTSD2SS: toXmm((env, dst, src) => elements(SINGLE, 1, dst, () => convert(env, DOUBLE, SINGLE, lane(DOUBLE, src, 0)))),
  CVTPS2PD: toXmm((env, _dst, src) => elements(DOUBLE, 2, 0n, (i) => convert(env, SINGLE, DOUBLE, lane(SINGLE, src, i)))),
  CVTPD2PS: toXmm((env, _dst, src) => elements(SINGLE, 2, 0n, (i) => convert(env, DOUBLE, SINGLE, lane(DOUBLE, src, i)))),
  CVTDQ2PS: toXmm((env, _dst, src) => elements(SINGLE, 4, 0n, (i) => fromInteger(env, SINGLE, dword(src, i)))),
  CVTDQ2PD: toXmm((env, _dst, src) => elements(DOUBLE, 2, 0n, (i) => fromInteger(env, DOUBLE, dword(src, i)))),
  CVTPS2DQ: toXmm(toDwords(SINGLE, 4, false)),
  CVTTPS2DQ: toXmm(toDwords(SINGLE, 4, true)),
  CVTPD2DQ: toXmm(toDwords(DOUBLE, 2, false)),
  CVTTPD2DQ: toXmm(toDwords(DOUBLE, 2, true)),
  CVTPS2PI: toMmx(toDwords(SINGLE, 2, false)),
  CVTTPS2PI: toMmx(toDwords(SINGLE, 2, true)),
  CVTPD2PI: toMmx(toDwords(DOUBLE, 2, false)),
  CVTTPD2PI: toMmx(toDwords(DOUBLE, 2, true)),
  CVTPI2PS: fromMmx((env, dst, src) => elements(SINGLE, 2, dst, (i) => fromInteger(env, SINGLE, dword(src, i)))),
  CVTPI2PD: fromMmx((env, _dst, src) => elements(DOUBLE, 2, 0n, (i) => fromInteger(env, DOUBLE, dword(src, i)))),
};
