// The operands that the decoder hands out. Register operands are shared objects: there are few of them, and they are most of all operands.

import type { ImmOperand, RegClass, RegOperand } from '../isa/decoded.ts';

/** Index into CLASSES. */
export type RegClassIndex = 0 | 1 | 2 | 3 | 4 | 5 | 6;
const CLASSES: readonly RegClass[] = ['gpr', 'seg', 'cr', 'dr', 'st', 'mm', 'xmm'];

const SIZES = 17;
const registers: (RegOperand | undefined)[] = new Array(CLASSES.length * SIZES * 16).fill(undefined);

/** Register `index` of a class seen at `size` bytes. */
export function regOperand(cls: RegClassIndex, index: number, size: number): RegOperand {
  const key = (cls * SIZES + size) * 16 + index;
  const known = registers[key];
  if (known !== undefined) return known;
  const made: RegOperand = { kind: 'reg', class: CLASSES[cls] ?? 'gpr', index, size, high: false };
  registers[key] = made;
  return made;
}

/** AH CH DH BH. */
export const HIGH_BYTES: readonly RegOperand[] = [0, 1, 2, 3].map((index) => ({ kind: 'reg', class: 'gpr', index, size: 1, high: true }));

export const immOperand = (size: number, lo: number, hi: number): ImmOperand => ({ kind: 'imm', size, lo, hi });

/** `lo` and `hi` cut to `size` bytes: what lies above is zero. */
export function cutImm(size: number, lo: number, hi: number): ImmOperand {
  if (size === 8) return immOperand(8, lo, hi);
  return immOperand(size, size === 4 ? lo : size === 2 ? lo & 0xffff : lo & 0xff, 0);
}
