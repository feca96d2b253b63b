// What an MSR can be made of: a field of the context, a value that is merely held, a constant; and for which processors it exists.

import { isCanonical, type Lin } from '../addresses.ts';
import type { SystemCpu } from './ports.ts';
import type { CpuProfile } from './profiles/profile.ts';

export interface Msr {
  read(cpu: SystemCpu): bigint;
  /** False: #GP(0). */
  write(cpu: SystemCpu, v: bigint): boolean;
  /** Whether a processor has it; absent: all that have MSRs. */
  readonly on?: (p: CpuProfile) => boolean;
}
export type MsrRow = readonly [number: number, msr: Msr];

const anything = (): boolean => true;

/** A field of the context; `accepts` tells which values may be written. */
export const field = (offset: number, accepts: (v: bigint) => boolean = anything): Msr => ({
  read: (cpu) => cpu.big(offset),
  write(cpu, v) {
    if (!accepts(v)) return false;
    cpu.setBig(offset, v);
    return true;
  },
});

/** Kept in cpu.thread.msrs under its number. */
export const held = (number: number, reset: bigint, accepts: (v: bigint, cpu: SystemCpu) => boolean = anything): Msr => ({
  read: (cpu) => cpu.thread.msrs.get(number) ?? reset,
  write(cpu, v) {
    if (!accepts(v, cpu)) return false;
    cpu.thread.msrs.set(number, v);
    return true;
  },
});
export const readOnly = (value: bigint | ((cpu: SystemCpu) => bigint)): Msr => ({
  read: typeof value === 'bigint' ? () => value : value,
  write: () => false,
});
export const ignored = (value: bigint): Msr => ({ read: () => value, write: () => true });

/** Rows that exist where the profile has one of these features. */
export const withFeature = (names: string, rows: readonly MsrRow[]): MsrRow[] => {
  const list = names.split(' ');
  const on = (p: CpuProfile): boolean => list.some((n) => p.features.has(n));
  return rows.map(([n, m]): MsrRow => [n, { ...m, on }]);
};
export const where = (on: (p: CpuProfile) => boolean, rows: readonly MsrRow[]): MsrRow[] => rows.map(([n, m]): MsrRow => [n, { ...m, on }]);

export const isU32 = (v: bigint): boolean => v >> 32n === 0n;
export const canonical = (v: bigint): boolean => isCanonical(Number(BigInt.asIntN(64, v)) as Lin);

export interface Signature {
  readonly family: number;
  readonly model: number;
}
/** Family and model with their extensions (SDM Vol 2A, CPUID leaf 1). */
export function familyModel(signature: number): Signature {
  const base = (signature >>> 8) & 15;
  const family = base === 15 ? 15 + ((signature >>> 20) & 0xff) : base;
  const extended = base === 6 || base === 15 ? ((signature >>> 16) & 15) << 4 : 0;
  return { family, model: extended | ((signature >>> 4) & 15) };
}
