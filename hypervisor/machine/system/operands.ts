// Operands of a decoded instruction as the slow paths read and write them: effective addresses, segment checks, registers.

import type { Lin } from '../addresses.ts';
import { isCanonical, linFromHalves } from '../addresses.ts';
import type { Decoded, DecodedOperand, MemOperand } from '../isa/decoded.ts';
import { FS, SEG, SS } from '../state.ts';
import { EXC } from './bits.ts';
import { loadBig, storeBig } from './linear.ts';
import { hasProtection, is64, isVm86 } from './mode.ts';
import type { SystemCpu } from './ports.ts';

export const mask = (size: number): bigint => (1n << BigInt(8 * size)) - 1n;

/** Offset of a memory operand in its segment, unsigned, cut to the address size (SDM Vol 1, 3.7.5). */
export function effectiveOffset(cpu: SystemCpu, d: Decoded, m: MemOperand): bigint {
  let a = (BigInt(m.dispHi) << 32n) | BigInt(m.disp >>> 0);
  if (m.base === 16) a += BigInt(cpu.rip + d.length);
  else if (m.base >= 0) a += cpu.reg(m.base);
  if (m.index >= 0) a += cpu.reg(m.index) << BigInt(m.scale);
  return a & mask(d.addrSize);
}

const segmentFault = (cpu: SystemCpu, seg: number): undefined => {
  cpu.fault(seg === SS ? EXC.SS : EXC.GP, 0);
  return undefined;
};

/** Limit check of `size` bytes at `offset`, for segments outside 64-bit mode (SDM Vol 3A, 5.3). */
export function withinLimit(attributes: number, limit: number, offset: number, size: number): boolean {
  const last = offset + size - 1;
  const expandDown = (attributes & (SEG.s | SEG.code | SEG.expandDown)) === (SEG.s | SEG.expandDown);
  if (!expandDown) return last <= limit;
  return offset > limit && last <= (attributes & SEG.db ? 0xffffffff : 0xffff);
}

/** Linear address for an access through a segment register, or the fault that the segment raises. */
export function segmentLinear(cpu: SystemCpu, seg: number, offset: bigint, size: number, write: boolean): Lin | undefined {
  if (is64(cpu)) {
    const base = seg >= FS ? BigInt(cpu.segBase(seg)) : 0n;
    const lin = Number(BigInt.asIntN(64, base + offset)) as Lin;
    if (!isCanonical(lin) || !isCanonical((lin + size - 1) as Lin)) return segmentFault(cpu, seg);
    return lin;
  }
  const attributes = cpu.segAttributes(seg);
  if (hasProtection(cpu) && !isVm86(cpu)) {
    if (!(attributes & SEG.present)) return segmentFault(cpu, seg);
    const code = (attributes & SEG.code) !== 0;
    const writableOrReadable = (attributes & SEG.writable) !== 0;
    if (write ? code || !writableOrReadable : code && !writableOrReadable) return segmentFault(cpu, seg);
  }
  const off = Number(offset & 0xffffffffn);
  if (!withinLimit(attributes, cpu.segLimit(seg), off, size)) return segmentFault(cpu, seg);
  return ((cpu.segBase(seg) + off) >>> 0) as Lin;
}

export const isMem = (o: DecodedOperand | undefined): o is MemOperand => o?.kind === 'mem';

/** Sums of numbers below this are exact. */
const EXACT = 2 ** 51;
/**
 * The linear address of a memory operand in 64-bit code, without BigInt: undefined where a register holds more than a double can add up, or
 * the sum is not canonical.
 */
export function canonicalLinear(cpu: SystemCpu, d: Decoded, m: MemOperand, size: number): Lin | undefined {
  if (d.addrSize !== 8) return undefined;
  let a: number = linFromHalves(m.disp, m.dispHi);
  if (m.base === 16) a += cpu.rip + d.length;
  else if (m.base >= 0) {
    const base = cpu.regLin(m.base);
    if (Math.abs(base) >= EXACT) return undefined;
    a += base;
  }
  if (m.index >= 0) {
    const index = cpu.regLin(m.index);
    if (Math.abs(index) >= EXACT / 8) return undefined;
    a += index * (1 << m.scale);
  }
  if (m.seg >= FS) a += cpu.segBase(m.seg);
  return isCanonical(a as Lin) && isCanonical((a + size - 1) as Lin) ? (a as Lin) : undefined;
}

/** Linear address of memory operand i for an access of `size` bytes. */
export function operandLinear(cpu: SystemCpu, d: Decoded, i: number, size: number, write: boolean): Lin | undefined {
  const m = d.operands[i];
  if (!isMem(m)) throw new Error(`${d.insn.mnemonic}: operand ${i} is not memory`);
  if (is64(cpu)) {
    const lin = canonicalLinear(cpu, d, m, size);
    if (lin !== undefined) return lin;
  }
  return segmentLinear(cpu, m.seg, effectiveOffset(cpu, d, m), size, write);
}

/** Size of operand i as declared, for memory and registers alike. */
export const operandSize = (d: Decoded, i: number): number => {
  const o = d.operands[i];
  return o && 'size' in o && o.size ? o.size : d.opSize;
};

/** Value of operand i, zero-extended; `size` overrides the declared one. */
export function readOperand(cpu: SystemCpu, d: Decoded, i: number, size = operandSize(d, i)): bigint | undefined {
  const o = d.operands[i]!;
  switch (o.kind) {
    case 'reg':
      return o.high ? (cpu.reg(o.index & 3) >> 8n) & 0xffn : cpu.reg(o.index) & mask(size);
    case 'mem': {
      const lin = operandLinear(cpu, d, i, size, false);
      return lin === undefined ? undefined : loadBig(cpu, lin, size);
    }
    case 'imm':
      return ((BigInt(o.hi) << 32n) | BigInt(o.lo >>> 0)) & mask(size);
    default:
      throw new Error(`${d.insn.mnemonic}: operand ${i} has no value`);
  }
}

/** General register n at a size: 8 and 16 bits merge, 32 bits clear the high half (SDM Vol 1, 3.4.1.1). */
export function setGpr(cpu: SystemCpu, n: number, size: number, value: bigint): void {
  if (size === 8) cpu.setReg(n, BigInt.asUintN(64, value));
  else if (size === 4) cpu.setReg(n, value & 0xffffffffn);
  else cpu.setReg(n, (cpu.reg(n) & ~mask(size)) | (value & mask(size)));
}

export function writeOperand(cpu: SystemCpu, d: Decoded, i: number, value: bigint, size = operandSize(d, i)): boolean {
  const o = d.operands[i]!;
  if (o.kind === 'reg') {
    if (o.high) cpu.setReg(o.index & 3, (cpu.reg(o.index & 3) & ~0xff00n) | ((value & 0xffn) << 8n));
    else setGpr(cpu, o.index, size, value);
    return true;
  }
  const lin = operandLinear(cpu, d, i, size, true);
  return lin !== undefined && storeBig(cpu, lin, size, value & mask(size));
}
