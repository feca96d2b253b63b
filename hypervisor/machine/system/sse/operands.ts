// Operands of SSE instructions carried out in TypeScript: 128 bits at most, as bigints.

import type { Decoded } from '../../isa/decoded.ts';
import { STATE } from '../../state.ts';
import { EXC } from '../bits.ts';
import { loadBig, word } from '../linear.ts';
import { mask, operandLinear } from '../operands.ts';
import type { SystemCpu } from '../ports.ts';

const XMM_BYTES = 16;
const MM_BYTES = 8;
const HIGH = 64n;

export const readXmm = (cpu: SystemCpu, n: number): bigint => {
  const at = STATE.xmm + XMM_BYTES * n;
  return cpu.big(at) | (cpu.big(at + 8) << HIGH);
};
export function writeXmm(cpu: SystemCpu, n: number, v: bigint): void {
  const at = STATE.xmm + XMM_BYTES * n;
  cpu.setBig(at, BigInt.asUintN(64, v));
  cpu.setBig(at + 8, v >> HIGH);
}
/** An MMX register: sign and exponent become all ones (SDM Vol 3A, 12.2). */
export function writeMm(cpu: SystemCpu, n: number, v: bigint): void {
  cpu.setBig(STATE.fpr + XMM_BYTES * n, v);
  cpu.setU16(STATE.fpr + XMM_BYTES * n + MM_BYTES, 0xffff);
}

/** Operand i, a register or memory; undefined after a fault. 16 bytes of memory must be aligned. */
export function readSource(cpu: SystemCpu, d: Decoded, i: number): bigint | undefined {
  const o = d.operands[i];
  if (o?.kind === 'reg') {
    if (o.class === 'xmm') return readXmm(cpu, o.index);
    return o.class === 'mm' ? cpu.big(STATE.fpr + XMM_BYTES * o.index) : cpu.reg(o.index) & mask(o.size);
  }
  if (o?.kind !== 'mem') throw new Error(`${d.insn.mnemonic}: operand ${i} is no source`);
  const lin = operandLinear(cpu, d, i, o.size, false);
  if (lin === undefined) return undefined;
  if (o.size !== XMM_BYTES) return loadBig(cpu, lin, o.size);
  if (lin % XMM_BYTES !== 0) {
    cpu.fault(EXC.GP, 0);
    return undefined;
  }
  const p = cpu.probe(lin, XMM_BYTES, false);
  if (p === 0) return undefined;
  const m = cpu.ram.u8;
  return [12, 8, 4, 0].reduce((v, at) => (v << 32n) | BigInt(word(m, p + at)), 0n);
}

/** Number of a register operand. */
export function registerOf(d: Decoded, i: number): number {
  const o = d.operands[i];
  if (o?.kind !== 'reg') throw new Error(`${d.insn.mnemonic}: operand ${i} is no register`);
  return o.index;
}

/** The low byte of an immediate operand; 0 where there is none. */
export const immediate = (d: Decoded, i: number): number => {
  const o = d.operands[i];
  return o?.kind === 'imm' ? o.lo & 0xff : 0;
};
