// Instructions on segment registers and descriptor tables (SDM Vol 2, under their names).

import type { Lin } from '../addresses.ts';
import { isCanonical } from '../addresses.ts';
import { flatSegment } from '../exec/mode.ts';
import type { Decoded } from '../isa/decoded.ts';
import { CS, DS, EFLAGS, ES, FS, GS, LDTR, SS, STATE, TR } from '../state.ts';
import { CR4, EXC } from './bits.ts';
import type { Descriptor } from './descriptor.ts';
import { descriptorAddress, isNull, readDescriptorAt } from './descriptor.ts';
import { load, loadBig, loadBytes, storeBytes } from './linear.ts';
import { is64, isLongMode, next, requireCpl0 } from './mode.ts';
import { isMem, operandLinear, operandSize, readOperand, setGpr, writeOperand } from './operands.ts';
import type { SystemCpu } from './ports.ts';
import { isReadable, isWritableData, loadLdtr, loadSegment, loadTr } from './segments.ts';
import { currentStack } from './stack.ts';

const setZf = (cpu: SystemCpu, on: boolean): void => {
  cpu.rflags = on ? cpu.rflags | EFLAGS.ZF : cpu.rflags & ~EFLAGS.ZF;
};

const sregOf = (d: Decoded, i: number): number => {
  const o = d.operands[i];
  return o?.kind === 'reg' ? o.index : 6;
};

/** UMIP: SGDT, SIDT, SLDT, STR and SMSW above CPL 0 raise #GP(0). */
const umipForbids = (cpu: SystemCpu): boolean => (cpu.lo(STATE.cr4) & CR4.UMIP) !== 0 && cpu.cpl > 0;

/** After MOV and POP to SS no interrupt and no debug trap comes before the end of the next instruction (SDM Vol 3A, 6.8.3). */
function holdOff(cpu: SystemCpu): void {
  cpu.thread.interruptShadow = true;
  cpu.thread.debugShadow = true;
}

/** Loads a segment register other than CS. Only whether DS or ES are flat, and what SS is, matters to how code is run. */
function loadData(cpu: SystemCpu, seg: number, selector: number): boolean {
  const wasFlat = flatSegment(cpu, seg);
  if (!loadSegment(cpu, seg, selector)) return false;
  if (seg === SS) {
    holdOff(cpu);
    cpu.modeChanged();
  } else if (seg < FS && flatSegment(cpu, seg) !== wasFlat) cpu.modeChanged();
  return true;
}
function moveToSreg(cpu: SystemCpu, d: Decoded): boolean {
  const seg = sregOf(d, 0);
  if (seg === CS || seg > GS) return cpu.fault(EXC.UD);
  const v = readOperand(cpu, d, 1, 2);
  if (v === undefined || !loadData(cpu, seg, Number(v))) return false;
  return next(cpu, d);
}

/** A register gets the selector zero-extended to the operand size, memory 16 bits. */
function moveFromSreg(cpu: SystemCpu, d: Decoded): boolean {
  const seg = sregOf(d, 1);
  if (seg > GS) return cpu.fault(EXC.UD);
  return writeOperand(cpu, d, 0, BigInt(cpu.selector(seg)), isMem(d.operands[0]) ? 2 : d.opSize) && next(cpu, d);
}

function popSreg(cpu: SystemCpu, d: Decoded): boolean {
  const seg = sregOf(d, 0);
  const stack = currentStack(cpu);
  const selector = stack.popSelector(d.opSize);
  if (selector === undefined || !loadData(cpu, seg, selector)) return false;
  // With POP SS the pointer moves on the width of the old stack segment; the new one rules from the next instruction on.
  stack.commit();
  return next(cpu, d);
}

const loadFarPointer =
  (seg: number) =>
  (cpu: SystemCpu, d: Decoded): boolean => {
    const lin = operandLinear(cpu, d, 1, d.opSize + 2, false);
    if (lin === undefined) return false;
    const offset = loadBig(cpu, lin, d.opSize);
    const selector = offset === undefined ? undefined : load(cpu, (lin + d.opSize) as Lin, 2);
    if (offset === undefined || selector === undefined || !loadSegment(cpu, seg, selector)) return false;
    const dst = d.operands[0];
    if (dst?.kind === 'reg') setGpr(cpu, dst.index, d.opSize, offset);
    cpu.modeChanged();
    return next(cpu, d);
  };

const storeTable =
  (base: number, limit: number) =>
  (cpu: SystemCpu, d: Decoded): boolean => {
    if (umipForbids(cpu)) return cpu.fault(EXC.GP, 0);
    const long = is64(cpu);
    const bytes = new Uint8Array(long ? 10 : 6);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, cpu.u32(limit), true);
    view.setUint32(2, cpu.u32(base), true);
    if (long) view.setInt32(6, cpu.hi(base), true);
    const lin = operandLinear(cpu, d, 0, bytes.length, true);
    return lin !== undefined && storeBytes(cpu, lin, bytes) && next(cpu, d);
  };

/** A 16-bit operand size takes 24 bits of base. */
const loadTable =
  (base: number, limit: number) =>
  (cpu: SystemCpu, d: Decoded): boolean => {
    if (!requireCpl0(cpu)) return false;
    const long = is64(cpu);
    const lin = operandLinear(cpu, d, 0, long ? 10 : 6, false);
    const bytes = lin === undefined ? undefined : loadBytes(cpu, lin, long ? 10 : 6);
    if (!bytes) return false;
    const view = new DataView(bytes.buffer);
    const low = view.getUint32(2, true);
    const at = long ? Number(view.getBigInt64(2, true)) : d.opSize === 2 ? low & 0xffffff : low;
    if (long && !isCanonical(at as Lin)) return cpu.fault(EXC.GP, 0);
    cpu.setLin(base, at);
    cpu.setU32(limit, view.getUint16(0, true));
    return next(cpu, d);
  };

const storeSelector =
  (seg: number) =>
  (cpu: SystemCpu, d: Decoded): boolean => {
    if (umipForbids(cpu)) return cpu.fault(EXC.GP, 0);
    return writeOperand(cpu, d, 0, BigInt(cpu.selector(seg)), isMem(d.operands[0]) ? 2 : d.opSize) && next(cpu, d);
  };

const loadSystemRegister =
  (how: (cpu: SystemCpu, selector: number) => boolean) =>
  (cpu: SystemCpu, d: Decoded): boolean => {
    if (!requireCpl0(cpu)) return false;
    const v = readOperand(cpu, d, 0, 2);
    return v !== undefined && how(cpu, Number(v)) && next(cpu, d);
  };

/** Types of system descriptors that LAR and LSL accept (SDM Vol 2A, Tables 3-52 and 3-63). */
const LAR_TYPES = { legacy: [1, 2, 3, 4, 5, 9, 11, 12], long: [2, 9, 11, 12] };
const LSL_TYPES = { legacy: [1, 2, 3, 9, 11], long: [2, 9, 11] };

/** The descriptor that a selector names, if this level may see it; 'none' sets ZF to 0 and raises nothing; undefined on a page fault. */
function visibleDescriptor(cpu: SystemCpu, selector: number): Descriptor | 'none' | undefined {
  const at = isNull(selector) ? undefined : descriptorAddress(cpu, selector);
  if (at === undefined) return 'none';
  const d = readDescriptorAt(cpu, selector, at);
  if (!d) return undefined;
  const hidden = !d.isConforming && d.dpl < Math.max(cpu.cpl, selector & 3);
  return hidden ? 'none' : d;
}

const inspect =
  (types: typeof LAR_TYPES, value: (d: Descriptor, opSize: number) => number) =>
  (cpu: SystemCpu, d: Decoded): boolean => {
    const selector = readOperand(cpu, d, 1, 2);
    const found = selector === undefined ? undefined : visibleDescriptor(cpu, Number(selector));
    if (found === undefined) return false;
    const allowed = isLongMode(cpu) ? types.long : types.legacy;
    const ok = found !== 'none' && (found.isSegment || allowed.includes(found.type));
    if (ok) {
      const dst = d.operands[0];
      if (dst?.kind === 'reg') setGpr(cpu, dst.index, d.opSize, BigInt(value(found, d.opSize)));
    }
    setZf(cpu, ok);
    return next(cpu, d);
  };

const verify =
  (test: (d: Descriptor) => boolean) =>
  (cpu: SystemCpu, d: Decoded): boolean => {
    const selector = readOperand(cpu, d, 0, 2);
    const found = selector === undefined ? undefined : visibleDescriptor(cpu, Number(selector));
    if (found === undefined) return false;
    setZf(cpu, found !== 'none' && found.isSegment && test(found));
    return next(cpu, d);
  };

function arpl(cpu: SystemCpu, d: Decoded): boolean {
  const dst = readOperand(cpu, d, 0, 2);
  const src = dst === undefined ? undefined : readOperand(cpu, d, 1, 2);
  if (dst === undefined || src === undefined) return false;
  const adjust = (dst & 3n) < (src & 3n);
  if (adjust && !writeOperand(cpu, d, 0, (dst & ~3n) | (src & 3n), 2)) return false;
  setZf(cpu, adjust);
  return next(cpu, d);
}

function swapgs(cpu: SystemCpu, d: Decoded): boolean {
  if (!is64(cpu)) return cpu.fault(EXC.UD);
  if (!requireCpl0(cpu)) return false;
  const at = STATE.seg + GS * 16 + 8;
  const lo = cpu.lo(at);
  const hi = cpu.hi(at);
  cpu.setHalves(at, cpu.lo(STATE.kernelGsBase), cpu.hi(STATE.kernelGsBase));
  cpu.setHalves(STATE.kernelGsBase, lo, hi);
  return next(cpu, d);
}

const fsgsbaseAllowed = (cpu: SystemCpu): boolean => (is64(cpu) && (cpu.lo(STATE.cr4) & CR4.FSGSBASE) !== 0) || cpu.fault(EXC.UD);

const readBase =
  (seg: number) =>
  (cpu: SystemCpu, d: Decoded): boolean =>
    fsgsbaseAllowed(cpu) && writeOperand(cpu, d, 0, cpu.big(STATE.seg + seg * 16 + 8), operandSize(d, 0)) && next(cpu, d);

const writeBase =
  (seg: number) =>
  (cpu: SystemCpu, d: Decoded): boolean => {
    if (!fsgsbaseAllowed(cpu)) return false;
    const v = readOperand(cpu, d, 0);
    if (v === undefined) return false;
    if (!isCanonical(Number(BigInt.asIntN(64, v)) as Lin)) return cpu.fault(EXC.GP, 0);
    cpu.setBig(STATE.seg + seg * 16 + 8, v);
    return next(cpu, d);
  };

export const segmentHandlers = {
  MOV_TO_SREG: moveToSreg,
  MOV_FROM_SREG: moveFromSreg,
  POP_SREG: popSreg,
  LDS: loadFarPointer(DS),
  LES: loadFarPointer(ES),
  LFS: loadFarPointer(FS),
  LGS: loadFarPointer(GS),
  LSS: loadFarPointer(SS),
  SGDT: storeTable(STATE.gdtrBase, STATE.gdtrLimit),
  SIDT: storeTable(STATE.idtrBase, STATE.idtrLimit),
  LGDT: loadTable(STATE.gdtrBase, STATE.gdtrLimit),
  LIDT: loadTable(STATE.idtrBase, STATE.idtrLimit),
  SLDT: storeSelector(LDTR),
  STR: storeSelector(TR),
  LLDT: loadSystemRegister(loadLdtr),
  LTR: loadSystemRegister(loadTr),
  LAR: inspect(LAR_TYPES, (x, size) => (x.hi & (size === 2 ? 0xff00 : 0xf0ff00)) >>> 0),
  LSL: inspect(LSL_TYPES, (x) => x.limit),
  VERR: verify(isReadable),
  VERW: verify(isWritableData),
  ARPL: arpl,
  SWAPGS: swapgs,
  RDFSBASE: readBase(FS),
  RDGSBASE: readBase(GS),
  WRFSBASE: writeBase(FS),
  WRGSBASE: writeBase(GS),
};
