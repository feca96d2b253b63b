// Control registers: MOV CR, CLTS, LMSW, SMSW, XGETBV, XSETBV, INVLPG, INVPCID, and the instructions on caches
// (SDM Vol 3A, 2.5, 4.1.2, 4.10.4; pseudo-code in Vol 2). Callers have checked CPL.

import type { Lin } from '../addresses.ts';
import { isCanonical } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import { CS, RAX, RCX, RDX, SEG, STATE, TR } from '../state.ts';
import { CR0, CR4, EFER, EXC } from './bits.ts';
import { isNull, SYS } from './descriptor.ts';
import { inUse, setPkru } from './extended-state.ts';
import { loadBytes } from './linear.ts';
import { is64, isLongMode, next, requireCpl0 } from './mode.ts';
import { canonicalLinear, effectiveOffset, isMem, mask, operandLinear, readOperand, setGpr, writeOperand } from './operands.ts';
import type { SystemCpu } from './ports.ts';
import type { CpuProfile } from './profiles/profile.ts';
import { XCR0_X87, xcr0Of } from './xstate.ts';

const CR0_DEFINED = CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG;

const gp0 = (cpu: SystemCpu): false => cpu.fault(EXC.GP, 0);

/** CR0 and CR4 have bits that VMX root operation fixes to 1 (SDM Vol 3C, 24.8); the extension checks what a guest of its own writes. */
const inVmxRoot = (cpu: SystemCpu): boolean => cpu.nonRoot === null && cpu.vmx !== undefined && cpu.vmx.isOn && cpu.vmx.host === 'code';

/** PAE paging outside IA-32e mode, where page-directory pointers are in registers. */
const usesPdptes = (cr0: number, cr4: number, efer: number): boolean => (cr0 & CR0.PG) !== 0 && (cr4 & CR4.PAE) !== 0 && !(efer & EFER.LMA);

/** Whether IA-32e mode may be activated by setting PG (SDM Vol 3A, 9.8.5.3). */
function mayActivateLong(cpu: SystemCpu, cr4: number): boolean {
  const tss16 = (cpu.segAttributes(TR) & (SEG.type & ~2)) === SYS.tss16Available && !isNull(cpu.selector(TR));
  return (cr4 & CR4.PAE) !== 0 && (cpu.segAttributes(CS) & SEG.l) === 0 && !tss16;
}

/** MOV to CR0, and LMSW (SDM Vol 2B, MOV-Move to/from Control Registers; Vol 3A, 2.5). False: #GP(0), nothing changed. */
export function writeCr0(cpu: SystemCpu, value: bigint): boolean {
  if (value >> 32n) return gp0(cpu);
  const old = cpu.lo(STATE.cr0);
  const v = (Number(value) & CR0_DEFINED) | CR0.ET;
  const paging = (v & CR0.PG) !== 0;
  if (paging && !(v & CR0.PE)) return gp0(cpu);
  if (v & CR0.NW && !(v & CR0.CD)) return gp0(cpu);
  if (inVmxRoot(cpu) && ~v & cpu.vmx!.capabilities.cr0Fixed0) return gp0(cpu);
  const cr4 = cpu.lo(STATE.cr4);
  let efer = cpu.lo(STATE.efer);
  const changed = v ^ old;
  if (changed & CR0.PG) {
    if (paging && efer & EFER.LME && !mayActivateLong(cpu, cr4)) return gp0(cpu);
    if (!paging && (is64(cpu) || cr4 & CR4.PCIDE)) return gp0(cpu);
    efer = paging && efer & EFER.LME ? efer | EFER.LMA : efer & ~EFER.LMA;
  }
  // SDM Vol 3A, 4.4.1: these bits reload the page-directory pointers.
  const reload = usesPdptes(v, cr4, efer) && (changed & (CR0.PG | CR0.CD | CR0.NW)) !== 0;
  if (reload && !cpu.loadPdptes(cpu.u32(STATE.cr3))) return gp0(cpu);
  cpu.setHalves(STATE.efer, efer, 0);
  cpu.setHalves(STATE.cr0, v, 0);
  cpu.modeChanged();
  if (changed & (CR0.PG | CR0.PE | CR0.WP)) cpu.flushAll();
  return true;
}

/** CR3 bit 63 with CR4.PCIDE: keep the TLB entries of the PCID that is entered. In the high half. */
const NO_FLUSH = 0x8000_0000;

function writeCr3(cpu: SystemCpu, lo: number, hi: number): boolean {
  if (!isLongMode(cpu)) {
    const cr3 = lo >>> 0;
    if (usesPdptes(cpu.lo(STATE.cr0), cpu.lo(STATE.cr4), cpu.lo(STATE.efer)) && !cpu.loadPdptes(cr3)) return gp0(cpu);
    cpu.loadCr3(cr3, false);
    return true;
  }
  const pcide = (cpu.lo(STATE.cr4) & CR4.PCIDE) !== 0;
  const high = pcide ? hi & ~NO_FLUSH : hi;
  if (high >>> (cpu.profile.physicalBits - 32)) return gp0(cpu);
  cpu.loadCr3((high >>> 0) * 0x1_0000_0000 + (lo >>> 0), pcide && (hi & NO_FLUSH) !== 0);
  return true;
}

const CR4_BITS: readonly [string, number][] = [
  ['vme', CR4.VME | CR4.PVI],
  ['tsc', CR4.TSD],
  ['de', CR4.DE],
  ['pse', CR4.PSE],
  ['pae', CR4.PAE],
  ['mce', CR4.MCE],
  ['pge', CR4.PGE],
  ['mmx', CR4.PCE],
  ['fxsr', CR4.OSFXSR],
  ['sse', CR4.OSXMMEXCPT],
  ['umip', CR4.UMIP],
  ['fsgsbase', CR4.FSGSBASE],
  ['pcid', CR4.PCIDE],
  ['xsave', CR4.OSXSAVE],
  ['smep', CR4.SMEP],
  ['smap', CR4.SMAP],
  ['pku', CR4.PKE],
  ['vmx', CR4.VMXE],
];
const allowedCr4 = new WeakMap<CpuProfile, number>();
/** CR4 bits that a profile offers. (PCE came with the performance counters of the Pentium with MMX.) */
export function cr4Allowed(p: CpuProfile): number {
  let m = allowedCr4.get(p);
  if (m === undefined) {
    m = CR4_BITS.reduce((all, [name, bit]) => (p.features.has(name) ? all | bit : all), 0);
    allowedCr4.set(p, m);
  }
  return m;
}

/** SDM Vol 3A, 4.10.4.1: what a change of these bits invalidates everything for. */
const CR4_FLUSHES = CR4.PGE | CR4.PAE | CR4.PSE | CR4.PCIDE | CR4.SMEP | CR4.SMAP | CR4.PKE;

export function writeCr4(cpu: SystemCpu, value: bigint): boolean {
  if (value & ~BigInt(cr4Allowed(cpu.profile))) return gp0(cpu);
  const v = Number(value);
  if (inVmxRoot(cpu) && ~v & cpu.vmx!.capabilities.cr4Fixed0) return gp0(cpu);
  const old = cpu.lo(STATE.cr4);
  const changed = v ^ old;
  if (isLongMode(cpu) && !(v & CR4.PAE)) return gp0(cpu);
  if (changed & v & CR4.PCIDE && (!isLongMode(cpu) || cpu.lo(STATE.cr3) & 0xfff)) return gp0(cpu);
  const reload = usesPdptes(cpu.lo(STATE.cr0), v, cpu.lo(STATE.efer)) && (changed & (CR4.PAE | CR4.PGE | CR4.PSE | CR4.SMEP)) !== 0;
  if (reload && !cpu.loadPdptes(cpu.u32(STATE.cr3))) return gp0(cpu);
  cpu.setHalves(STATE.cr4, v, 0);
  cpu.modeChanged();
  if (changed & CR4_FLUSHES) cpu.flushAll();
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
      return writeCr3(cpu, Number(BigInt.asIntN(32, v)), Number(BigInt.asIntN(32, v >> 32n)));
    case 4:
      return writeCr4(cpu, v);
    case 8:
      if (v >> 4n) return gp0(cpu);
      if (cpu.nonRoot?.virtualTpr) cpu.nonRoot.virtualTpr.set(cpu, Number(v));
      else if (cpu.apic) cpu.apic.setCr8(Number(v));
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
  // The frequent one has no BigInt in it.
  if (to.index === 3) return writeCr3(cpu, cpu.regLo(from.index), is64(cpu) ? cpu.regHi(from.index) : 0) && next(cpu, d);
  return writeCr(cpu, to.index, cpu.reg(from.index) & mask(controlSize(cpu))) && next(cpu, d);
}

function moveFromCr(cpu: SystemCpu, d: Decoded): boolean {
  const [to, from] = d.operands;
  if (to?.kind !== 'reg' || from?.kind !== 'reg') return cpu.fault(EXC.UD);
  const at = CR_FIELDS[from.index];
  if (at === undefined) return cpu.fault(EXC.UD);
  const tpr = at === STATE.cr8 ? (cpu.nonRoot?.virtualTpr?.get() ?? cpu.apic?.getCr8()) : undefined;
  const v = tpr === undefined ? cpu.big(at) : BigInt(tpr);
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

/** XCR0 holds what the profile has; x87 cannot be taken away (SDM Vol 1, 13.3). */
function xsetbv(cpu: SystemCpu, d: Decoded): boolean {
  if (!(cpu.lo(STATE.cr4) & CR4.OSXSAVE)) return cpu.fault(EXC.UD);
  if (!requireCpl0(cpu)) return false;
  const v = cpu.regLo(RAX);
  if (cpu.regLo(RCX) !== 0 || cpu.regLo(RDX) !== 0 || v & ~xcr0Of(cpu.profile.features) || !(v & XCR0_X87)) return gp0(cpu);
  cpu.setHalves(STATE.xcr0, v, 0);
  return next(cpu, d);
}

/** ECX 1: XCR0 and what is in use, for XSAVEC's and XSAVES' readers. */
function xgetbv(cpu: SystemCpu, d: Decoded): boolean {
  if (!(cpu.lo(STATE.cr4) & CR4.OSXSAVE)) return cpu.fault(EXC.UD);
  const which = cpu.regLo(RCX);
  if (which !== 0 && !(which === 1 && cpu.profile.features.has('xgetbv1'))) return gp0(cpu);
  cpu.setRegHalves(RAX, which === 0 ? cpu.lo(STATE.xcr0) : cpu.lo(STATE.xcr0) & inUse(cpu), 0);
  cpu.setRegHalves(RDX, which === 0 ? cpu.hi(STATE.xcr0) : 0, 0);
  return next(cpu, d);
}

/** PKRU (SDM Vol 2B and 2D): CR4.PKE is needed, ECX must be zero, and EDX for the write. Any level. */
function rdpkru(cpu: SystemCpu, d: Decoded): boolean {
  if (!(cpu.lo(STATE.cr4) & CR4.PKE)) return cpu.fault(EXC.UD);
  if (cpu.regLo(RCX) !== 0) return gp0(cpu);
  cpu.setRegHalves(RAX, cpu.lo(STATE.pkru), 0);
  cpu.setRegHalves(RDX, 0, 0);
  return next(cpu, d);
}
function wrpkru(cpu: SystemCpu, d: Decoded): boolean {
  if (!(cpu.lo(STATE.cr4) & CR4.PKE)) return cpu.fault(EXC.UD);
  if (cpu.regLo(RCX) !== 0 || cpu.regLo(RDX) !== 0) return gp0(cpu);
  setPkru(cpu, cpu.regLo(RAX) >>> 0);
  return next(cpu, d);
}

/** A non-canonical address does nothing, and no segment limit is checked (SDM Vol 2A, INVLPG). */
function invlpg(cpu: SystemCpu, d: Decoded): boolean {
  if (!requireCpl0(cpu)) return false;
  const m = d.operands[0];
  if (!isMem(m)) return cpu.fault(EXC.UD);
  const quick = is64(cpu) ? canonicalLinear(cpu, d, m, 1) : undefined;
  if (quick !== undefined) {
    cpu.invlpg(quick);
    return next(cpu, d);
  }
  const offset = effectiveOffset(cpu, d, m);
  const base = BigInt(is64(cpu) && m.seg < 4 ? 0 : cpu.segBase(m.seg));
  const lin = Number(is64(cpu) ? BigInt.asIntN(64, base + offset) : (base + offset) & 0xffffffffn) as Lin;
  if (isCanonical(lin)) cpu.invlpg(lin);
  return next(cpu, d);
}

/** Types: 0 one address of a PCID, 1 a PCID, 2 all with globals, 3 all without (SDM Vol 2A, INVPCID). */
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
  if (type === 0n) cpu.invlpgPcid(address, Number(pcid));
  else if (type === 1n) cpu.flushPcid(Number(pcid));
  else cpu.flushAll();
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
  RDPKRU: rdpkru,
  WRPKRU: wrpkru,
  INVLPG: invlpg,
  INVPCID: invpcid,
  INVD: privilegedNop,
  WBINVD: privilegedNop,
  CLFLUSH: flushLine,
  CLFLUSHOPT: flushLine,
  CLWB: flushLine,
};
