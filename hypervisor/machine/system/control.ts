// Control registers: MOV CR, CLTS, LMSW, SMSW, XGETBV, XSETBV, INVLPG, INVPCID, and the instructions on caches
// (SDM Vol 3A, 2.5, 4.1.2, 4.10.4; pseudo-code in Vol 2). Callers have checked CPL.

import type { Lin } from '../addresses.ts';
import { isCanonical } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import { CS, RAX, RCX, RDX, SEG, STATE } from '../state.ts';
import { CR0, CR4, EFER, EXC } from './bits.ts';
import { loadBytes } from './linear.ts';
import { is64, isLongMode, next, requireCpl0 } from './mode.ts';
import { effectiveOffset, isMem, mask, operandLinear, readOperand, setGpr, writeOperand } from './operands.ts';
import type { SystemCpu } from './ports.ts';

const CR0_DEFINED = CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG;

const gp0 = (cpu: SystemCpu): false => cpu.fault(EXC.GP, 0);

/** MOV to CR0, and LMSW. False: #GP(0), nothing changed. */
export function writeCr0(cpu: SystemCpu, value: bigint): boolean {
  if (value >> 32n) return gp0(cpu);
  const old = cpu.lo(STATE.cr0);
  const v = (Number(value) & CR0_DEFINED) | CR0.ET;
  const paging = (v & CR0.PG) !== 0;
  if (paging && !(v & CR0.PE)) return gp0(cpu);
  if (v & CR0.NW && !(v & CR0.CD)) return gp0(cpu);
  const cr4 = cpu.lo(STATE.cr4);
  const efer = cpu.lo(STATE.efer);
  const changed = v ^ old;
  if (changed & CR0.PG) {
    const longCode = (cpu.segAttributes(CS) & SEG.l) !== 0;
    if (paging && efer & EFER.LME && (!(cr4 & CR4.PAE) || longCode)) return gp0(cpu);
    if (!paging && (is64(cpu) || cr4 & CR4.PCIDE)) return gp0(cpu);
    if (paging && efer & EFER.LME) cpu.setHalves(STATE.efer, efer | EFER.LMA, 0);
    if (!paging) cpu.setHalves(STATE.efer, efer & ~EFER.LMA, 0);
  }
  cpu.setHalves(STATE.cr0, v, 0);
  cpu.modeChanged();
  if (changed & (CR0.PG | CR0.PE | CR0.WP)) cpu.flushAll();
  return true;
}

/** CR3 bit 63 with CR4.PCIDE: keep the TLB entries of the PCID that is entered. */
const NO_FLUSH = 1n << 63n;

function writeCr3(cpu: SystemCpu, value: bigint): boolean {
  const pcide = (cpu.lo(STATE.cr4) & CR4.PCIDE) !== 0;
  const keep = pcide && (value & NO_FLUSH) !== 0n;
  const v = pcide ? value & ~NO_FLUSH : value;
  if (isLongMode(cpu) && v >> BigInt(cpu.profile.physicalBits)) return gp0(cpu);
  cpu.loadCr3(isLongMode(cpu) ? v : v & 0xffffffffn, keep);
  return true;
}

/** CR4 bits that the profile offers. */
function cr4Allowed(cpu: SystemCpu): number {
  const f = cpu.profile.features;
  let m = CR4.TSD | CR4.DE | CR4.PSE | CR4.PAE | CR4.MCE | CR4.PGE | CR4.PCE | CR4.OSFXSR | CR4.OSXMMEXCPT;
  const gated: readonly [string, number][] = [
    ['vme', CR4.VME | CR4.PVI],
    ['umip', CR4.UMIP],
    ['fsgsbase', CR4.FSGSBASE],
    ['pcid', CR4.PCIDE],
    ['xsave', CR4.OSXSAVE],
    ['smep', CR4.SMEP],
    ['smap', CR4.SMAP],
    ['pku', CR4.PKE],
    ['vmx', CR4.VMXE],
  ];
  for (const [name, bit] of gated) if (f.has(name)) m |= bit;
  return m;
}

export function writeCr4(cpu: SystemCpu, value: bigint): boolean {
  if (value & ~BigInt(cr4Allowed(cpu))) return gp0(cpu);
  const v = Number(value);
  const old = cpu.lo(STATE.cr4);
  const changed = v ^ old;
  if (isLongMode(cpu) && !(v & CR4.PAE)) return gp0(cpu);
  if (changed & v & CR4.PCIDE && (!isLongMode(cpu) || cpu.lo(STATE.cr3) & 0xfff)) return gp0(cpu);
  cpu.setHalves(STATE.cr4, v, 0);
  cpu.modeChanged();
  if (changed & (CR4.PGE | CR4.PAE | CR4.PSE | CR4.PCIDE | CR4.SMEP | CR4.SMAP)) cpu.flushAll();
  return true;
}

export function writeCr(cpu: SystemCpu, n: number, v: bigint): boolean {
  switch (n) {
    case 0:
      return writeCr0(cpu, v);
    case 2:
      cpu.setBig(STATE.cr2, v);
      return true;
    case 3:
      return writeCr3(cpu, v);
    case 4:
      return writeCr4(cpu, v);
    case 8:
      if (v >> 4n) return gp0(cpu);
      if (cpu.apic) cpu.apic.setCr8(Number(v));
      else cpu.setBig(STATE.cr8, v);
      return true;
    default:
      return cpu.fault(EXC.UD);
  }
}

const CR_FIELDS: Readonly<Record<number, number>> = { 0: STATE.cr0, 2: STATE.cr2, 3: STATE.cr3, 4: STATE.cr4, 8: STATE.cr8 };

const controlSize = (cpu: SystemCpu): 4 | 8 => (is64(cpu) ? 8 : 4);

function moveToCr(cpu: SystemCpu, d: Decoded): boolean {
  const [to, from] = d.operands;
  if (to?.kind !== 'reg' || from?.kind !== 'reg' || CR_FIELDS[to.index] === undefined) return cpu.fault(EXC.UD);
  return writeCr(cpu, to.index, cpu.reg(from.index) & mask(controlSize(cpu))) && next(cpu, d);
}

function moveFromCr(cpu: SystemCpu, d: Decoded): boolean {
  const [to, from] = d.operands;
  if (to?.kind !== 'reg' || from?.kind !== 'reg') return cpu.fault(EXC.UD);
  const at = CR_FIELDS[from.index];
  if (at === undefined) return cpu.fault(EXC.UD);
  const v = at === STATE.cr8 && cpu.apic ? BigInt(cpu.apic.getCr8()) : cpu.big(at);
  setGpr(cpu, to.index, controlSize(cpu), v);
  return next(cpu, d);
}

/** LMSW sets PE but cannot clear it. */
function lmsw(cpu: SystemCpu, d: Decoded): boolean {
  if (!requireCpl0(cpu)) return false;
  const v = readOperand(cpu, d, 0, 2);
  if (v === undefined) return false;
  const old = cpu.lo(STATE.cr0);
  const cr0 = (old & ~0xe) | (Number(v) & 0xf) | (old & CR0.PE);
  return writeCr0(cpu, BigInt(cr0 >>> 0)) && next(cpu, d);
}

/** Stores 16 bits to memory, the whole of CR0 at the operand size to a register. */
function smsw(cpu: SystemCpu, d: Decoded): boolean {
  if (cpu.lo(STATE.cr4) & CR4.UMIP && cpu.cpl > 0) return gp0(cpu);
  const size = isMem(d.operands[0]) ? 2 : d.opSize;
  return writeOperand(cpu, d, 0, cpu.big(STATE.cr0), size) && next(cpu, d);
}

/** XCR0 bits that the machine keeps: x87 and SSE. */
const XCR0_ALLOWED = 3n;

function xsetbv(cpu: SystemCpu, d: Decoded): boolean {
  if (!(cpu.lo(STATE.cr4) & CR4.OSXSAVE)) return cpu.fault(EXC.UD);
  if (!requireCpl0(cpu)) return false;
  const v = (cpu.reg(RDX) << 32n) | (cpu.reg(RAX) & 0xffffffffn);
  if (cpu.regLo(RCX) !== 0 || v & ~XCR0_ALLOWED || !(v & 1n)) return gp0(cpu);
  cpu.setBig(STATE.xcr0, v);
  return next(cpu, d);
}

function xgetbv(cpu: SystemCpu, d: Decoded): boolean {
  if (!(cpu.lo(STATE.cr4) & CR4.OSXSAVE)) return cpu.fault(EXC.UD);
  if (cpu.regLo(RCX) !== 0) return gp0(cpu);
  cpu.setRegHalves(RAX, cpu.lo(STATE.xcr0), 0);
  cpu.setRegHalves(RDX, cpu.hi(STATE.xcr0), 0);
  return next(cpu, d);
}

/** A non-canonical address does nothing, and no segment limit is checked (SDM Vol 2A, INVLPG). */
function invlpg(cpu: SystemCpu, d: Decoded): boolean {
  if (!requireCpl0(cpu)) return false;
  const m = d.operands[0];
  if (!isMem(m)) return cpu.fault(EXC.UD);
  const offset = effectiveOffset(cpu, d, m);
  const base = BigInt(is64(cpu) && m.seg < 4 ? 0 : cpu.segBase(m.seg));
  const lin = Number(is64(cpu) ? BigInt.asIntN(64, base + offset) : (base + offset) & 0xffffffffn) as Lin;
  if (isCanonical(lin)) cpu.invlpg(lin);
  return next(cpu, d);
}

/** Types 0 to 3: address, PCID, all with globals, all without (SDM Vol 2A, INVPCID). Broader than asked for is allowed. */
function invpcid(cpu: SystemCpu, d: Decoded): boolean {
  if (!requireCpl0(cpu)) return false;
  const type = readOperand(cpu, d, 0, is64(cpu) ? 8 : 4);
  const lin = operandLinear(cpu, d, 1, 16, false);
  const b = lin === undefined ? undefined : loadBytes(cpu, lin, 16);
  if (type === undefined || b === undefined) return false;
  const view = new DataView(b.buffer);
  const pcid = view.getBigUint64(0, true);
  const address = Number(view.getBigInt64(8, true)) as Lin;
  const pcide = (cpu.lo(STATE.cr4) & CR4.PCIDE) !== 0;
  if (type > 3n || pcid >> 12n || (type < 2n && !pcide && pcid !== 0n)) return gp0(cpu);
  if (type === 0n && !isCanonical(address)) return gp0(cpu);
  cpu.flushAll();
  return next(cpu, d);
}

const privilegedNop = (cpu: SystemCpu, d: Decoded): boolean => requireCpl0(cpu) && next(cpu, d);

/** CLFLUSH and its kin touch the line as a byte load does. */
function flushLine(cpu: SystemCpu, d: Decoded): boolean {
  const lin = operandLinear(cpu, d, 0, 1, false);
  return lin !== undefined && cpu.probe(lin, 1, false) !== 0 && next(cpu, d);
}

export const controlHandlers = {
  MOV_TO_CR: moveToCr,
  MOV_FROM_CR: moveFromCr,
  CLTS(cpu: SystemCpu, d: Decoded) {
    if (!requireCpl0(cpu)) return false;
    cpu.setHalves(STATE.cr0, cpu.lo(STATE.cr0) & ~CR0.TS, 0);
    cpu.modeChanged();
    return next(cpu, d);
  },
  LMSW: lmsw,
  SMSW: smsw,
  XSETBV: xsetbv,
  XGETBV: xgetbv,
  INVLPG: invlpg,
  INVPCID: invpcid,
  INVD: privilegedNop,
  WBINVD: privilegedNop,
  CLFLUSH: flushLine,
  CLFLUSHOPT: flushLine,
  CLWB: flushLine,
};
