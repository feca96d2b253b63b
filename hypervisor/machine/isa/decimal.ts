// Decimal adjustments; none exists in 64-bit mode.

import type { Builder } from '../stage/builder.ts';
import { cfOfToAux, flagAF, flagCF, flagsLogic } from '../stage/flags.ts';
import { RAX } from '../state.ts';
import { insn, OSZAPC } from './insn.ts';

const al = <V, X>(b: Builder<V, X>): V => b.reg(RAX, 1);
const ah = <V, X>(b: Builder<V, X>): V => b.shr(b.reg(RAX, 2), b.k(8));
const setAx = <V, X>(b: Builder<V, X>, high: V, low: V): void => b.setReg(RAX, 2, b.or(b.shl(b.zext(high, 1), b.k(8)), b.zext(low, 1)));
/** SF, ZF and PF from a byte, CF and AF given, OF cleared. */
const setFlags = <V, X>(b: Builder<V, X>, byte: V, cf: V, af: V): void =>
  b.setFlags(b.sext(byte, 1), b.or(cfOfToAux(b, cf, b.k(0)), b.shl(af, b.k(3))));

/** The low digit is past 9, or a carry came out of it. */
const lowDigitOver = <V, X>(b: Builder<V, X>): V => b.or(b.ltU(b.k(9), b.and(al(b), b.k(15))), flagAF(b));

const DECIMAL_FLAGS = { reads: ['AF', 'CF'], writes: OSZAPC, undefined: ['OF'] } as const;

export const DAA = insn('DAA', {
  sdm: 'Vol 2A, DAA',
  forms: '27 {i64}',
  operands: {},
  flags: DECIMAL_FLAGS,
  sem(b) {
    const old = al(b);
    const af = lowDigitOver(b);
    const cf = b.or(b.ltU(b.k(0x99), old), flagCF(b));
    const low = b.select(af, b.add(old, b.k(6)), old);
    const r = b.zext(b.select(cf, b.add(low, b.k(0x60)), low), 1);
    b.setReg(RAX, 1, r);
    setFlags(b, r, cf, af);
  },
});

/** The borrow of the first step stays in CF even where the second does not apply. */
export const DAS = insn('DAS', {
  sdm: 'Vol 2A, DAS',
  forms: '2F {i64}',
  operands: {},
  flags: DECIMAL_FLAGS,
  sem(b) {
    const old = al(b);
    const af = lowDigitOver(b);
    const high = b.or(b.ltU(b.k(0x99), old), flagCF(b));
    const low = b.select(af, b.sub(old, b.k(6)), old);
    const r = b.zext(b.select(high, b.sub(low, b.k(0x60)), low), 1);
    const cf = b.or(high, b.and(af, b.ltU(old, b.k(6))));
    b.setReg(RAX, 1, r);
    setFlags(b, r, cf, af);
  },
});

const ASCII_FLAGS = { reads: ['AF'], writes: OSZAPC, undefined: ['OF', 'SF', 'ZF', 'PF'] } as const;

export const AAA = insn('AAA', {
  sdm: 'Vol 2A, AAA',
  forms: '37 {i64}',
  operands: {},
  flags: ASCII_FLAGS,
  sem(b) {
    const over = lowDigitOver(b);
    const ax = b.reg(RAX, 2);
    const r = b.select(over, b.add(ax, b.k(0x106)), ax);
    setAx(b, b.shr(r, b.k(8)), b.and(r, b.k(15)));
    setFlags(b, b.and(r, b.k(15)), over, over);
  },
});

export const AAS = insn('AAS', {
  sdm: 'Vol 2A, AAS',
  forms: '3F {i64}',
  operands: {},
  flags: ASCII_FLAGS,
  sem(b) {
    const over = lowDigitOver(b);
    const ax = b.reg(RAX, 2);
    const r = b.select(over, b.sub(ax, b.k(0x106)), ax);
    setAx(b, b.shr(r, b.k(8)), b.and(r, b.k(15)));
    setFlags(b, b.and(r, b.k(15)), over, over);
  },
});

const DIVISION_FLAGS = { writes: OSZAPC, undefined: ['OF', 'AF', 'CF'] } as const;

/** The base is 10 in the manuals' mnemonic, any byte in the encoding; zero: #DE. */
export const AAM = insn('AAM', {
  sdm: 'Vol 2A, AAM',
  forms: 'D4 Ib {i64}',
  operands: { base: 'r' },
  flags: DIVISION_FLAGS,
  sem(b, { base }) {
    const d = b.read(base);
    b.if(b.eqz(d), () => b.raise(0));
    const n = al(b);
    const low = b.remU(n, d);
    setAx(b, b.divU(n, d), low);
    flagsLogic(b, low, 1);
  },
});

export const AAD = insn('AAD', {
  sdm: 'Vol 2A, AAD',
  forms: 'D5 Ib {i64}',
  operands: { base: 'r' },
  flags: DIVISION_FLAGS,
  sem(b, { base }) {
    const low = b.zext(b.add(al(b), b.mul(ah(b), b.read(base))), 1);
    setAx(b, b.k(0), low);
    flagsLogic(b, low, 1);
  },
});
