// Delivery of interrupts and exceptions through the IVT or IDT (SDM Vol 3A, chapter 6; long mode 6.14), with double faults and shutdown
// (6.15, Table 6-5).

import type { Lin } from '../addresses.ts';
import { isCanonical, linFromHalves, linHi, linLo } from '../addresses.ts';
import { SECOND_LEVEL } from '../cpu-api.ts';
import { CS, DS, EFLAGS, ES, FS, GS, RSP, SEG, SS, STATE } from '../state.ts';
import { EVENT_TYPE, type EventType, type GuestEvent } from '../virt/non-root.ts';
import { EXC, hasErrorCode } from './bits.ts';
import type { Descriptor } from './descriptor.ts';
import { isNull, markAccessed, readDescriptor, SYS, selectorError } from './descriptor.ts';
import { offsetFits } from './far.ts';
import { load, word } from './linear.ts';
import { isLongMode, isProtected, isVm86, setCpl } from './mode.ts';
import type { SystemCpu } from './ports.ts';
import { commitCs, commitSegment, loadRealSegment, setNull } from './segments.ts';
import type { StackCursor } from './stack.ts';
import { currentStack, innerStack, longInnerRsp, longStack, stackIn } from './stack.ts';
import { findTss, switchTask } from './task.ts';

export interface Delivery {
  readonly vector: number;
  /** -1 for none. */
  readonly errorCode: number;
  /**
   * fault, trap: an exception. external: INTR; nmi. soft: INT n; softException: INT3, INTO (for both the gate's DPL is checked).
   * privileged: INT1 (no DPL check). Faults push RF set; a software interrupt clears the EXT bit of errors met on the way.
   */
  readonly kind: 'fault' | 'trap' | 'external' | 'nmi' | 'soft' | 'softException' | 'privileged';
  /** RIP to push: of the faulting instruction, or after it. */
  readonly returnRip: Lin;
}

const isSoft = (e: Delivery): boolean => e.kind === 'soft' || e.kind === 'softException';

const TYPES: Readonly<Record<Delivery['kind'], EventType>> = {
  fault: EVENT_TYPE.exception,
  trap: EVENT_TYPE.exception,
  external: EVENT_TYPE.external,
  nmi: EVENT_TYPE.nmi,
  soft: EVENT_TYPE.softInterrupt,
  softException: EVENT_TYPE.softException,
  privileged: EVENT_TYPE.privilegedSoft,
};
/** The event as virtualization extensions name it. */
const eventOf = (cpu: SystemCpu, e: Delivery): GuestEvent => ({
  vector: e.vector,
  errorCode: e.errorCode,
  type: TYPES[e.kind],
  length: isSoft(e) || e.kind === 'privileged' ? e.returnRip - cpu.rip : 0,
});

/** Whether an extension makes an exit of the event instead of letting it be delivered. */
function isIntercepted(cpu: SystemCpu, e: Delivery): boolean {
  const { nonRoot } = cpu;
  if (nonRoot === null || e.kind === 'external' || e.kind === 'nmi') return false;
  const event = eventOf(cpu, e);
  return e.kind === 'soft' ? nonRoot.softInterrupt(cpu, event) : nonRoot.exception(cpu, event);
}

/** Error code for an IDT entry: index, IDT bit, EXT. */
const idtError = (vector: number, ext: number): number => vector * 8 + 2 + ext;

function deliverReal(cpu: SystemCpu, e: Delivery): boolean {
  const at = e.vector * 4;
  if (at + 3 > cpu.u32(STATE.idtrLimit)) return cpu.fault(EXC.GP, idtError(e.vector, 0));
  const entry = load(cpu, (cpu.lin(STATE.idtrBase) + at) as Lin, 4, true);
  if (entry === undefined) return false;
  const stack = currentStack(cpu);
  if (!stack.pushAll([cpu.rflags & 0xffff, cpu.selector(CS), e.returnRip & 0xffff], 2)) return false;
  stack.commit();
  cpu.rflags = cpu.rflags & ~(EFLAGS.IF | EFLAGS.TF | EFLAGS.AC | EFLAGS.RF);
  loadRealSegment(cpu, CS, entry >>> 16);
  cpu.rip = (entry & 0xffff) as Lin;
  cpu.modeChanged();
  return true;
}

interface Gate {
  readonly selector: number;
  readonly offset: Lin;
  readonly type: number;
  readonly ist: number;
}

/** A function of the module: an inner one costs at every call (tsx names it). */
function badGate(cpu: SystemCpu, vector: number, e: Delivery, ext: number): undefined {
  cpu.fault(vector, idtError(e.vector, ext));
  return undefined;
}

function readGate(cpu: SystemCpu, e: Delivery, ext: number): Gate | undefined {
  const long = isLongMode(cpu);
  const size = long ? 16 : 8;
  if (e.vector * size + size - 1 > cpu.u32(STATE.idtrLimit)) return badGate(cpu, EXC.GP, e, ext);
  const p = cpu.probe((cpu.lin(STATE.idtrBase) + e.vector * size) as Lin, size, false, true);
  if (p === 0) return undefined;
  const { u8 } = cpu.ram;
  const lo = word(u8, p);
  const hi = word(u8, p + 4);
  const upper = long ? word(u8, p + 8) : 0;
  const type = (hi >>> 8) & 31;
  const task = type === SYS.taskGate && !long;
  const wide = type === SYS.interruptGate || type === SYS.trapGate;
  const narrow = type === SYS.interruptGate16 || type === SYS.trapGate16;
  if (!wide && !task && (long || !narrow)) return badGate(cpu, EXC.GP, e, ext);
  if (isSoft(e) && ((hi >>> 13) & 3) < cpu.cpl) return badGate(cpu, EXC.GP, e, ext);
  if (!(hi & 0x8000)) return badGate(cpu, EXC.NP, e, ext);
  const low = (lo & 0xffff) | (wide ? hi & 0xffff0000 : 0);
  return { selector: lo >>> 16, offset: linFromHalves(low, upper), type, ist: long ? hi & 7 : 0 };
}

/** Sets flags as every gate does; IF only where it is an interrupt gate. */
function enterHandler(cpu: SystemCpu, gate: Gate): void {
  const interrupt = gate.type === SYS.interruptGate || gate.type === SYS.interruptGate16;
  cpu.rflags = cpu.rflags & ~(EFLAGS.TF | EFLAGS.NT | EFLAGS.RF | EFLAGS.VM | (interrupt ? EFLAGS.IF : 0));
  cpu.rip = gate.offset;
  cpu.modeChanged();
}

/** RF is set for faults, but not for #DB; other events leave it as it is (SDM Vol 3B, 17.3.1.1). */
const savedFlags = (cpu: SystemCpu, e: Delivery): number => cpu.rflags | (e.kind === 'fault' && e.vector !== EXC.DB ? EFLAGS.RF : 0);

function throughTaskGate(cpu: SystemCpu, e: Delivery, gate: Gate, ext: number): boolean {
  const tss = findTss(cpu, gate.selector, false, EXC.GP, ext);
  if (!tss) return false;
  return switchTask(cpu, tss, { source: 'int', returnRip: e.returnRip, flags: savedFlags(cpu, e), errorCode: e.errorCode, ext });
}

function deliverProtected(cpu: SystemCpu, e: Delivery): boolean {
  const ext = isSoft(e) ? 0 : 1;
  const gate = readGate(cpu, e, ext);
  if (!gate) return false;
  if (gate.type === SYS.taskGate) return throughTaskGate(cpu, e, gate, ext);
  if (isNull(gate.selector)) return cpu.fault(EXC.GP, ext);
  const code = readDescriptor(cpu, gate.selector, EXC.GP, ext);
  if (!code) return false;
  const long = isLongMode(cpu);
  if (!code.isCode || code.dpl > cpu.cpl || (long && (code.attributes & (SEG.l | SEG.db)) !== SEG.l))
    return cpu.fault(EXC.GP, selectorError(gate.selector, ext));
  if (!code.isPresent) return cpu.fault(EXC.NP, selectorError(gate.selector, ext));
  const cpl = code.isConforming ? cpu.cpl : code.dpl;
  // From vm86 a handler must run at level 0 (SDM Vol 3B, 20.3).
  if (isVm86(cpu) && cpl !== 0) return cpu.fault(EXC.GP, selectorError(gate.selector, ext));
  return long ? deliverLong(cpu, e, gate, code, cpl, ext) : deliverLegacy(cpu, e, gate, code, cpl, ext);
}

function deliverLong(cpu: SystemCpu, e: Delivery, gate: Gate, code: Descriptor, cpl: number, ext: number): boolean {
  const inner = cpl < cpu.cpl;
  const rsp = gate.ist || inner ? longInnerRsp(cpu, cpl, gate.ist, ext) : cpu.regLin(RSP);
  if (rsp === undefined) return false;
  if (!offsetFits(cpu, code, gate.offset)) return false;
  const sp = pushLongFrame(cpu, e, rsp - (((rsp % 16) + 16) % 16), cpl, ext);
  if (sp === undefined) return false;
  if (!commitCs(cpu, gate.selector, code, cpl)) return false;
  if (inner) setNull(cpu, SS, cpl);
  cpu.setRegLin(RSP, sp);
  setCpl(cpu, cpl);
  enterHandler(cpu, gate);
  return true;
}

/**
 * SS, RSP, RFLAGS, CS, RIP and the error code below `top`, a multiple of 16; the new RSP. A frame within one page of RAM, as nearly all are,
 * is probed once, at its top, where a page fault would be met first.
 */
function pushLongFrame(cpu: SystemCpu, e: Delivery, top: number, cpl: number, ext: number): number | undefined {
  const bytes = e.errorCode >= 0 ? 48 : 40;
  const flags = savedFlags(cpu, e);
  const offset = ((top % 4096) + 4096) % 4096;
  if (offset >= bytes && isCanonical((top - 1) as Lin)) {
    const p = cpu.probe((top - 8) as Lin, 8, true, cpl < 3);
    if (p === 0) return undefined;
    // Below is the window for memory that TypeScript must watch.
    if (p >= cpu.ram.base) {
      const { u32 } = cpu.ram;
      const w = p >>> 2;
      u32[w] = cpu.selector(SS);
      u32[w + 1] = 0;
      u32[w - 2] = cpu.regLo(RSP);
      u32[w - 1] = cpu.regHi(RSP);
      u32[w - 4] = flags;
      u32[w - 3] = 0;
      u32[w - 6] = cpu.selector(CS);
      u32[w - 5] = 0;
      u32[w - 8] = linLo(e.returnRip);
      u32[w - 7] = linHi(e.returnRip);
      if (bytes === 48) {
        u32[w - 10] = e.errorCode;
        u32[w - 9] = 0;
      }
      return top - bytes;
    }
  }
  const stack = longStack(cpu, top, cpl, ext);
  if (!stack.pushAll([cpu.selector(SS), cpu.reg(RSP), flags, cpu.selector(CS), e.returnRip], 8)) return undefined;
  return e.errorCode >= 0 && !stack.push(e.errorCode, 8) ? undefined : stack.sp;
}

function deliverLegacy(cpu: SystemCpu, e: Delivery, gate: Gate, code: Descriptor, cpl: number, ext: number): boolean {
  const size = gate.type === SYS.interruptGate || gate.type === SYS.trapGate ? 4 : 2;
  const inner = cpl < cpu.cpl;
  if (!offsetFits(cpu, code, gate.offset)) return false;
  let stack: StackCursor;
  let newSs: { selector: number; d: Descriptor } | undefined;
  const flags = savedFlags(cpu, e);
  const back = [flags, cpu.selector(CS), e.returnRip];
  const vm86 = isVm86(cpu);
  if (inner) {
    const found = innerStack(cpu, cpl, ext);
    if (!found) return false;
    newSs = found;
    stack = stackIn(cpu, found.d, found.sp, cpl, selectorError(found.selector, ext));
    if (
      vm86 &&
      !stack.pushAll(
        [GS, FS, DS, ES].map((s) => cpu.selector(s)),
        size,
      )
    )
      return false;
    if (!stack.pushAll([cpu.selector(SS), cpu.reg(RSP)], size)) return false;
  } else stack = currentStack(cpu, ext);
  if (!stack.pushAll(back, size)) return false;
  if (e.errorCode >= 0 && !stack.push(e.errorCode, size)) return false;
  if (newSs && markAccessed(cpu, newSs.d) === undefined) return false;
  if (!commitCs(cpu, gate.selector, code, cpl)) return false;
  if (vm86) {
    cpu.rflags &= ~EFLAGS.VM;
    for (const seg of [ES, DS, FS, GS]) setNull(cpu, seg, 0);
  }
  if (newSs && !commitSegment(cpu, SS, newSs.selector, newSs.d)) return false;
  stack.commit();
  setCpl(cpu, cpl);
  enterHandler(cpu, gate);
  return true;
}

/** One attempt at delivery; false with the new fault recorded in cpu.event. */
export function deliverOnce(cpu: SystemCpu, e: Delivery): boolean {
  return isProtected(cpu) || isVm86(cpu) ? deliverProtected(cpu, e) : deliverReal(cpu, e);
}

type ExceptionClass = 'benign' | 'contributory' | 'pageFault' | 'doubleFault';

/** SDM Vol 3A, Table 6-4. */
export function exceptionClass(vector: number): ExceptionClass {
  if (vector === EXC.DF) return 'doubleFault';
  if (vector === EXC.PF) return 'pageFault';
  const contributory = vector === EXC.DE || (vector >= EXC.TS && vector <= EXC.GP) || vector === 21;
  return contributory ? 'contributory' : 'benign';
}

/** What a second exception, met while the first was delivered, becomes (SDM Vol 3A, Table 6-5). */
export function combineExceptions(first: number, second: number): 'second' | 'doubleFault' | 'shutdown' {
  const a = exceptionClass(first);
  const b = exceptionClass(second);
  if (a === 'doubleFault') return b === 'benign' ? 'second' : 'shutdown';
  if (a === 'contributory' && b === 'contributory') return 'doubleFault';
  if (a === 'pageFault' && b !== 'benign') return 'doubleFault';
  return 'second';
}

/**
 * Delivers an event and whatever comes of delivering it. 'shutdown' is a triple fault. Software and external interrupts are benign as a
 * first event, whatever their vector.
 */
export function deliver(cpu: SystemCpu, event: Delivery, isInjected = false): 'done' | 'shutdown' {
  const guest = cpu.nonRoot;
  if (guest === null) return deliverAll(cpu, event, isInjected);
  const outcome = deliverAll(cpu, event, isInjected);
  // After an exit these are the host's.
  if (cpu.nonRoot === guest) cpu.delivering = undefined;
  return outcome;
}

function deliverAll(cpu: SystemCpu, event: Delivery, isInjected: boolean): 'done' | 'shutdown' {
  const { returnRip } = event;
  // A fault met on the way is reported at the instruction that was interrupted: for a software interrupt the INT itself.
  const instruction = cpu.rip;
  const switches = cpu.thread.taskSwitches;
  let e = event;
  let first = event.kind === 'fault' || event.kind === 'trap' ? event.vector : -1;
  for (;;) {
    if (cpu.nonRoot !== null) {
      if (!(isInjected && e === event) && isIntercepted(cpu, e)) return 'done';
      if (e.kind === 'fault' && e.vector === EXC.PF && !(isInjected && e === event)) cpu.setLin(STATE.cr2, cpu.faultAddress);
      cpu.delivering = eventOf(cpu, e);
    }
    if (deliverOnce(cpu, e)) return 'done';
    const { vector, errorCode } = cpu.event;
    if (vector === SECOND_LEVEL) {
      cpu.nonRoot!.secondLevelFault(cpu);
      return 'done';
    }
    const outcome = first < 0 ? 'second' : combineExceptions(first, vector);
    if (outcome !== 'second' && cpu.nonRoot !== null) {
      // What is intercepted makes its exit before it becomes a double fault.
      if (isIntercepted(cpu, { vector, errorCode, kind: 'fault', returnRip })) return 'done';
      if (outcome === 'shutdown' && cpu.nonRoot.tripleFault(cpu)) return 'done';
    }
    if (outcome === 'shutdown') return 'shutdown';
    // After a switch of task it is the new task's.
    const inNewTask = cpu.thread.taskSwitches !== switches;
    const at = inNewTask ? cpu.rip : event.kind === 'soft' || event.kind === 'privileged' ? instruction : returnRip;
    e =
      outcome === 'doubleFault'
        ? { vector: EXC.DF, errorCode: 0, kind: 'fault', returnRip: at }
        : { vector, errorCode, kind: 'fault', returnRip: at };
    first = e.vector;
  }
}

/** VM-entry event injection (SDM Vol 3C, 26.6; APM Vol 2, 15.20). */
export function injectEvent(cpu: SystemCpu, e: GuestEvent): 'done' | 'shutdown' {
  if (e.type === EVENT_TYPE.nmi) cpu.thread.nmiBlocked = true;
  const kind = KINDS[e.type];
  return deliver(cpu, { vector: e.vector, errorCode: e.errorCode, kind, returnRip: (cpu.rip + e.length) as Lin }, true);
}
const KINDS: Readonly<Record<EventType, Delivery['kind']>> = {
  [EVENT_TYPE.external]: 'external',
  [EVENT_TYPE.nmi]: 'nmi',
  [EVENT_TYPE.exception]: 'fault',
  [EVENT_TYPE.softInterrupt]: 'soft',
  [EVENT_TYPE.privilegedSoft]: 'privileged',
  [EVENT_TYPE.softException]: 'softException',
};

/** Delivers the exception that cpu.fault() recorded, at the current RIP. */
export function deliverFault(cpu: SystemCpu): 'done' | 'shutdown' {
  const { vector, errorCode } = cpu.event;
  return deliver(cpu, { vector, errorCode: hasErrorCode(vector) ? Math.max(errorCode, 0) : -1, kind: 'fault', returnRip: cpu.rip });
}

/** Delivers INTR (or, with vector 2, NMI) before the instruction at RIP. */
export function deliverInterrupt(cpu: SystemCpu, vector: number): 'done' | 'shutdown' {
  if (vector === EXC.NMI) cpu.thread.nmiBlocked = true;
  return deliver(cpu, { vector, errorCode: -1, kind: vector === EXC.NMI ? 'nmi' : 'external', returnRip: cpu.rip });
}

/** Whether a maskable interrupt may be taken now. */
export const interruptible = (cpu: SystemCpu): boolean => (cpu.lo(STATE.eflags) & EFLAGS.IF) !== 0 && !cpu.thread.interruptShadow;
