// The instructions on transcendental.ts: which registers they take and leave.

import { unary } from './arithmetic-insns.ts';
import type { F80 } from './float80.ts';
import { INDEFINITE, ONE } from './float80.ts';
import type { X87Handler } from './operations.ts';
import { operation } from './operations.ts';
import type { Env } from './round.ts';
import { arctan2, exp2Minus1, trigonometric, yLog2X, yLog2XPlus1 } from './transcendental.ts';

/** ST1 = op(ST1, ST0), then pop. */
const intoSt1 = (op: (st1: F80, st0: F80, env: Env) => F80): X87Handler =>
  operation((f) => {
    const value = f.require(0, 1) ? op(f.get(1), f.get(0), f.env) : INDEFINITE;
    if (f.stopped) return true;
    f.set(1, value);
    f.pop();
    return true;
  });

const sineOrCosine = (what: 'sin' | 'cos'): X87Handler =>
  operation((f) => {
    const value = f.require(0) ? trigonometric(what, f.get(0), f.env) : INDEFINITE;
    f.setC2(value === 'range');
    if (f.stopped) return true;
    if (value !== 'range') f.set(0, value);
    return true;
  });

/** Replaces ST0 by `first` of it and pushes `second`. */
const pair = (first: 'sin' | 'tan', second: (a: F80, env: Env) => F80 | 'range'): X87Handler =>
  operation((f) => {
    f.setC2(false);
    if (!f.require(0)) {
      if (f.stopped) return true;
      f.set(0, INDEFINITE);
      f.push(INDEFINITE);
      return true;
    }
    if (f.isFull) {
      if (f.push(INDEFINITE)) f.set(1, INDEFINITE);
      return true;
    }
    const a = f.get(0);
    const one = trigonometric(first, a, f.env);
    const other = second(a, f.env);
    if (f.stopped) return true;
    f.setC2(one === 'range');
    if (one === 'range' || other === 'range') return true;
    f.set(0, one);
    f.push(other);
    return true;
  });

export const functionHandlers: Readonly<Record<string, X87Handler>> = {
  F2XM1: unary(exp2Minus1),
  FYL2X: intoSt1(yLog2X),
  FYL2XP1: intoSt1(yLog2XPlus1),
  FPATAN: intoSt1(arctan2),
  FSIN: sineOrCosine('sin'),
  FCOS: sineOrCosine('cos'),
  FSINCOS: pair('sin', (a, env) => trigonometric('cos', a, env)),
  /** Pushes 1.0, so that a division gives the cotangent; a NaN operand is pushed twice. */
  FPTAN: pair('tan', (a, env) => {
    const v = trigonometric('tan', a, { ...env });
    return v === 'range' || (v.se & 0x7fff) === 0x7fff ? v : ONE;
  }),
};
