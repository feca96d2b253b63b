// What exits tell of the operands of an instruction: VM-exit instruction information (SDM Vol 3C, Tables 27-8 to 27-15) and, of a memory
// operand, its displacement as the exit qualification (27.2.1).

import type { Lin } from '../addresses.ts';
import { isCanonical, linFromHalves, linHi, linLo } from '../addresses.ts';
import type { Decoded, MemOperand } from '../isa/decoded.ts';
import { is64 } from '../system/mode.ts';
import { canonicalLinear, effectiveOffset, isMem } from '../system/operands.ts';
import type { SystemCpu } from '../system/ports.ts';
import type { ExitCause } from './exit.ts';

/** The number of the register that is RIP in a MemOperand: reported as no base, its value added to the displacement. */
const RIP = 16;

/** 0, 1, 2 for 16, 32, 64 bits. */
const sizeCode = (bytes: number): number => (bytes === 8 ? 2 : bytes === 4 ? 1 : 0);

/** Scaling, address size, segment, index and base. */
function memoryInformation(d: Decoded, m: MemOperand): number {
  const index = m.index >= 0 ? m.scale | (m.index << 18) : 1 << 22;
  const base = m.base >= 0 && m.base < RIP ? m.base << 23 : 1 << 27;
  return index | base | (sizeCode(d.addrSize) << 7) | (m.seg << 15);
}

function displacement(cpu: SystemCpu, c: ExitCause, d: Decoded, m: MemOperand): void {
  const v = linFromHalves(m.disp, m.dispHi) + (m.base === RIP ? cpu.rip + d.length : 0);
  c.qLo = d.addrSize === 2 ? v & 0xffff : linLo(v);
  c.qHi = d.addrSize === 8 ? linHi(v) : 0;
}

/**
 * Of operand `at`, memory or a register (Reg1, bit 10), with what else the table of the instruction wants in `more`. Tables 27-9 to 27-15
 * agree in where these lie.
 */
export function operandInformation(cpu: SystemCpu, c: ExitCause, d: Decoded, at: number, more: number): void {
  const o = d.operands[at];
  if (isMem(o)) {
    c.instruction = memoryInformation(d, o) | more;
    displacement(cpu, c, d, o);
  } else if (o?.kind === 'reg') c.instruction = (o.index << 3) | (1 << 10) | more;
}

/** Reg2, the other operand. */
export function reg2(d: Decoded, at: number): number {
  const o = d.operands[at];
  return o?.kind === 'reg' ? o.index << 28 : 0;
}

/** Table 27-5, and for INS and OUTS Table 27-8, where the processor tells it (IA32_VMX_BASIC bit 54). */
export function ioInformation(
  c: ExitCause,
  d: Decoded,
  port: number,
  size: number,
  isIn: boolean,
  lin: Lin | undefined,
  strings: boolean,
): void {
  const isImmediate = d.operands.some((o) => o.kind === 'imm');
  c.qLo = (size - 1) | (isIn ? 8 : 0) | (lin !== undefined ? 16 : 0) | (d.rep !== 0 ? 32 : 0) | (isImmediate ? 64 : 0) | (port << 16);
  c.lin = lin;
  if (lin === undefined || !strings) return;
  const source = d.operands.find(isMem);
  c.instruction = (sizeCode(d.addrSize) << 7) | (isIn ? 0 : (source?.seg ?? 3) << 15);
}

/** RDRAND and RDSEED (Table 27-12): destination and operand size. */
export function destinationInformation(c: ExitCause, d: Decoded): void {
  const o = d.operands[0];
  if (o?.kind === 'reg') c.instruction = (o.index << 3) | (sizeCode(d.opSize) << 11);
}

/** Linear address of a memory operand of which nothing is accessed (INVLPG), or that is only told of (LMSW), as halves into the cause. */
export function operandAddress(cpu: SystemCpu, d: Decoded, m: MemOperand): { readonly lin: Lin; readonly lo: number; readonly hi: number } {
  const quick = is64(cpu) ? canonicalLinear(cpu, d, m, 1) : undefined;
  if (quick !== undefined) return { lin: quick, lo: linLo(quick), hi: linHi(quick) };
  const sum = BigInt(is64(cpu) && m.seg < 4 ? 0 : cpu.segBase(m.seg)) + effectiveOffset(cpu, d, m);
  const v = BigInt.asUintN(is64(cpu) ? 64 : 32, sum);
  const lin = Number(BigInt.asIntN(64, v)) as Lin;
  return { lin: isCanonical(lin) ? lin : (Number.NaN as Lin), lo: Number(v & 0xffff_ffffn) | 0, hi: Number(v >> 32n) | 0 };
}
