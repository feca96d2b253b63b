// What x87 handlers share: the checks before, the pointers after, operands in memory.

import type { Lin } from '../../addresses.ts';
import type { Decoded } from '../../isa/decoded.ts';
import { STATE } from '../../state.ts';
import { x87Usable } from '../fpu-check.ts';
import { loadBig, loadBytes, storeBig, storeBytes } from '../linear.ts';
import { next } from '../mode.ts';
import { effectiveOffset, isMem, operandLinear } from '../operands.ts';
import type { SystemCpu } from '../ports.ts';
import { fromFloat, fromInt } from './convert.ts';
import type { F80 } from './float80.ts';
import { f80 } from './float80.ts';
import { Fpu } from './unit.ts';

export type X87Handler = (cpu: SystemCpu, d: Decoded) => boolean;

/** Ends a non-control instruction: state to the context, and the pointers that an exception handler reads (SDM Vol 1, 8.1.8). */
export function finish(f: Fpu, d: Decoded): true {
  const { cpu } = f;
  f.commit();
  cpu.setLin(STATE.fip, cpu.rip);
  const m = d.operands.find(isMem);
  if (m) cpu.setBig(STATE.fdp, effectiveOffset(cpu, d, m));
  return next(cpu, d);
}

/** A handler in the usual frame: availability, pending exceptions, C1 cleared. `body` answers false after a memory fault. */
export const operation =
  (body: (f: Fpu, d: Decoded) => boolean): X87Handler =>
  (cpu, d) => {
    if (!x87Usable(cpu, true)) return false;
    const f = new Fpu(cpu);
    f.setC1(false);
    return body(f, d) && finish(f, d);
  };

/** Stack register that operand i names. */
export const stackIndex = (d: Decoded, i: number): number => {
  const o = d.operands[i];
  return o?.kind === 'reg' ? o.index : 0;
};

/** Size of memory operand i in bytes, or 0 when it is a register. */
export const memorySize = (d: Decoded, i: number): number => {
  const o = d.operands[i];
  return isMem(o) ? o.size : 0;
};

/** `size` bytes (up to 10) of memory operand i. */
export function loadBits(f: Fpu, d: Decoded, i: number, size: number): bigint | undefined {
  const lin = operandLinear(f.cpu, d, i, size, false);
  if (lin === undefined) return undefined;
  if (size <= 8) return loadBig(f.cpu, lin, size);
  const bytes = loadBytes(f.cpu, lin, size);
  return bytes?.reduceRight((v, b) => (v << 8n) | BigInt(b), 0n);
}

export function storeBits(f: Fpu, d: Decoded, i: number, size: number, bits: bigint): boolean {
  const lin: Lin | undefined = operandLinear(f.cpu, d, i, size, true);
  if (lin === undefined) return false;
  if (size <= 8) return storeBig(f.cpu, lin, size, bits);
  return storeBytes(
    f.cpu,
    lin,
    Uint8Array.from({ length: size }, (_, n) => Number((bits >> BigInt(8 * n)) & 0xffn)),
  );
}

/** Floating-point memory operand in register format. */
export function loadFloat(f: Fpu, d: Decoded, i: number): F80 | undefined {
  const size = memorySize(d, i);
  const bits = loadBits(f, d, i, size);
  if (bits === undefined) return undefined;
  if (size === 10) return f80(Number(bits >> 64n), bits & 0xffff_ffff_ffff_ffffn);
  return fromFloat(bits, size === 4 ? 4 : 8, f.env);
}

export function loadInteger(f: Fpu, d: Decoded, i: number): F80 | undefined {
  const size = memorySize(d, i);
  const bits = loadBits(f, d, i, size);
  return bits === undefined ? undefined : fromInt(bits, size);
}
