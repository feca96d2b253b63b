// Near jumps, calls and returns, loops, flag instructions, and those that do nothing.

import { condition, flagCF, flagOF, flagZF, setFromEflags, toEflags } from '../stage/flags.ts';
import { EFLAGS, RAX, RCX, RSP, STATE } from '../state.ts';
import { insn, OSZAPC } from './insn.ts';
import { setCF } from './operand.ts';
import { drop, peek, push } from './stack.ts';

export const Jcc = insn('Jcc', {
  sdm: 'Vol 2A, Jcc',
  forms: '70+cc Jb {f64} | 0F 80+cc Jz {f64}',
  operands: { target: 'r' },
  flags: { reads: OSZAPC },
  sem(b, { target }, c) {
    b.gotoIf(condition(b, c.cc), target);
  },
});

export const JMP = insn('JMP', {
  sdm: 'Vol 2A, JMP',
  forms: 'EB Jb {f64} | E9 Jz {f64}',
  operands: { target: 'r' },
  sem(b, { target }) {
    b.goto(target);
  },
});

export const JMP_INDIRECT = insn('JMP', {
  sdm: 'Vol 2A, JMP',
  forms: 'FF /4 Ev {f64}',
  operands: { target: 'r' },
  sem(b, { target }) {
    b.jump(b.read(target));
  },
});

export const CALL = insn('CALL', {
  sdm: 'Vol 2A, CALL',
  forms: 'E8 Jz {f64}',
  operands: { target: 'r' },
  sem(b, { target }, c) {
    push(b, b.nextRip(), c.size);
    b.goto(target);
  },
});

/** The target is read before the push: CALL [rSP+n] means the old rSP. */
export const CALL_INDIRECT = insn('CALL', {
  sdm: 'Vol 2A, CALL',
  forms: 'FF /2 Ev {f64}',
  operands: { target: 'r' },
  sem(b, { target }, c) {
    const to = b.read(target);
    b.checkJump(to);
    push(b, b.nextRip(), c.size);
    b.jump(to);
  },
});

export const RET = insn('RET', {
  sdm: 'Vol 2B, RET',
  forms: 'C3 {f64}',
  operands: {},
  sem(b, _o, c) {
    const to = peek(b, c.size);
    b.checkJump(to);
    drop(b, c.size);
    b.jump(to);
  },
});

/** Also releases the arguments that the caller pushed. */
export const RET_RELEASE = insn('RET', {
  sdm: 'Vol 2B, RET',
  forms: 'C2 Iw {f64}',
  operands: { release: 'r' },
  sem(b, { release }, c) {
    const to = peek(b, c.size);
    b.checkJump(to);
    drop(b, c.size);
    const width = b.mode.stackSize;
    b.setReg(RSP, width, b.zext(b.add(b.reg(RSP, width), b.read(release)), width));
    b.jump(to);
  },
});

/** The register is CX, ECX or RCX by address size; the mnemonic (JCXZ, JECXZ, JRCXZ) follows it. */
export const JCXZ = insn('JCXZ', {
  sdm: 'Vol 2A, Jcc',
  forms: 'E3 Jb {f64}',
  operands: { target: 'r' },
  sem(b, { target }) {
    b.gotoIf(b.eqz(b.reg(RCX, b.mode.addrSize)), target);
  },
});

export const LOOP = insn('LOOP', {
  sdm: 'Vol 2A, LOOP/LOOPcc',
  forms: 'E2 Jb {f64}',
  operands: { target: 'r' },
  sem(b, { target }) {
    const a = b.mode.addrSize;
    const left = b.zext(b.sub(b.reg(RCX, a), b.k(1)), a);
    b.setReg(RCX, a, left);
    b.gotoIf(b.ne(left, b.k(0)), target);
  },
});

export const LOOPE = insn('LOOPE', {
  sdm: 'Vol 2A, LOOP/LOOPcc',
  forms: 'E1 Jb {f64}',
  operands: { target: 'r' },
  flags: { reads: ['ZF'] },
  sem(b, { target }) {
    const a = b.mode.addrSize;
    const left = b.zext(b.sub(b.reg(RCX, a), b.k(1)), a);
    b.setReg(RCX, a, left);
    b.gotoIf(b.and(b.ne(left, b.k(0)), flagZF(b)), target);
  },
});

export const LOOPNE = insn('LOOPNE', {
  sdm: 'Vol 2A, LOOP/LOOPcc',
  forms: 'E0 Jb {f64}',
  operands: { target: 'r' },
  flags: { reads: ['ZF'] },
  sem(b, { target }) {
    const a = b.mode.addrSize;
    const left = b.zext(b.sub(b.reg(RCX, a), b.k(1)), a);
    b.setReg(RCX, a, left);
    b.gotoIf(b.and(b.ne(left, b.k(0)), b.eqz(flagZF(b))), target);
  },
});

/** The index is signed and tested against two bounds in memory; outside: #BR. */
export const BOUND = insn('BOUND', {
  sdm: 'Vol 2A, BOUND',
  forms: '62 /r Gv,Ma {i64 mem}',
  operands: { index: 'r', bounds: 'r' },
  sem(b, { index, bounds }, c) {
    const s = c.size;
    const i = b.sext(b.read(index), s);
    const at = b.address(bounds);
    const seg = b.segment(bounds);
    const low = b.sext(b.load(seg, at, s), s);
    const high = b.sext(b.load(seg, b.zext(b.add(at, b.k(s)), b.mode.addrSize), s), s);
    b.if(b.or(b.ltS(i, low), b.ltS(high, i)), () => b.raise(5));
  },
});

export const CLC = insn('CLC', {
  sdm: 'Vol 2A, CLC',
  forms: 'F8',
  operands: {},
  flags: { writes: ['CF'] },
  sem: (b) => setCF(b, b.k(0)),
});

export const STC = insn('STC', {
  sdm: 'Vol 2B, STC',
  forms: 'F9',
  operands: {},
  flags: { writes: ['CF'] },
  sem: (b) => setCF(b, b.k(1)),
});

export const CMC = insn('CMC', {
  sdm: 'Vol 2A, CMC',
  forms: 'F5',
  operands: {},
  flags: { reads: ['CF'], writes: ['CF'] },
  sem: (b) => setCF(b, b.eqz(flagCF(b))),
});

export const CLD = insn('CLD', {
  sdm: 'Vol 2A, CLD',
  forms: 'FC',
  operands: {},
  sem: (b) => b.setState(STATE.eflags, 4, b.and(b.state(STATE.eflags, 4), b.k(~EFLAGS.DF))),
});

export const STD = insn('STD', {
  sdm: 'Vol 2B, STD',
  forms: 'FD',
  operands: {},
  sem: (b) => b.setState(STATE.eflags, 4, b.or(b.state(STATE.eflags, 4), b.k(EFLAGS.DF))),
});

/** All arithmetic flags but OF, which is not in AH. */
export const SAHF = insn('SAHF', {
  sdm: 'Vol 2B, SAHF',
  forms: '9E',
  operands: {},
  flags: { reads: ['OF'], writes: ['SF', 'ZF', 'AF', 'PF', 'CF'] },
  sem(b) {
    const ah = b.shr(b.reg(RAX, 2), b.k(8));
    setFromEflags(b, b.or(b.and(ah, b.k(0xd5)), b.shl(flagOF(b), b.k(11))));
  },
});

export const LAHF = insn('LAHF', {
  sdm: 'Vol 2A, LAHF',
  forms: '9F',
  operands: {},
  flags: { reads: ['SF', 'ZF', 'AF', 'PF', 'CF'] },
  sem(b) {
    const ah = b.or(b.and(toEflags(b), b.k(0xd5)), b.k(2));
    b.setReg(RAX, 2, b.or(b.reg(RAX, 1), b.shl(ah, b.k(8))));
  },
});

/** AL from CF. Undocumented by Intel until recently, present on all processors. */
export const SALC = insn('SALC', {
  sdm: 'Vol 2B, A.3 (opcode map, D6)',
  forms: 'D6 {i64}',
  operands: {},
  flags: { reads: ['CF'] },
  sem: (b) => b.setReg(RAX, 1, b.zext(b.sub(b.k(0), flagCF(b)), 1)),
});

export const NOP = insn('NOP', {
  sdm: 'Vol 2B, NOP',
  forms: '90 {b0}',
  operands: {},
  sem() {},
});

export const PAUSE = insn('PAUSE', {
  sdm: 'Vol 2B, PAUSE',
  forms: 'F3 90',
  operands: {},
  intercept: { vmx: 'PAUSE', svm: 'VMEXIT_PAUSE' },
  sem() {},
});

/**
 * Opcodes kept for hints: prefetches, ENDBR, the long NOP. They name memory but do not touch it. MPX (0F 1A, 0F 1B), CLDEMOTE (0F 1C)
 * and CET (0F 1E) are among them on processors without these features.
 */
export const HINT_NOP = insn('NOP', {
  sdm: 'Vol 2B, NOP; A.3, Table A-6, group 16',
  forms: ['0D', '18', '19', '1A', '1B', '1C', '1D', '1E', '1F'].map((op) => `0F ${op} /r Ev`).join(' | '),
  operands: { hint: 'r' },
  // Since the Pentium Pro, as CMOV is.
  cpuid: 'cmov',
  sem() {},
});
