// Cases whose result is not ours to compare, beyond undefined flags: what the manuals leave open, and where processors differ.

import { type Case, CODE_START, type Outcome, startOf } from './case.ts';
import type { Generated } from './generate.ts';

const UD = 6;
const SS = 12;
const GP = 13;

/** The code page, which is data to no executor but the native one. */
export const isCode = (address: bigint): boolean => address >> 12n === CODE_START >> 12n;

const shiftCount = (c: Case, operand: Generated['decoded']['operands'][number] | undefined): number =>
  operand?.kind === 'imm' ? operand.lo : Number((c.gpr[1] ?? 0n) & 0xffn);

export function undefinedResult(g: Generated, want: Outcome, got: Outcome): boolean {
  const { insn, opSize, operands, rep } = g.decoded;
  const { mnemonic } = insn;
  const [first, second, third] = operands;
  // The host lacks the instruction.
  if (insn.cpuid !== undefined && want.vector === UD && got.vector !== UD) return true;
  if (isCode(got.address)) return true;
  // AMD's processors jump first and fault there when the target is not canonical; ours fault as Intel's do, at the jump.
  if (want.vector === GP && want.rip !== startOf(g.case.bits)) return true;
  // Prefetch opcodes with a register: NOP on Intel's processors, #UD on AMD's.
  if (g.form.text.startsWith('0F 0D') && first?.kind === 'reg') return true;
  if (want.vector >= 0 && want.vector === got.vector) {
    // A fault in the middle of a repeated comparison: Intel restores the flags, AMD does not.
    if (rep !== 0 && (mnemonic === 'CMPS' || mnemonic === 'SCAS')) return true;
    // AMD's processors have loaded some registers by then, and report the page's first byte.
    if (mnemonic === 'POPA') return true;
    // AMD's processors have turned the x87 unit over to MMX by then.
    if (mnemonic === 'MASKMOVQ') return true;
  }
  // Misaligned and past the limit of SS: which comes first is open.
  if (want.vector === GP && got.vector === SS && operands.some((o) => o.kind === 'mem' && o.size === 16)) return true;
  // Intel reads 16 bits, AMD 32.
  if (mnemonic === 'MOVSXD' && opSize === 2 && second?.kind === 'mem') return true;
  // SDM Vol 2A, BSWAP; Vol 2B, SHLD and SHRD: word operands, and counts above the operand's size.
  if (mnemonic === 'BSWAP' && opSize === 2) return true;
  return (mnemonic === 'SHLD' || mnemonic === 'SHRD') && opSize === 2 && (shiftCount(g.case, third) & 31) > 16;
}

const C1 = 0x200;
const CONDITION_CODES = 0x4700;
const UNDEFINED_CODES: readonly (readonly [RegExp, number])[] = [
  [/^FCMOV|^FU?COMIP?$|^FSTPNCE$|^FX(CH|TRACT)$/, C1],
  [/^FFREEP?$/, CONDITION_CODES],
];

/** Condition codes of the x87 status word that the manuals leave undefined, or where AMD keeps what Intel clears (C1 of FCOMI). */
export const undefinedCodes = (mnemonic: string): number => UNDEFINED_CODES.find(([m]) => m.test(mnemonic))?.[1] ?? 0;
