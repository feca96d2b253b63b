// Cases whose result the manuals leave open, beyond undefined flags: processors differ, so there is nothing to compare.

import type { Outcome } from './case.ts';
import { CODE_START } from './case.ts';
import type { Generated } from './generate.ts';

const UD = 6;
const GP = 13;

export function undefinedResult(g: Generated, native: Outcome, ours: Outcome): boolean {
  const { insn, opSize, operands } = g.decoded;
  // The host lacks the instruction.
  if (insn.cpuid !== undefined && native.vector === UD && ours.vector !== UD) return true;
  // AMD's processors jump first and fault there when the target is not canonical; ours fault as Intel's do, at the jump.
  if (native.vector === GP && native.rip !== CODE_START) return true;
  // Prefetch opcodes with a register: NOP on Intel's processors, #UD on AMD's.
  if (g.form.text.startsWith('0F 0D') && operands[0]?.kind === 'reg') return true;
  // A fault in the middle of a repeated comparison: Intel restores the flags, AMD does not.
  if (native.vector >= 0 && native.vector === ours.vector && g.decoded.rep !== 0 && /^(CMPS|SCAS)$/.test(insn.mnemonic)) return true;
  // SDM Vol 2A, BSWAP; Vol 2B, SHLD and SHRD: word operands, and counts above the operand's size.
  if (insn.mnemonic === 'BSWAP' && opSize === 2) return true;
  if ((insn.mnemonic === 'SHLD' || insn.mnemonic === 'SHRD') && opSize === 2) {
    const count = operands[2];
    const n = count?.kind === 'imm' ? count.lo : Number((g.case.gpr[1] ?? 0n) & 0xffn);
    return (n & 31) > 16;
  }
  return false;
}
