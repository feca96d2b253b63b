// x87 floating-point instructions (SDM Vol 1, chapter 8): how they are encoded. machine/system/ carries them out.
//
// Two-operand arithmetic always names both operands, ST0 included where the assembler leaves it off. The aliases that Intel marks as
// reserved and all processors execute (SDM Vol 2D, table A-7 ff.: DC D0, DD C8, DE D0, DF C0 ...) are with their originals.

import { type Flag, insn } from './insn.ts';

const none = (mnemonic: string, forms: string) => insn(mnemonic, { sdm: `Vol 2A, ${mnemonic}`, forms, operands: {} });
const load = (mnemonic: string, forms: string) => insn(mnemonic, { sdm: `Vol 2A, ${mnemonic}`, forms, operands: { src: 'r' } });
const store = (mnemonic: string, forms: string) => insn(mnemonic, { sdm: `Vol 2A, ${mnemonic}`, forms, operands: { dst: 'w' } });
const two = (mnemonic: string, forms: string) => insn(mnemonic, { sdm: `Vol 2A, ${mnemonic}`, forms, operands: { dst: 'rw', src: 'r' } });
const compare = (mnemonic: string, forms: string) => insn(mnemonic, { sdm: `Vol 2A, ${mnemonic}`, forms, operands: { a: 'r', b: 'r' } });
const INTEGER_FLAGS: readonly Flag[] = ['OF', 'SF', 'ZF', 'AF', 'PF', 'CF'];
const compareFlags = (mnemonic: string, forms: string) =>
  insn(mnemonic, { sdm: `Vol 2A, ${mnemonic}`, forms, operands: { a: 'r', b: 'r' }, flags: { writes: INTEGER_FLAGS } });
const move = (mnemonic: string, forms: string, reads: readonly Flag[]) =>
  insn(mnemonic, { sdm: 'Vol 2A, FCMOVcc', forms, operands: { dst: 'rw', src: 'r' }, flags: { reads } });

export const arithmetic = [
  two('FADD', 'D8 /0 ST0,Md | DC /0 ST0,Mq | D8 /0 ST0,STi | DC /0 STi,ST0'),
  two('FMUL', 'D8 /1 ST0,Md | DC /1 ST0,Mq | D8 /1 ST0,STi | DC /1 STi,ST0'),
  // Between DC and D8, and in DE, the reversed forms change places.
  two('FSUB', 'D8 /4 ST0,Md | DC /4 ST0,Mq | D8 /4 ST0,STi | DC /5 STi,ST0'),
  two('FSUBR', 'D8 /5 ST0,Md | DC /5 ST0,Mq | D8 /5 ST0,STi | DC /4 STi,ST0'),
  two('FDIV', 'D8 /6 ST0,Md | DC /6 ST0,Mq | D8 /6 ST0,STi | DC /7 STi,ST0'),
  two('FDIVR', 'D8 /7 ST0,Md | DC /7 ST0,Mq | D8 /7 ST0,STi | DC /6 STi,ST0'),
  two('FADDP', 'DE /0 STi,ST0'),
  two('FMULP', 'DE /1 STi,ST0'),
  two('FSUBRP', 'DE /4 STi,ST0'),
  two('FSUBP', 'DE /5 STi,ST0'),
  two('FDIVRP', 'DE /6 STi,ST0'),
  two('FDIVP', 'DE /7 STi,ST0'),
  two('FIADD', 'DA /0 ST0,Md | DE /0 ST0,Mw'),
  two('FIMUL', 'DA /1 ST0,Md | DE /1 ST0,Mw'),
  two('FISUB', 'DA /4 ST0,Md | DE /4 ST0,Mw'),
  two('FISUBR', 'DA /5 ST0,Md | DE /5 ST0,Mw'),
  two('FIDIV', 'DA /6 ST0,Md | DE /6 ST0,Mw'),
  two('FIDIVR', 'DA /7 ST0,Md | DE /7 ST0,Mw'),
];

export const comparisons = [
  compare('FCOM', 'D8 /2 ST0,Md | DC /2 ST0,Mq | D8 /2 ST0,STi | DC /2 ST0,STi'),
  compare('FCOMP', 'D8 /3 ST0,Md | DC /3 ST0,Mq | D8 /3 ST0,STi | DC /3 ST0,STi | DE /2 ST0,STi'),
  none('FCOMPP', 'DE D9'),
  compare('FUCOM', 'DD /4 ST0,STi'),
  compare('FUCOMP', 'DD /5 ST0,STi'),
  none('FUCOMPP', 'DA E9'),
  compare('FICOM', 'DA /2 ST0,Md | DE /2 ST0,Mw'),
  compare('FICOMP', 'DA /3 ST0,Md | DE /3 ST0,Mw'),
  compareFlags('FCOMI', 'DB /6 ST0,STi'),
  compareFlags('FCOMIP', 'DF /6 ST0,STi'),
  compareFlags('FUCOMI', 'DB /5 ST0,STi'),
  compareFlags('FUCOMIP', 'DF /5 ST0,STi'),
  none('FTST', 'D9 E4'),
  none('FXAM', 'D9 E5'),
];

export const moves = [
  load('FLD', 'D9 /0 Md | DD /0 Mq | DB /5 Mt | D9 /0 STi'),
  store('FST', 'D9 /2 Md | DD /2 Mq | DD /2 STi'),
  store('FSTP', 'D9 /3 Md | DD /3 Mq | DB /7 Mt | DD /3 STi | DF /2 STi | DF /3 STi'),
  // Like FSTP, but without a stack-underflow exception.
  store('FSTPNCE', 'D9 /3 STi'),
  load('FILD', 'DF /0 Mw | DB /0 Md | DF /5 Mq'),
  store('FIST', 'DF /2 Mw | DB /2 Md'),
  store('FISTP', 'DF /3 Mw | DB /3 Md | DF /7 Mq'),
  store('FISTTP', 'DF /1 Mw | DB /1 Md | DD /1 Mq'),
  load('FBLD', 'DF /4 Mt'),
  store('FBSTP', 'DF /6 Mt'),
  insn('FXCH', { sdm: 'Vol 2A, FXCH', forms: 'D9 /1 ST0,STi | DD /1 ST0,STi | DF /1 ST0,STi', operands: { a: 'rw', b: 'rw' } }),
  move('FCMOVB', 'DA /0 ST0,STi', ['CF']),
  move('FCMOVE', 'DA /1 ST0,STi', ['ZF']),
  move('FCMOVBE', 'DA /2 ST0,STi', ['CF', 'ZF']),
  move('FCMOVU', 'DA /3 ST0,STi', ['PF']),
  move('FCMOVNB', 'DB /0 ST0,STi', ['CF']),
  move('FCMOVNE', 'DB /1 ST0,STi', ['ZF']),
  move('FCMOVNBE', 'DB /2 ST0,STi', ['CF', 'ZF']),
  move('FCMOVNU', 'DB /3 ST0,STi', ['PF']),
  none('FLD1', 'D9 E8'),
  none('FLDL2T', 'D9 E9'),
  none('FLDL2E', 'D9 EA'),
  none('FLDPI', 'D9 EB'),
  none('FLDLG2', 'D9 EC'),
  none('FLDLN2', 'D9 ED'),
  none('FLDZ', 'D9 EE'),
];

export const functions = [
  none('FCHS', 'D9 E0'),
  none('FABS', 'D9 E1'),
  none('F2XM1', 'D9 F0'),
  none('FYL2X', 'D9 F1'),
  none('FPTAN', 'D9 F2'),
  none('FPATAN', 'D9 F3'),
  none('FXTRACT', 'D9 F4'),
  none('FPREM1', 'D9 F5'),
  none('FPREM', 'D9 F8'),
  none('FYL2XP1', 'D9 F9'),
  none('FSQRT', 'D9 FA'),
  none('FSINCOS', 'D9 FB'),
  none('FRNDINT', 'D9 FC'),
  none('FSCALE', 'D9 FD'),
  none('FSIN', 'D9 FE'),
  none('FCOS', 'D9 FF'),
];

export const control = [
  none('FWAIT', '9B'),
  none('FNOP', 'D9 D0'),
  none('FDECSTP', 'D9 F6'),
  none('FINCSTP', 'D9 F7'),
  insn('FFREE', { sdm: 'Vol 2A, FFREE', forms: 'DD /0 STi', operands: { dst: 'w' } }),
  insn('FFREEP', { sdm: 'APM Vol 5, FFREEP', forms: 'DF /0 STi', operands: { dst: 'w' } }),
  load('FLDENV', 'D9 /4 M'),
  load('FLDCW', 'D9 /5 Mw'),
  store('FNSTENV', 'D9 /6 M'),
  store('FNSTCW', 'D9 /7 Mw'),
  load('FRSTOR', 'DD /4 M'),
  store('FNSAVE', 'DD /6 M'),
  store('FNSTSW', 'DD /7 Mw | DF E0 AX'),
  none('FNCLEX', 'DB E2'),
  none('FNINIT', 'DB E3'),
  // What the 8087 and 80287 did with these means nothing later: they do nothing.
  insn('EMMS', { sdm: 'Vol 2A, EMMS', forms: 'NP 0F 77', cpuid: 'mmx', operands: {} }),
  none('FNENI', 'DB E0'),
  none('FNDISI', 'DB E1'),
  none('FNSETPM', 'DB E4'),
];
