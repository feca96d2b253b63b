// x87 floating-point instructions (SDM Vol 1, chapter 8). The staged semantics (x87-arithmetic.ts, x87-moves.ts) carry out the ordinary
// cases; all others, and the instructions that have none, are system/x87/'s.
//
// Two-operand arithmetic always names both operands, ST0 included where the assembler leaves it off. The aliases that Intel marks as
// reserved and all processors execute (SDM Vol 2D, table A-7 ff.: DC D0, DD C8, DE D0, DF C0 ...) are with their originals.

import type { Access } from '../stage/builder.ts';
import { type Flag, type Insn, insn } from './insn.ts';
import * as compute from './x87-arithmetic.ts';
import * as move from './x87-moves.ts';

type Sem<O extends Record<string, Access>> = NonNullable<Insn<O>['sem']>;
const INTEGER_FLAGS: readonly Flag[] = ['OF', 'SF', 'ZF', 'AF', 'PF', 'CF'];

/** A record for instructions with the operands `operands`; their semantics, where they have staged ones, come last. */
const family =
  <const O extends Record<string, Access>>(
    operands: O,
    flags: { readonly reads?: readonly Flag[]; readonly writes?: readonly Flag[] } = {},
    gate: { readonly cpuid?: string } = {},
  ) =>
  (mnemonic: string, forms: string, sem?: Sem<O>) =>
    insn<O>(mnemonic, { sdm: `Vol 2A, ${mnemonic}`, forms, operands, flags, ...gate, ...(sem === undefined ? {} : { sem }) });
const none = family({});
const load = family({ src: 'r' });
const store = family({ dst: 'w' });
const two = family({ dst: 'rw', src: 'r' });
const compare = family({ a: 'r', b: 'r' });
/** FCOMI and FCMOV came with CMOV, and share its bit (SDM Vol 2A, CPUID). */
const WITH_CMOV = { cpuid: 'cmov' } as const;
const compareFlags = family({ a: 'r', b: 'r' }, { writes: INTEGER_FLAGS }, WITH_CMOV);
const moveIf = (mnemonic: string, forms: string, cc: number, reads: readonly Flag[]) =>
  insn(mnemonic, {
    sdm: 'Vol 2A, FCMOVcc',
    forms,
    operands: { dst: 'rw', src: 'r' },
    flags: { reads },
    ...WITH_CMOV,
    sem: move.moveIf(cc),
  });

const { add, multiply, subtract, subtractReversed, divide, divideReversed } = compute.OPERATIONS;
const { arithmetic: compute2, comparison } = compute;

export const arithmetic = [
  two('FADD', 'D8 /0 ST0,Md | DC /0 ST0,Mq | D8 /0 ST0,STi | DC /0 STi,ST0', compute2(add)),
  two('FMUL', 'D8 /1 ST0,Md | DC /1 ST0,Mq | D8 /1 ST0,STi | DC /1 STi,ST0', compute2(multiply)),
  // Between DC and D8, and in DE, the reversed forms change places.
  two('FSUB', 'D8 /4 ST0,Md | DC /4 ST0,Mq | D8 /4 ST0,STi | DC /5 STi,ST0', compute2(subtract)),
  two('FSUBR', 'D8 /5 ST0,Md | DC /5 ST0,Mq | D8 /5 ST0,STi | DC /4 STi,ST0', compute2(subtractReversed)),
  two('FDIV', 'D8 /6 ST0,Md | DC /6 ST0,Mq | D8 /6 ST0,STi | DC /7 STi,ST0', compute2(divide)),
  two('FDIVR', 'D8 /7 ST0,Md | DC /7 ST0,Mq | D8 /7 ST0,STi | DC /6 STi,ST0', compute2(divideReversed)),
  two('FADDP', 'DE /0 STi,ST0', compute2(add, { pops: true })),
  two('FMULP', 'DE /1 STi,ST0', compute2(multiply, { pops: true })),
  two('FSUBRP', 'DE /4 STi,ST0', compute2(subtractReversed, { pops: true })),
  two('FSUBP', 'DE /5 STi,ST0', compute2(subtract, { pops: true })),
  two('FDIVRP', 'DE /6 STi,ST0', compute2(divideReversed, { pops: true })),
  two('FDIVP', 'DE /7 STi,ST0', compute2(divide, { pops: true })),
  two('FIADD', 'DA /0 ST0,Md | DE /0 ST0,Mw', compute2(add, { kind: 'integer' })),
  two('FIMUL', 'DA /1 ST0,Md | DE /1 ST0,Mw', compute2(multiply, { kind: 'integer' })),
  two('FISUB', 'DA /4 ST0,Md | DE /4 ST0,Mw', compute2(subtract, { kind: 'integer' })),
  two('FISUBR', 'DA /5 ST0,Md | DE /5 ST0,Mw', compute2(subtractReversed, { kind: 'integer' })),
  two('FIDIV', 'DA /6 ST0,Md | DE /6 ST0,Mw', compute2(divide, { kind: 'integer' })),
  two('FIDIVR', 'DA /7 ST0,Md | DE /7 ST0,Mw', compute2(divideReversed, { kind: 'integer' })),
];

export const comparisons = [
  compare('FCOM', 'D8 /2 ST0,Md | DC /2 ST0,Mq | D8 /2 ST0,STi | DC /2 ST0,STi', comparison()),
  compare('FCOMP', 'D8 /3 ST0,Md | DC /3 ST0,Mq | D8 /3 ST0,STi | DC /3 ST0,STi | DE /2 ST0,STi', comparison({ pops: 1 })),
  none('FCOMPP', 'DE D9', compute.compareAndPopBoth),
  compare('FUCOM', 'DD /4 ST0,STi', comparison()),
  compare('FUCOMP', 'DD /5 ST0,STi', comparison({ pops: 1 })),
  none('FUCOMPP', 'DA E9', compute.compareAndPopBoth),
  compare('FICOM', 'DA /2 ST0,Md | DE /2 ST0,Mw', comparison({ kind: 'integer' })),
  compare('FICOMP', 'DA /3 ST0,Md | DE /3 ST0,Mw', comparison({ kind: 'integer', pops: 1 })),
  compareFlags('FCOMI', 'DB /6 ST0,STi', comparison({ toFlags: true })),
  compareFlags('FCOMIP', 'DF /6 ST0,STi', comparison({ toFlags: true, pops: 1 })),
  compareFlags('FUCOMI', 'DB /5 ST0,STi', comparison({ toFlags: true })),
  compareFlags('FUCOMIP', 'DF /5 ST0,STi', comparison({ toFlags: true, pops: 1 })),
  none('FTST', 'D9 E4', compute.FTST),
  none('FXAM', 'D9 E5', compute.FXAM),
];

export const moves = [
  load('FLD', 'D9 /0 Md | DD /0 Mq | DB /5 Mt | D9 /0 STi', move.load('float')),
  store('FST', 'D9 /2 Md | DD /2 Mq | DD /2 STi', move.store(false)),
  store('FSTP', 'D9 /3 Md | DD /3 Mq | DB /7 Mt | DD /3 STi | DF /2 STi | DF /3 STi', move.store(true)),
  // Like FSTP, but without a stack-underflow exception.
  store('FSTPNCE', 'D9 /3 STi'),
  load('FILD', 'DF /0 Mw | DB /0 Md | DF /5 Mq', move.load('integer')),
  store('FIST', 'DF /2 Mw | DB /2 Md', move.storeInteger(false)),
  store('FISTP', 'DF /3 Mw | DB /3 Md | DF /7 Mq', move.storeInteger(true)),
  store('FISTTP', 'DF /1 Mw | DB /1 Md | DD /1 Mq', move.storeInteger(true, true)),
  load('FBLD', 'DF /4 Mt'),
  store('FBSTP', 'DF /6 Mt'),
  insn('FXCH', {
    sdm: 'Vol 2A, FXCH',
    forms: 'D9 /1 ST0,STi | DD /1 ST0,STi | DF /1 ST0,STi',
    operands: { a: 'rw', b: 'rw' },
    sem: move.FXCH,
  }),
  moveIf('FCMOVB', 'DA /0 ST0,STi', 2, ['CF']),
  moveIf('FCMOVE', 'DA /1 ST0,STi', 4, ['ZF']),
  moveIf('FCMOVBE', 'DA /2 ST0,STi', 6, ['CF', 'ZF']),
  moveIf('FCMOVU', 'DA /3 ST0,STi', 10, ['PF']),
  moveIf('FCMOVNB', 'DB /0 ST0,STi', 3, ['CF']),
  moveIf('FCMOVNE', 'DB /1 ST0,STi', 5, ['ZF']),
  moveIf('FCMOVNBE', 'DB /2 ST0,STi', 7, ['CF', 'ZF']),
  moveIf('FCMOVNU', 'DB /3 ST0,STi', 11, ['PF']),
  none('FLD1', 'D9 E8', move.loadConstant(move.CONSTANTS.FLD1)),
  none('FLDL2T', 'D9 E9', move.loadConstant(move.CONSTANTS.FLDL2T)),
  none('FLDL2E', 'D9 EA', move.loadConstant(move.CONSTANTS.FLDL2E)),
  none('FLDPI', 'D9 EB', move.loadConstant(move.CONSTANTS.FLDPI)),
  none('FLDLG2', 'D9 EC', move.loadConstant(move.CONSTANTS.FLDLG2)),
  none('FLDLN2', 'D9 ED', move.loadConstant(move.CONSTANTS.FLDLN2)),
  none('FLDZ', 'D9 EE', move.loadConstant(move.CONSTANTS.FLDZ)),
];

export const functions = [
  none('FCHS', 'D9 E0', compute.sign('turn')),
  none('FABS', 'D9 E1', compute.sign('clear')),
  none('F2XM1', 'D9 F0'),
  none('FYL2X', 'D9 F1'),
  none('FPTAN', 'D9 F2'),
  none('FPATAN', 'D9 F3'),
  none('FXTRACT', 'D9 F4', compute.FXTRACT),
  none('FPREM1', 'D9 F5', compute.remainder(true)),
  none('FPREM', 'D9 F8', compute.remainder(false)),
  none('FYL2XP1', 'D9 F9'),
  none('FSQRT', 'D9 FA', compute.FSQRT),
  none('FSINCOS', 'D9 FB'),
  none('FRNDINT', 'D9 FC', compute.FRNDINT),
  none('FSCALE', 'D9 FD', compute.FSCALE),
  none('FSIN', 'D9 FE'),
  none('FCOS', 'D9 FF'),
];

export const control = [
  none('FWAIT', '9B', move.FWAIT),
  none('FNOP', 'D9 D0', move.FNOP),
  none('FDECSTP', 'D9 F6', move.moveTop(-1)),
  none('FINCSTP', 'D9 F7', move.moveTop(1)),
  insn('FFREE', { sdm: 'Vol 2A, FFREE', forms: 'DD /0 STi', operands: { dst: 'w' }, sem: move.FFREE }),
  insn('FFREEP', { sdm: 'APM Vol 5, FFREEP', forms: 'DF /0 STi', operands: { dst: 'w' } }),
  load('FLDENV', 'D9 /4 M'),
  load('FLDCW', 'D9 /5 Mw', move.FLDCW),
  store('FNSTENV', 'D9 /6 M'),
  store('FNSTCW', 'D9 /7 Mw', move.FNSTCW),
  load('FRSTOR', 'DD /4 M'),
  store('FNSAVE', 'DD /6 M'),
  store('FNSTSW', 'DD /7 Mw | DF E0 AX', move.FNSTSW),
  none('FNCLEX', 'DB E2', move.FNCLEX),
  none('FNINIT', 'DB E3', move.FNINIT),
  // What the 8087 and 80287 did with these means nothing later: they do nothing.
  insn('EMMS', { sdm: 'Vol 2A, EMMS', forms: 'NP 0F 77', cpuid: 'mmx', operands: {}, sem: move.EMMS }),
  none('FNENI', 'DB E0'),
  none('FNDISI', 'DB E1'),
  none('FNSETPM', 'DB E4'),
];
