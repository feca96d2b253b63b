// What the decoder hands on: one instruction, its prefixes resolved, each operand named.

import type { AnyInsn } from './insn.ts';

export type RegClass = 'gpr' | 'seg' | 'cr' | 'dr' | 'st' | 'mm' | 'xmm';

export interface RegOperand {
  readonly kind: 'reg';
  readonly class: RegClass;
  /** Encoding number; for gpr of size 1 without REX, 4..7 with `high` set mean AH CH DH BH given as index 0..3. */
  readonly index: number;
  readonly size: number;
  readonly high: boolean;
}
export interface MemOperand {
  readonly kind: 'mem';
  /** Access size in bytes; 0 where the instruction defines it (LEA, FXSAVE, LGDT ...). */
  readonly size: number;
  /** Segment register number after override and default. */
  readonly seg: number;
  /** GPR number, 16 for RIP-relative, -1 for none. */
  readonly base: number;
  /** GPR number or -1. */
  readonly index: number;
  /** log2 of the scale. */
  readonly scale: 0 | 1 | 2 | 3;
  /** Signed 32-bit displacement; moffs64 forms give the high half in dispHi. */
  readonly disp: number;
  readonly dispHi: number;
}
export interface ImmOperand {
  readonly kind: 'imm';
  /** Size of the value that the instruction sees, after extension. */
  readonly size: number;
  /** Value, already sign-extended to 64 bits where the form says so. */
  readonly lo: number;
  readonly hi: number;
}
export interface RelOperand {
  readonly kind: 'rel';
  readonly disp: number;
}
/** ptr16:16 / ptr16:32 of far jumps and calls. */
export interface FarOperand {
  readonly kind: 'far';
  readonly selector: number;
  readonly offset: number;
}
export type DecodedOperand = RegOperand | MemOperand | ImmOperand | RelOperand | FarOperand;

export interface CodeMode {
  /** Default size of the code segment. */
  readonly bits: 16 | 32 | 64;
  /** Whether CPUID has a feature: some encodings mean something else without it (insn.ts, `older`). Left out: all are there. */
  readonly has?: (feature: string) => boolean;
}

export interface Decoded {
  readonly insn: AnyInsn;
  /** Index into the instruction's forms. */
  readonly form: number;
  /** In bytes, prefixes included. */
  readonly length: number;
  /** Effective operand size: 1 for byte forms, else 2, 4 or 8. */
  readonly opSize: 1 | 2 | 4 | 8;
  readonly addrSize: 2 | 4 | 8;
  readonly rep: 0 | 0xf2 | 0xf3;
  readonly lock: boolean;
  /** Condition code of a +cc form, else 0. */
  readonly cc: number;
  readonly operands: readonly DecodedOperand[];
}

/** Why there is no instruction: #UD, #GP(0) for more than 15 bytes, or more bytes are needed than were given (the next page). */
export type DecodeError = 'ud' | 'tooLong' | 'needBytes';
/** decode(bytes, offset, available, mode): reads at most `available` bytes from `offset`. */
export type Decode = (bytes: Uint8Array, offset: number, available: number, mode: CodeMode) => Decoded | DecodeError;
