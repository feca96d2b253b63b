// Small words that the integer semantics share.

import type { Builder, Operand, Size } from '../stage/builder.ts';
import { flagCF, flagOF, setCfOf } from '../stage/flags.ts';

/** Size of an integer operand. SAFE: only XMM operands are of 16 bytes, and these forms have none. */
export const sz = (o: Operand): Size => o.size as Size;

/** Bit number of the sign. */
export const top = (s: Size): number => s * 8 - 1;

/** Bit n of v, as 0 or 1. */
export const bit = <V, X>(b: Builder<V, X>, v: V, n: number): V => b.and(b.shr(v, b.k(n)), b.k(1));

export const setCF = <V, X>(b: Builder<V, X>, cf: V): void => setCfOf(b, cf, flagOF(b));
export const setOF = <V, X>(b: Builder<V, X>, of: V): void => setCfOf(b, flagCF(b), of);
