// Loading segment registers: the checks of MOV/POP to Sreg, LLDT and LTR, shared with far transfers, IRET and event delivery
// (SDM Vol 3A, chapter 5; pseudo-code of MOV in Vol 2B).

import type { Lin } from '../addresses.ts';
import { linFromHalves } from '../addresses.ts';
import { CS, DS, ES, FS, GS, LDTR, SEG, SS, STATE, TR } from '../state.ts';
import { EXC } from './bits.ts';
import type { Descriptor } from './descriptor.ts';
import { isNull, markAccessed, readDescriptor, readUpperHalf, SYS, selectorError, writeType } from './descriptor.ts';
import { is64, isLongMode, isProtected, isVm86 } from './mode.ts';
import type { SystemCpu } from './ports.ts';

/** Attributes of a vm86 segment: present, DPL 3, writable data, accessed. */
const VM86_ATTRIBUTES = 0xf3;

/** Makes a register unusable, as after loading a null selector. On Intel CPUs the base reads 0 afterwards. */
export function setNull(cpu: SystemCpu, seg: number, selector: number): void {
  cpu.setSegment(seg, selector, 0, 0, 0);
}

/** Real-mode load keeps limit and attributes (that is what makes "unreal mode"); vm86 sets 64 KiB, DPL 3 (SDM Vol 3B, 20.1.1, 20.2). */
export function loadRealSegment(cpu: SystemCpu, seg: number, selector: number): void {
  if (isVm86(cpu)) cpu.setSegment(seg, selector, VM86_ATTRIBUTES, 0xffff, selector << 4);
  else {
    cpu.setU16(STATE.seg + seg * 16, selector);
    cpu.setSegBase(seg, selector << 4);
  }
}

export const isWritableData = (d: Descriptor): boolean => d.isSegment && !d.isCode && (d.type & SEG.writable) !== 0;
export const isReadable = (d: Descriptor): boolean => d.isSegment && (!d.isCode || (d.type & SEG.writable) !== 0);

/** Loads the hidden part from a checked descriptor and marks it accessed. */
export function commitSegment(cpu: SystemCpu, seg: number, selector: number, d: Descriptor): boolean {
  const attributes = markAccessed(cpu, d);
  if (attributes === undefined) return false;
  cpu.setSegment(seg, selector, attributes, d.limit, d.base);
  return true;
}

function loadSs(cpu: SystemCpu, selector: number): boolean {
  const { cpl } = cpu;
  const rpl = selector & 3;
  if (isNull(selector)) {
    // 64-bit code above user level may run with a null SS (SDM Vol 3A, 5.4.1.1).
    if (!is64(cpu) || cpl === 3 || rpl !== cpl) return cpu.fault(EXC.GP, 0);
    setNull(cpu, SS, selector);
    return true;
  }
  const d = readDescriptor(cpu, selector);
  if (!d) return false;
  if (rpl !== cpl || !isWritableData(d) || d.dpl !== cpl) return cpu.fault(EXC.GP, selectorError(selector));
  if (!d.isPresent) return cpu.fault(EXC.SS, selectorError(selector));
  return commitSegment(cpu, SS, selector, d);
}

function loadData(cpu: SystemCpu, seg: number, selector: number): boolean {
  if (isNull(selector)) {
    setNull(cpu, seg, selector);
    return true;
  }
  const d = readDescriptor(cpu, selector);
  if (!d) return false;
  const outOfReach = !d.isConforming && ((selector & 3) > d.dpl || cpu.cpl > d.dpl);
  if (!isReadable(d) || outOfReach) return cpu.fault(EXC.GP, selectorError(selector));
  if (!d.isPresent) return cpu.fault(EXC.NP, selectorError(selector));
  return commitSegment(cpu, seg, selector, d);
}

/** MOV, POP and Lxx to ES, SS, DS, FS, GS. Nothing changes on a fault. */
export function loadSegment(cpu: SystemCpu, seg: number, selector: number): boolean {
  if (!isProtected(cpu)) {
    loadRealSegment(cpu, seg, selector);
    return true;
  }
  if (!(seg === SS ? loadSs(cpu, selector) : loadData(cpu, seg, selector))) return false;
  if (seg === SS) cpu.modeChanged();
  return true;
}

/** Base of a system descriptor, its upper half read in long mode. */
function systemBase(cpu: SystemCpu, d: Descriptor): Lin | undefined {
  if (!isLongMode(cpu)) return d.base as Lin;
  const hi = readUpperHalf(cpu, d);
  return hi === undefined ? undefined : linFromHalves(d.base, hi);
}

/** LLDT (SDM Vol 2A). CPL is checked by the caller. */
export function loadLdtr(cpu: SystemCpu, selector: number): boolean {
  if (isNull(selector)) {
    setNull(cpu, LDTR, selector);
    return true;
  }
  if (selector & 4) return cpu.fault(EXC.GP, selectorError(selector));
  const d = readDescriptor(cpu, selector);
  if (!d) return false;
  if (d.isSegment || d.type !== SYS.ldt) return cpu.fault(EXC.GP, selectorError(selector));
  if (!d.isPresent) return cpu.fault(EXC.NP, selectorError(selector));
  const base = systemBase(cpu, d);
  if (base === undefined) return false;
  cpu.setSegment(LDTR, selector, d.attributes, d.limit, base);
  return true;
}

/** LTR (SDM Vol 2A): the descriptor becomes busy in memory and in the register. */
export function loadTr(cpu: SystemCpu, selector: number): boolean {
  if (isNull(selector)) return cpu.fault(EXC.GP, 0);
  if (selector & 4) return cpu.fault(EXC.GP, selectorError(selector));
  const d = readDescriptor(cpu, selector);
  if (!d) return false;
  const available = d.type === SYS.tssAvailable || (d.type === SYS.tss16Available && !isLongMode(cpu));
  if (d.isSegment || !available) return cpu.fault(EXC.GP, selectorError(selector));
  if (!d.isPresent) return cpu.fault(EXC.NP, selectorError(selector));
  const base = systemBase(cpu, d);
  if (base === undefined) return false;
  const busy = d.type | 2;
  if (!writeType(cpu, d, busy)) return false;
  cpu.setSegment(TR, selector, (d.attributes & ~SEG.type) | busy, d.limit, base);
  return true;
}

const DATA_SEGMENTS = [ES, DS, FS, GS] as const;

/** After a return to an outer level: data segments that the new level may not use become null (SDM Vol 2, RET, IRET). */
export function dropInnerSegments(cpu: SystemCpu): void {
  for (const seg of DATA_SEGMENTS) {
    const a = cpu.segAttributes(seg);
    if (!(a & SEG.present)) continue;
    const conforming = (a & (SEG.s | SEG.code | SEG.conforming)) === (SEG.s | SEG.code | SEG.conforming);
    if (!conforming && (a & SEG.dpl) >>> SEG.dplShift < cpu.cpl) setNull(cpu, seg, 0);
  }
}

/** Enters a code segment: selector with the new CPL as its RPL. The caller has checked d and RIP, and sets RIP. */
export function commitCs(cpu: SystemCpu, selector: number, d: Descriptor, cpl: number): boolean {
  return commitSegment(cpu, CS, (selector & 0xfffc) | cpl, d);
}
