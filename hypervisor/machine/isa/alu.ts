// Integer arithmetic and logic with one or two operands. Multiplication, division and the decimal adjustments have files of their own.

import type { Builder, Operand, Size } from '../stage/builder.ts';
import { flagCF, flagOF, flagsAdc, flagsAdd, flagsIncDec, flagsLogic, flagsSbb, flagsSub } from '../stage/flags.ts';
import { RAX, RDX } from '../state.ts';
import { insn, OSZAPC } from './insn.ts';
import { setCF, setOF, sz } from './operand.ts';

/** The eight operations of the first 64 opcodes share their forms: base+0..5, and groups 1 under 80, 81, 82 (not in 64-bit mode) and 83. */
const aluForms = (n: number): string => {
  const op = (i: number) => (n * 8 + i).toString(16).padStart(2, '0').toUpperCase();
  return (
    `${op(0)} /r Eb,Gb | ${op(1)} /r Ev,Gv | ${op(2)} /r Gb,Eb | ${op(3)} /r Gv,Ev | ${op(4)} AL,Ib | ${op(5)} rAX,Iz | ` +
    `80 /${n} Eb,Ib | 81 /${n} Ev,Iz | 82 /${n} Eb,Ib {i64} | 83 /${n} Ev,sIb`
  );
};

const LOGIC_FLAGS = { writes: OSZAPC, undefined: ['AF'] } as const;

type Two = { readonly dst: Operand<'rw'>; readonly src: Operand<'r'> };

// TOUR add 10: What an instruction is: its encodings in the manuals' notation, what it may do to its operands and flags, and its meaning as
// a function over any kind of value. Read, compute, write, flags last. Nothing else in the repository knows what ADD does.
export const ADD = insn('ADD', {
  sdm: 'Vol 2A, ADD',
  forms: aluForms(0),
  operands: { dst: 'rw', src: 'r' },
  flags: { writes: OSZAPC },
  lock: true,
  sem(b, { dst, src }) {
    const s = sz(dst);
    const x = b.read(dst);
    const y = b.read(src);
    const r = b.zext(b.add(x, y), s);
    b.write(dst, r);
    flagsAdd(b, x, y, r, s);
  },
});

export const OR = insn('OR', {
  sdm: 'Vol 2B, OR',
  forms: aluForms(1),
  operands: { dst: 'rw', src: 'r' },
  flags: LOGIC_FLAGS,
  lock: true,
  sem: (b, o) => logic(b, o, b.or),
});

export const ADC = insn('ADC', {
  sdm: 'Vol 2A, ADC',
  forms: aluForms(2),
  operands: { dst: 'rw', src: 'r' },
  flags: { reads: ['CF'], writes: OSZAPC },
  lock: true,
  sem(b, { dst, src }) {
    const s = sz(dst);
    const x = b.read(dst);
    const y = b.read(src);
    const r = b.zext(b.add(b.add(x, y), flagCF(b)), s);
    b.write(dst, r);
    flagsAdc(b, x, y, r, s);
  },
});

export const SBB = insn('SBB', {
  sdm: 'Vol 2B, SBB',
  forms: aluForms(3),
  operands: { dst: 'rw', src: 'r' },
  flags: { reads: ['CF'], writes: OSZAPC },
  lock: true,
  sem(b, { dst, src }) {
    const s = sz(dst);
    const x = b.read(dst);
    const y = b.read(src);
    const r = b.zext(b.sub(b.sub(x, y), flagCF(b)), s);
    b.write(dst, r);
    flagsSbb(b, x, y, r, s);
  },
});

export const AND = insn('AND', {
  sdm: 'Vol 2A, AND',
  forms: aluForms(4),
  operands: { dst: 'rw', src: 'r' },
  flags: LOGIC_FLAGS,
  lock: true,
  sem: (b, o) => logic(b, o, b.and),
});

export const SUB = insn('SUB', {
  sdm: 'Vol 2B, SUB',
  forms: aluForms(5),
  operands: { dst: 'rw', src: 'r' },
  flags: { writes: OSZAPC },
  lock: true,
  sem(b, { dst, src }) {
    const s = sz(dst);
    const x = b.read(dst);
    const y = b.read(src);
    const r = b.zext(b.sub(x, y), s);
    b.write(dst, r);
    flagsSub(b, x, y, r, s);
  },
});

export const XOR = insn('XOR', {
  sdm: 'Vol 2D, XOR',
  forms: aluForms(6),
  operands: { dst: 'rw', src: 'r' },
  flags: LOGIC_FLAGS,
  lock: true,
  sem: (b, o) => logic(b, o, b.xor),
});

export const CMP = insn('CMP', {
  sdm: 'Vol 2A, CMP',
  forms: aluForms(7),
  operands: { dst: 'r', src: 'r' },
  flags: { writes: OSZAPC },
  sem(b, { dst, src }) {
    const s = sz(dst);
    const x = b.read(dst);
    const y = b.read(src);
    flagsSub(b, x, y, b.zext(b.sub(x, y), s), s);
  },
});

/** F6 and F7 /1 are undocumented by Intel; AMD's manual lists them, and both vendors execute them as TEST. */
export const TEST = insn('TEST', {
  sdm: 'Vol 2B, TEST',
  forms: '84 /r Eb,Gb | 85 /r Ev,Gv | A8 AL,Ib | A9 rAX,Iz | F6 /0 Eb,Ib | F7 /0 Ev,Iz | F6 /1 Eb,Ib | F7 /1 Ev,Iz',
  operands: { dst: 'r', src: 'r' },
  flags: LOGIC_FLAGS,
  sem(b, { dst, src }) {
    flagsLogic(b, b.and(b.read(dst), b.read(src)), sz(dst));
  },
});

export const INC = insn('INC', {
  sdm: 'Vol 2A, INC',
  forms: 'FE /0 Eb | FF /0 Ev | 40+r Zv {i64}',
  operands: { dst: 'rw' },
  flags: { writes: ['OF', 'SF', 'ZF', 'AF', 'PF'] },
  lock: true,
  sem(b, { dst }) {
    const s = sz(dst);
    const x = b.read(dst);
    const r = b.zext(b.add(x, b.k(1)), s);
    b.write(dst, r);
    flagsIncDec(b, x, r, s, false);
  },
});

export const DEC = insn('DEC', {
  sdm: 'Vol 2A, DEC',
  forms: 'FE /1 Eb | FF /1 Ev | 48+r Zv {i64}',
  operands: { dst: 'rw' },
  flags: { writes: ['OF', 'SF', 'ZF', 'AF', 'PF'] },
  lock: true,
  sem(b, { dst }) {
    const s = sz(dst);
    const x = b.read(dst);
    const r = b.zext(b.sub(x, b.k(1)), s);
    b.write(dst, r);
    flagsIncDec(b, x, r, s, true);
  },
});

export const NEG = insn('NEG', {
  sdm: 'Vol 2B, NEG',
  forms: 'F6 /3 Eb | F7 /3 Ev',
  operands: { dst: 'rw' },
  flags: { writes: OSZAPC },
  lock: true,
  sem(b, { dst }) {
    const s = sz(dst);
    const x = b.read(dst);
    const r = b.zext(b.sub(b.k(0), x), s);
    b.write(dst, r);
    flagsSub(b, b.k(0), x, r, s);
  },
});

export const NOT = insn('NOT', {
  sdm: 'Vol 2B, NOT',
  forms: 'F6 /2 Eb | F7 /2 Ev',
  operands: { dst: 'rw' },
  lock: true,
  sem(b, { dst }) {
    b.write(dst, b.zext(b.not(b.read(dst)), sz(dst)));
  },
});

/** Additions with one private carry flag each, so that two chains can run side by side. */
export const ADCX = insn('ADCX', {
  sdm: 'Vol 2A, ADCX',
  forms: '66 0F 38 F6 /r Gy,Ey',
  operands: { dst: 'rw', src: 'r' },
  flags: { reads: ['CF'], writes: ['CF'] },
  cpuid: 'adx',
  sem(b, { dst, src }) {
    const s = sz(dst);
    const { sum, carry } = addWithCarry(b, b.read(dst), b.read(src), flagCF(b), s);
    b.write(dst, sum);
    setCF(b, carry);
  },
});

export const ADOX = insn('ADOX', {
  sdm: 'Vol 2A, ADOX',
  forms: 'F3 0F 38 F6 /r Gy,Ey',
  operands: { dst: 'rw', src: 'r' },
  flags: { reads: ['OF'], writes: ['OF'] },
  cpuid: 'adx',
  sem(b, { dst, src }) {
    const s = sz(dst);
    const { sum, carry } = addWithCarry(b, b.read(dst), b.read(src), flagOF(b), s);
    b.write(dst, sum);
    setOF(b, carry);
  },
});

function logic<V, X>(b: Builder<V, X>, { dst, src }: Two, op: (x: V, y: V) => V): void {
  const r = op.call(b, b.read(dst), b.read(src));
  b.write(dst, r);
  flagsLogic(b, r, sz(dst));
}

function addWithCarry<V, X>(b: Builder<V, X>, x: V, y: V, cf: V, s: Size): { sum: V; carry: V } {
  const sum = b.zext(b.add(b.add(x, y), cf), s);
  const carries = b.or(b.and(x, y), b.and(b.or(x, y), b.not(sum)));
  return { sum, carry: b.and(b.shr(carries, b.k(s * 8 - 1)), b.k(1)) };
}

/** The lower half of the accumulator, sign-extended into the whole of it. */
function signExtend<V, X>(b: Builder<V, X>, s: 2 | 4 | 8): void {
  const half = (s / 2) as Size;
  b.setReg(RAX, s, b.zext(b.sext(b.reg(RAX, half), half), s));
}

/** The accumulator's sign into all bits of rDX. */
function spreadSign<V, X>(b: Builder<V, X>, s: 2 | 4 | 8): void {
  b.setReg(RDX, s, b.zext(b.sar(b.sext(b.reg(RAX, s), s), b.k(63)), s));
}

const EXTEND = 'Vol 2A, CBW/CWDE/CDQE';
const SPREAD = 'Vol 2A, CWD/CDQ/CQO';
export const CBW = insn('CBW', { sdm: EXTEND, forms: '98 {o16}', operands: {}, sem: (b) => signExtend(b, 2) });
export const CWDE = insn('CWDE', { sdm: EXTEND, forms: '98 {o32}', operands: {}, sem: (b) => signExtend(b, 4) });
export const CDQE = insn('CDQE', { sdm: EXTEND, forms: '98 {oq}', operands: {}, sem: (b) => signExtend(b, 8) });
export const CWD = insn('CWD', { sdm: SPREAD, forms: '99 {o16}', operands: {}, sem: (b) => spreadSign(b, 2) });
export const CDQ = insn('CDQ', { sdm: SPREAD, forms: '99 {o32}', operands: {}, sem: (b) => spreadSign(b, 4) });
export const CQO = insn('CQO', { sdm: SPREAD, forms: '99 {oq}', operands: {}, sem: (b) => spreadSign(b, 8) });
