// IN, OUT, INS and OUTS, with IOPL and the I/O permission bit map of the TSS (SDM Vol 1, chapter 18 "Input/Output").

import type { Lin } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import { EFLAGS, ES, RAX, RCX, RDI, RDX, RSI, SEG, STATE, TR } from '../state.ts';
import { EXC } from './bits.ts';
import { anyBreakpoint, matchIo } from './debug.ts';
import { load } from './linear.ts';
import { hasProtection, iopl, isVm86, next } from './mode.ts';
import { isMem, mask, segmentLinear, setGpr } from './operands.ts';
import type { SystemCpu } from './ports.ts';

/** Offset of the bit map's base in a 32- or 64-bit TSS. */
const IO_MAP_BASE = 0x66;

/** Whether this access may be made; #GP(0) if not. Always two bytes of the map are read, as a port range may straddle them. */
export function ioAllowed(cpu: SystemCpu, port: number, size: number): boolean {
  if (!hasProtection(cpu) || (cpu.cpl <= iopl(cpu) && !isVm86(cpu))) return true;
  const tss = cpu.segAttributes(TR);
  const limit = cpu.segLimit(TR);
  const is32 = (tss & SEG.present) !== 0 && (tss & (SEG.type & ~2)) === 9;
  if (!is32 || IO_MAP_BASE + 1 > limit) return cpu.fault(EXC.GP, 0);
  const base = load(cpu, (cpu.segBase(TR) + IO_MAP_BASE) as Lin, 2, true);
  if (base === undefined) return false;
  const at = base + (port >>> 3);
  if (at + 1 > limit) return cpu.fault(EXC.GP, 0);
  const bits = load(cpu, (cpu.segBase(TR) + at) as Lin, 2, true);
  if (bits === undefined) return false;
  return ((bits >>> (port & 7)) & ((1 << size) - 1)) === 0 || cpu.fault(EXC.GP, 0);
}

/** Size of the data: a byte form, else 2 or 4 (REX.W has no effect). */
const dataSize = (d: Decoded): number => (d.opSize === 8 ? 4 : d.opSize);

/** The port operand: an immediate byte, or DX. */
function portOf(cpu: SystemCpu, d: Decoded, i: number): number {
  const o = d.operands[i];
  return o?.kind === 'imm' ? o.lo & 0xff : cpu.regLo(RDX) & 0xffff;
}

/** Notes I/O breakpoints (DR7.R/W 10b with CR4.DE): a trap after the instruction (SDM Vol 3B, 17.2.4). */
function watchPort(cpu: SystemCpu, port: number, size: number): void {
  if (anyBreakpoint(cpu)) cpu.thread.debugHits |= matchIo(cpu, port, size);
}

function input(cpu: SystemCpu, d: Decoded): boolean {
  const port = portOf(cpu, d, 1);
  const size = dataSize(d);
  if (!ioAllowed(cpu, port, size)) return false;
  if (cpu.nonRoot?.io(cpu, d, port, size, true, undefined)) return true;
  watchPort(cpu, port, size);
  setGpr(cpu, RAX, size, BigInt(cpu.io.in(port, size) >>> 0));
  return next(cpu, d);
}

function output(cpu: SystemCpu, d: Decoded): boolean {
  const port = portOf(cpu, d, 0);
  const size = dataSize(d);
  if (!ioAllowed(cpu, port, size)) return false;
  if (cpu.nonRoot?.io(cpu, d, port, size, false, undefined)) return true;
  watchPort(cpu, port, size);
  cpu.io.out(port, size, Number(cpu.reg(RAX) & mask(size)));
  return next(cpu, d);
}

/** Elements in one execution of a repeated INS or OUTS; the rest waits, so that interrupts are not held off for long. */
const CHUNK = 512;

/** Runs `element` once, or up to rCX times; RIP stays at the instruction while some are left, or where one made a VM exit. */
function repeat(cpu: SystemCpu, d: Decoded, element: () => boolean | 'exit'): boolean {
  if (!d.rep) {
    const ran = element();
    return ran === 'exit' || (ran && next(cpu, d));
  }
  for (let i = 0; i < CHUNK; i++) {
    const left = cpu.reg(RCX) & mask(d.addrSize);
    if (left === 0n) return next(cpu, d);
    const ran = element();
    if (ran !== true) return ran === 'exit';
    setGpr(cpu, RCX, d.addrSize, left - 1n);
  }
  return (cpu.reg(RCX) & mask(d.addrSize)) === 0n ? next(cpu, d) : true;
}

const step = (cpu: SystemCpu, size: number): bigint => BigInt(cpu.lo(STATE.eflags) & EFLAGS.DF ? -size : size);
const moveOn = (cpu: SystemCpu, d: Decoded, n: number, size: number): void =>
  setGpr(cpu, n, d.addrSize, (cpu.reg(n) + step(cpu, size)) & mask(d.addrSize));

function inputString(cpu: SystemCpu, d: Decoded): boolean {
  const port = cpu.regLo(RDX) & 0xffff;
  const size = dataSize(d);
  if (!ioAllowed(cpu, port, size)) return false;
  return repeat(cpu, d, () => {
    const lin = segmentLinear(cpu, ES, cpu.reg(RDI) & mask(d.addrSize), size, true);
    if (lin !== undefined && cpu.nonRoot?.io(cpu, d, port, size, true, lin)) return 'exit';
    // Probed before the port is read: a read may have side effects, so a page fault must come first.
    const host = lin === undefined ? 0 : cpu.probe(lin, size, true);
    if (host === 0) return false;
    watchPort(cpu, port, size);
    const v = cpu.io.in(port, size);
    for (let i = 0; i < size; i++) cpu.ram.u8[host + i] = v >>> (8 * i);
    cpu.commit(host);
    moveOn(cpu, d, RDI, size);
    return true;
  });
}

function outputString(cpu: SystemCpu, d: Decoded): boolean {
  const port = cpu.regLo(RDX) & 0xffff;
  const size = dataSize(d);
  if (!ioAllowed(cpu, port, size)) return false;
  const source = d.operands.find(isMem);
  return repeat(cpu, d, () => {
    const lin = segmentLinear(cpu, source?.seg ?? 3, cpu.reg(RSI) & mask(d.addrSize), size, false);
    if (lin !== undefined && cpu.nonRoot?.io(cpu, d, port, size, false, lin)) return 'exit';
    const v = lin === undefined ? undefined : load(cpu, lin, size);
    if (v === undefined) return false;
    watchPort(cpu, port, size);
    cpu.io.out(port, size, v);
    moveOn(cpu, d, RSI, size);
    return true;
  });
}

export const ioHandlers = { IN: input, OUT: output, INS: inputString, OUTS: outputString };
