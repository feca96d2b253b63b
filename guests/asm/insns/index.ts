// All instructions the assembler knows, by mnemonic.
import type { Forms } from '../forms.ts';
import { ARITHMETIC } from './arithmetic.ts';
import { DATA } from './data.ts';
import { FLOAT } from './float.ts';
import { FLOW } from './flow.ts';
import { SYSTEM } from './system.ts';
import { SVM, VMX } from './virtualization.ts';

export const INSNS = { ...ARITHMETIC, ...DATA, ...FLOW, ...FLOAT, ...SYSTEM, ...VMX, ...SVM } satisfies Record<string, Forms>;
export type Insns = typeof INSNS;
export type Mnemonic = keyof Insns;
