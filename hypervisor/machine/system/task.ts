// Hardware task switches (SDM Vol 3A, chapter 7): CALL, JMP and IRET between 16- and 32-bit TSSs, and interrupts through task gates.
//
// A switch has a commit point. What can fault before it (the new TSS and its descriptor, every byte that will be written) is looked at
// first, and such a fault belongs to the old task. From the commit point on the new task's registers are in place, and what is wrong with
// its selectors is reported there, at its CS:EIP (7.3, step 12 and Table 7-1).

import type { Lin } from '../addresses.ts';
import { CS, DS, EFLAGS, ES, FS, GS, LDTR, SEG, SS, STATE, TR } from '../state.ts';
import { CR0, CR4, EXC } from './bits.ts';
import { DR6, dr7, recordDebug } from './debug.ts';
import type { Descriptor } from './descriptor.ts';
import { descriptorAddress, isNull, readDescriptor, SYS, selectorError } from './descriptor.ts';
import { load, loadBytes, store, storeBytes, word } from './linear.ts';
import { iopl, isVm86, setCpl } from './mode.ts';
import type { SystemCpu } from './ports.ts';
import { commitSegment, isReadable, isWritableData, loadRealSegment, setNull } from './segments.ts';
import { currentStack } from './stack.ts';

export type TaskSource = 'jmp' | 'call' | 'int' | 'iret';

export interface TaskSwitch {
  readonly source: TaskSource;
  /** What the old task is to go on at. */
  readonly returnRip: number;
  /** EFLAGS for its TSS. */
  readonly flags: number;
  /** For the new task's stack; -1 for none. */
  readonly errorCode: number;
  /** EXT bit of error codes. */
  readonly ext: number;
}

interface Layout {
  /** Bytes that a TSS must have. */
  readonly size: number;
  readonly width: 2 | 4;
  readonly cr3: number;
  readonly ip: number;
  readonly flags: number;
  /** rAX; the other seven follow. */
  readonly gpr: number;
  /** ES; CS, SS, DS and, with 32 bits, FS and GS follow. */
  readonly seg: number;
  readonly ldt: number;
}
const TSS32: Layout = { size: 104, width: 4, cr3: 0x1c, ip: 0x20, flags: 0x24, gpr: 0x28, seg: 0x48, ldt: 0x60 };
const TSS16: Layout = { size: 44, width: 2, cr3: -1, ip: 0x0e, flags: 0x10, gpr: 0x12, seg: 0x22, ldt: 0x2a };
/** Debug trap flag of a 32-bit TSS. */
const T_BIT = 0x64;

const SEGMENTS = [ES, CS, SS, DS, FS, GS] as const;
const layoutOf = (type: number): Layout => (type & 8 ? TSS32 : TSS16);
const isBusy = (d: Descriptor): boolean => !d.isSegment && (d.type === SYS.tssBusy || d.type === SYS.tss16Busy);
const isAvailable = (d: Descriptor): boolean => !d.isSegment && (d.type === SYS.tssAvailable || d.type === SYS.tss16Available);

const refuse = (cpu: SystemCpu, vector: number, selector: number, ext: number): undefined => {
  cpu.fault(vector, selectorError(selector, ext));
  return undefined;
};

/**
 * The TSS that a selector in a task gate, a far pointer or a back link names. `vector` is raised for what is no TSS of the wanted kind:
 * #GP, or #TS for a back link; one that is not present is #NP.
 */
export function findTss(cpu: SystemCpu, selector: number, busy: boolean, vector: number, ext: number): Descriptor | undefined {
  if (selector & 4 || isNull(selector)) return refuse(cpu, vector, selector, ext);
  const d = readDescriptor(cpu, selector, vector, ext);
  if (!d) return undefined;
  if (!(busy ? isBusy(d) : isAvailable(d))) return refuse(cpu, vector, selector, ext);
  return d.isPresent ? d : refuse(cpu, EXC.NP, selector, ext);
}

/** Whether bytes can be written, as an implicit supervisor access. */
const canWrite = (cpu: SystemCpu, at: number, length: number): boolean =>
  cpu.probe(at as Lin, 1, true, true) !== 0 && cpu.probe((at + length - 1) as Lin, 1, true, true) !== 0;

/** The part of the old task's TSS that a switch writes: from EIP to the last segment selector. */
function saveImage(cpu: SystemCpu, l: Layout, s: TaskSwitch, old: Uint8Array): void {
  const view = new DataView(old.buffer);
  const put = (at: number, v: number) => (l.width === 4 ? view.setUint32(at - l.ip, v, true) : view.setUint16(at - l.ip, v, true));
  put(l.ip, s.returnRip >>> 0);
  put(l.flags, s.source === 'iret' ? s.flags & ~EFLAGS.NT : s.flags);
  for (let n = 0; n < 8; n++) put(l.gpr + n * l.width, cpu.regLo(n));
  // Only 16 bits of a selector's field are written.
  for (let n = 0; n < (l.width === 4 ? 6 : 4); n++) view.setUint16(l.seg + n * l.width - l.ip, cpu.selector(SEGMENTS[n]!), true);
}

/** Switches tasks. False with a fault recorded: in the old task if nothing has changed, else in the new one. */
export function switchTask(cpu: SystemCpu, tss: Descriptor, s: TaskSwitch): boolean {
  const { ext } = s;
  const l = layoutOf(tss.type);
  const ol = layoutOf(cpu.segAttributes(TR) & SEG.type);
  if (tss.limit < l.size - 1) return cpu.fault(EXC.TS, selectorError(tss.selector, ext));
  if (cpu.segLimit(TR) < ol.size - 1) return cpu.fault(EXC.TS, selectorError(cpu.selector(TR), ext));
  if (cpu.nonRoot?.taskSwitch(cpu, tss.selector, s.source, s.errorCode)) return true;
  const from = cpu.segBase(TR);
  const nested = s.source === 'call' || s.source === 'int';
  const leaves = s.source === 'jmp' || s.source === 'iret';
  const image = loadBytes(cpu, tss.base as Lin, l.size, true);
  const savedAt = (from + ol.ip) as Lin;
  const saved = loadBytes(cpu, savedAt, ol.seg + (ol.width === 4 ? 6 : 4) * ol.width - ol.ip, true);
  if (!image || !saved || !canWrite(cpu, savedAt, saved.length)) return false;
  const oldBusy = descriptorAddress(cpu, cpu.selector(TR));
  if (leaves && oldBusy !== undefined && !canWrite(cpu, oldBusy + 5, 1)) return false;
  if (s.source !== 'iret' && !canWrite(cpu, tss.at + 5, 1)) return false;
  if (nested && !canWrite(cpu, tss.base, 2)) return false;

  saveImage(cpu, ol, s, saved);
  storeBytes(cpu, savedAt, saved, true);
  if (leaves && oldBusy !== undefined) setBusy(cpu, oldBusy, false);
  if (nested) store(cpu, tss.base as Lin, 2, cpu.selector(TR), true);
  if (s.source !== 'iret') setBusy(cpu, tss.at, true);
  cpu.setSegment(TR, tss.selector, tss.attributes | 2, tss.limit, tss.base);
  cpu.setHalves(STATE.cr0, cpu.lo(STATE.cr0) | CR0.TS, 0);
  // The commit point.
  cpu.thread.taskSwitches++;
  const ok = enterTask(cpu, image, l, nested, s);
  cpu.modeChanged();
  return ok;
}

function setBusy(cpu: SystemCpu, at: Lin, busy: boolean): void {
  const type = load(cpu, (at + 5) as Lin, 1, true);
  if (type !== undefined) store(cpu, (at + 5) as Lin, 1, busy ? type | 2 : type & ~2, true);
}

/** Loads the new task's registers and then its segments. */
function enterTask(cpu: SystemCpu, image: Uint8Array, l: Layout, nested: boolean, s: TaskSwitch): boolean {
  const field = (at: number): number => (l.width === 4 ? word(image, at) : image[at]! | (image[at + 1]! << 8));
  const selector = (at: number): number => image[at]! | (image[at + 1]! << 8);
  const eip = field(l.ip);
  const flags = field(l.flags) | (nested ? EFLAGS.NT : 0);
  for (let n = 0; n < 8; n++) cpu.setRegHalves(n, field(l.gpr + n * l.width), 0);
  const selectors = SEGMENTS.map((_, n) => (n < (l.width === 4 ? 6 : 4) ? selector(l.seg + n * l.width) : 0));
  const ldt = selector(l.ldt);
  for (const [n, seg] of SEGMENTS.entries()) setNull(cpu, seg, selectors[n]!);
  setNull(cpu, LDTR, ldt);
  cpu.rip = eip as Lin;
  cpu.rflags = flags;
  const cpl = flags & EFLAGS.VM ? 3 : selectors[1]! & 3;
  setCpl(cpu, cpl);
  // Breakpoints that are local to a task go (17.2.4).
  cpu.setHalves(STATE.dr + 56, dr7(cpu) & ~0x155, 0);
  if (l.cr3 >= 0 && cpu.lo(STATE.cr0) & CR0.PG) {
    const cr3 = field(l.cr3);
    if (cpu.lo(STATE.cr4) & CR4.PAE && !cpu.loadPdptes(cr3)) return cpu.fault(EXC.GP, s.ext);
    cpu.loadCr3(cr3, false);
  }
  if (!loadSegments(cpu, selectors, ldt, cpl, s.ext)) return false;
  cpu.modeChanged();
  if (s.errorCode >= 0) {
    const stack = currentStack(cpu, s.ext);
    if (!stack.push(s.errorCode, l.width)) return false;
    stack.commit();
  }
  if (eip > cpu.segLimit(CS)) return cpu.fault(EXC.GP, s.ext);
  if (virtualInterruptDue(cpu)) return cpu.fault(EXC.GP, 0);
  if (l.width === 4 && image[T_BIT]! & 1) {
    recordDebug(cpu, DR6.BT);
    return cpu.fault(EXC.DB);
  }
  return true;
}

/** VIF and VIP both set at the beginning of an instruction, in code that has virtual interrupts: #GP(0) (SDM Vol 3B, 20.3.2 and 20.4). */
export function virtualInterruptDue(cpu: SystemCpu): boolean {
  const both = EFLAGS.VIF | EFLAGS.VIP;
  if ((cpu.lo(STATE.eflags) & both) !== both || cpu.cpl !== 3 || iopl(cpu) === 3) return false;
  return (cpu.lo(STATE.cr4) & (isVm86(cpu) ? CR4.VME : CR4.PVI)) !== 0;
}

/** LDTR, CS, SS, DS, ES, FS, GS in the order of Table 7-1. */
function loadSegments(cpu: SystemCpu, selectors: readonly number[], ldt: number, cpl: number, ext: number): boolean {
  const ts = (selector: number): false => cpu.fault(EXC.TS, selectorError(selector, ext));
  if (!isNull(ldt)) {
    if (ldt & 4) return ts(ldt);
    const d = readDescriptor(cpu, ldt, EXC.TS, ext);
    if (!d) return false;
    if (d.isSegment || d.type !== SYS.ldt || !d.isPresent) return ts(ldt);
    cpu.setSegment(LDTR, ldt, d.attributes, d.limit, d.base);
  }
  if (isVm86(cpu)) {
    for (const [n, seg] of SEGMENTS.entries()) loadRealSegment(cpu, seg, selectors[n]!);
    return true;
  }
  const [es, cs, ss, ds, fs, gs] = selectors as [number, number, number, number, number, number];
  if (isNull(cs)) return ts(cs);
  const code = readDescriptor(cpu, cs, EXC.TS, ext);
  if (!code) return false;
  if (!code.isCode || (code.isConforming ? code.dpl > cpl : code.dpl !== cpl)) return ts(cs);
  if (!code.isPresent) return cpu.fault(EXC.NP, selectorError(cs, ext));
  if (isNull(ss)) return ts(ss);
  const stack = readDescriptor(cpu, ss, EXC.TS, ext);
  if (!stack) return false;
  if (!isWritableData(stack) || stack.dpl !== cpl || (ss & 3) !== cpl) return ts(ss);
  if (!stack.isPresent) return cpu.fault(EXC.SS, selectorError(ss, ext));
  if (!commitSegment(cpu, CS, cs, code) || !commitSegment(cpu, SS, ss, stack)) return false;
  for (const [seg, selector] of [
    [DS, ds],
    [ES, es],
    [FS, fs],
    [GS, gs],
  ] as const) {
    if (isNull(selector)) continue;
    const d = readDescriptor(cpu, selector, EXC.TS, ext);
    if (!d) return false;
    if (!isReadable(d) || (!d.isConforming && d.dpl < Math.max(cpl, selector & 3))) return ts(selector);
    if (!d.isPresent) return cpu.fault(EXC.NP, selectorError(selector, ext));
    if (!commitSegment(cpu, seg, selector, d)) return false;
  }
  return true;
}

/** IRET with NT set, outside IA-32e mode: back to the task that the link names. */
export function returnFromTask(cpu: SystemCpu, returnRip: number): boolean {
  const link = load(cpu, cpu.segBase(TR), 2, true);
  if (link === undefined) return false;
  const tss = findTss(cpu, link, true, EXC.TS, 0);
  return tss !== undefined && switchTask(cpu, tss, { source: 'iret', returnRip, flags: cpu.rflags, errorCode: -1, ext: 0 });
}

/** The TSS behind a task gate: its selector is in the gate's low word. */
export const gateTss = (cpu: SystemCpu, lo: number, ext: number): Descriptor | undefined => findTss(cpu, lo >>> 16, false, EXC.GP, ext);
