// One record per mnemonic: how it is encoded, what it may do, what it means. The decoder, the interpreter, the JIT, the oracle and the
// tests all derive from these records; nothing about an instruction is known anywhere else.

import type { Access, Builder, Operand, Size } from '../stage/builder.ts';

export type Flag = 'CF' | 'PF' | 'AF' | 'ZF' | 'SF' | 'OF';
export const OSZAPC: readonly Flag[] = ['OF', 'SF', 'ZF', 'AF', 'PF', 'CF'];

/**
 * What must hold, else the exception that the manual names:
 * cpl0 (#GP(0)), not64 / only64 (#UD), protected (#UD in real mode and vm86), noLock is the default: LOCK raises #UD unless `lock` is set
 * and the destination is memory.
 */
export type Check = 'cpl0' | 'not64' | 'only64' | 'protected';

export interface Context {
  /** Operand-size attribute in bytes: 2, 4 or 8. For byte forms, 1. */
  readonly size: Size;
  /** Condition code or other low opcode bits of a form written with +cc. */
  readonly cc: number;
}

export interface Insn<O extends Record<string, Access> = Record<string, Access>> {
  readonly mnemonic: string;
  /** Where in the SDM (Vol 2) or APM (Vol 3) it is described. */
  readonly sdm: string;
  /**
   * Encodings, separated by '|', in the manuals' notation: optional mandatory prefix (NP NFx 66 F2 F3) or VEX.LZ..., opcode bytes, /r or /0../7,
   * '+r' (register in the opcode) or '+cc', then operands separated by commas, in the letters of the SDM's Appendix A (Eb Ev Gv Iz sIb
   * Jz Ob M Ed Eq Ey Rd Sw Vx Wx Pq Qq ...; Zb Zv is the register of a +r form; Rv/Mw where register and memory sizes differ; (rAX) (rBX)b
   * (rDI)q is memory at DS:that register) or fixed registers (AL rAX DX CL 1 ES ...). A trailing {flags} set, separated by blanks, may
   * hold: d64 (operand size 64 by default in 64-bit mode), f64 (forced to 64), i64 (invalid in 64-bit mode), o64 (only in 64-bit mode),
   * mem or reg (ModRM.mod must be a memory / register form), w0 w1 (only with this REX.W), o16 o32 oq (only with this effective operand
   * size: CBW is `98 {o16}`, CWDE `98 {o32}`), b0 (only without REX.B: NOP). isa/forms.ts has the grammar in full.
   */
  readonly forms: string;
  /** In the order of the operands in each form. */
  readonly operands: O;
  readonly flags?: { readonly reads?: readonly Flag[]; readonly writes?: readonly Flag[]; readonly undefined?: readonly Flag[] };
  /** CPUID feature that must be present, by the name in machine/system/features.ts; #UD otherwise. */
  readonly cpuid?: string;
  /** What the encoding means without that feature, where that is not #UD (LZCNT is BSR then); operands of the same kinds. */
  readonly older?: AnyInsn;
  readonly lock?: true;
  readonly check?: Check | readonly Check[];
  readonly intercept?: { readonly vmx: string; readonly svm: string };
  /** True when the instruction may write RIP other than by running on: it ends a block. Derived for staged code; stated for `system`. */
  readonly ends?: true;
  /** Staged semantics; absent when the instruction is carried out by machine/system/ in TypeScript under the same mnemonic. */
  readonly sem?: <V, X>(b: Builder<V, X>, o: { readonly [K in keyof O]: Operand<O[K]> }, c: Context) => void;
}

export const insn = <const O extends Record<string, Access>>(mnemonic: string, d: Omit<Insn<O>, 'mnemonic'>): Insn<O> => ({
  mnemonic,
  ...d,
});

/** For lists that hold instructions with different operands. */
// biome-ignore lint/suspicious/noExplicitAny: operand records are contravariant in sem; a list of instructions has no common one
export type AnyInsn = Insn<any>;
