// JMP, CALL and RET far: within a privilege level, through call gates to inner levels, and back to outer ones, in real, protected,
// compatibility and 64-bit mode (SDM Vol 3A, 5.8; pseudo-code of the instructions in Vol 2). Transfers to a TSS or a task gate are switches
// of task (task.ts); IA-32e mode has none.

import type { Lin } from '../addresses.ts';
import { isCanonical, linFromHalves } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import { CS, RSP, SEG, SS } from '../state.ts';
import { EXC } from './bits.ts';
import type { Descriptor } from './descriptor.ts';
import { isNull, markAccessed, readDescriptor, readUpperHalf, SYS, selectorError } from './descriptor.ts';
import { load, loadBig } from './linear.ts';
import { isLongMode, isProtected, nextRip, setCpl } from './mode.ts';
import { isMem, operandLinear } from './operands.ts';
import type { SystemCpu } from './ports.ts';
import { commitCs, commitSegment, dropInnerSegments, isWritableData, loadRealSegment, setNull } from './segments.ts';
import { currentStack, innerStack, longInnerRsp, longStack, stackIn } from './stack.ts';
import { gateTss, switchTask } from './task.ts';

interface FarTarget {
  readonly selector: number;
  readonly offset: Lin;
}

/** ptr16:16/32, or m16:16/32/64 with the offset first. */
function farTarget(cpu: SystemCpu, d: Decoded): FarTarget | undefined {
  const o = d.operands.find((x) => x.kind === 'far');
  if (o?.kind === 'far') return { selector: o.selector, offset: (o.offset >>> 0) as Lin };
  const i = d.operands.findIndex(isMem);
  const lin = operandLinear(cpu, d, i, d.opSize + 2, false);
  if (lin === undefined) return undefined;
  const offset = loadBig(cpu, lin, d.opSize);
  const selector = offset === undefined ? undefined : load(cpu, (lin + d.opSize) as Lin, 2);
  if (offset === undefined || selector === undefined) return undefined;
  return { selector, offset: Number(d.opSize === 8 ? BigInt.asIntN(64, offset) : offset) as Lin };
}

/** The code segment is one of 64-bit mode. */
export const isLongCode = (cpu: SystemCpu, d: Descriptor): boolean => isLongMode(cpu) && (d.attributes & SEG.l) !== 0;

/** Target offset: canonical for 64-bit code, else inside the new limit. */
export function offsetFits(cpu: SystemCpu, d: Descriptor, offset: number): boolean {
  if (isLongCode(cpu, d) ? isCanonical(offset as Lin) : offset >= 0 && offset <= d.limit) return true;
  return cpu.fault(EXC.GP, 0);
}

const gp = (cpu: SystemCpu, selector: number): false => cpu.fault(EXC.GP, selectorError(selector));

/** L and D both set is no valid code segment in long mode. */
const badLongBits = (cpu: SystemCpu, d: Descriptor): boolean => isLongMode(cpu) && (d.attributes & (SEG.l | SEG.db)) === (SEG.l | SEG.db);

function realTransfer(cpu: SystemCpu, t: FarTarget): boolean {
  if (t.offset > cpu.segLimit(CS)) return cpu.fault(EXC.GP, 0);
  loadRealSegment(cpu, CS, t.selector);
  cpu.rip = t.offset;
  cpu.modeChanged();
  return true;
}

/** Return address in the form that is pushed: CS then RIP. */
const pushReturn = (cpu: SystemCpu, d: Decoded, size: number) => {
  const stack = currentStack(cpu);
  return stack.pushAll([cpu.selector(CS), nextRip(cpu, d)], size) ? stack : undefined;
};

function transfer(cpu: SystemCpu, d: Decoded, call: boolean): boolean {
  const t = farTarget(cpu, d);
  if (!t) return false;
  if (!isProtected(cpu)) {
    if (t.offset > cpu.segLimit(CS)) return cpu.fault(EXC.GP, 0);
    const stack = call ? pushReturn(cpu, d, d.opSize) : undefined;
    if (call && !stack) return false;
    stack?.commit();
    return realTransfer(cpu, t);
  }
  if (isNull(t.selector)) return cpu.fault(EXC.GP, 0);
  const target = readDescriptor(cpu, t.selector);
  if (!target) return false;
  if (target.isCode) return direct(cpu, d, t, target, call);
  if (target.isSegment) return gp(cpu, t.selector);
  const gate = target.type === SYS.callGate || (target.type === SYS.callGate16 && !isLongMode(cpu));
  if (!gate) return toTask(cpu, d, t, target, call);
  return throughGate(cpu, d, target, call);
}

/** A TSS or a task gate, visible at this level and by the selector's RPL. */
function toTask(cpu: SystemCpu, d: Decoded, t: FarTarget, target: Descriptor, call: boolean): boolean {
  const throughGate = target.type === SYS.taskGate;
  const available = target.type === SYS.tssAvailable || target.type === SYS.tss16Available;
  if (isLongMode(cpu) || (!throughGate && (!available || t.selector & 4))) return gp(cpu, t.selector);
  if (target.dpl < Math.max(cpu.cpl, t.selector & 3)) return gp(cpu, t.selector);
  if (!target.isPresent) return cpu.fault(EXC.NP, selectorError(t.selector));
  const tss = throughGate ? gateTss(cpu, target.lo, 0) : target;
  if (!tss) return false;
  return switchTask(cpu, tss, {
    source: call ? 'call' : 'jmp',
    returnRip: nextRip(cpu, d),
    flags: cpu.rflags,
    errorCode: -1,
    ext: 0,
  });
}

function direct(cpu: SystemCpu, d: Decoded, t: FarTarget, code: Descriptor, call: boolean): boolean {
  const { cpl } = cpu;
  if (badLongBits(cpu, code)) return gp(cpu, t.selector);
  if (code.isConforming ? code.dpl > cpl : (t.selector & 3) > cpl || code.dpl !== cpl) return gp(cpu, t.selector);
  if (!code.isPresent) return cpu.fault(EXC.NP, selectorError(t.selector));
  if (!offsetFits(cpu, code, t.offset)) return false;
  const stack = call ? pushReturn(cpu, d, d.opSize) : undefined;
  if (call && !stack) return false;
  if (!commitCs(cpu, t.selector, code, cpl)) return false;
  stack?.commit();
  cpu.rip = t.offset;
  cpu.modeChanged();
  return true;
}

function throughGate(cpu: SystemCpu, d: Decoded, gate: Descriptor, call: boolean): boolean {
  const { cpl } = cpu;
  if (gate.dpl < cpl || gate.dpl < (gate.selector & 3)) return gp(cpu, gate.selector);
  if (!gate.isPresent) return cpu.fault(EXC.NP, selectorError(gate.selector));
  const long = isLongMode(cpu);
  const upper = long ? readUpperHalf(cpu, gate) : 0;
  if (upper === undefined) return false;
  const selector = gate.lo >>> 16;
  const low = (gate.lo & 0xffff) | (gate.type === SYS.callGate ? gate.hi & 0xffff0000 : 0);
  const offset = long ? linFromHalves(low, upper) : ((low >>> 0) as Lin);
  if (isNull(selector)) return cpu.fault(EXC.GP, 0);
  const code = readDescriptor(cpu, selector);
  if (!code) return false;
  if (!code.isCode || code.dpl > cpl) return gp(cpu, selector);
  if (long && (code.attributes & (SEG.l | SEG.db)) !== SEG.l) return gp(cpu, selector);
  if (!call && !code.isConforming && code.dpl !== cpl) return gp(cpu, selector);
  if (!code.isPresent) return cpu.fault(EXC.NP, selectorError(selector));
  if (call && !code.isConforming && code.dpl < cpl) return callInner(cpu, d, gate, code, offset);
  if (!offsetFits(cpu, code, offset)) return false;
  const stack = call ? pushReturn(cpu, d, long ? 8 : gate.type === SYS.callGate ? 4 : 2) : undefined;
  if (call && !stack) return false;
  if (!commitCs(cpu, selector, code, cpl)) return false;
  stack?.commit();
  cpu.rip = offset;
  cpu.modeChanged();
  return true;
}

/** Call gate to a more privileged level: new stack, old SS:RSP and the parameters on it. */
function callInner(cpu: SystemCpu, d: Decoded, gate: Descriptor, code: Descriptor, offset: Lin): boolean {
  const cpl = code.dpl;
  const oldSs = cpu.selector(SS);
  if (!offsetFits(cpu, code, offset)) return false;
  const back = [cpu.selector(CS), nextRip(cpu, d)];
  if (isLongMode(cpu)) {
    const rsp = longInnerRsp(cpu, cpl, 0);
    if (rsp === undefined) return false;
    const stack = longStack(cpu, rsp, cpl);
    if (!stack.pushAll([oldSs, cpu.reg(RSP), ...back], 8)) return false;
    if (!commitCs(cpu, code.selector, code, cpl)) return false;
    setNull(cpu, SS, cpl);
    stack.commit();
  } else {
    const inner = innerStack(cpu, cpl);
    if (!inner) return false;
    const size = gate.type === SYS.callGate ? 4 : 2;
    const count = gate.hi & 31;
    const outer = currentStack(cpu);
    const parameters: number[] = [];
    for (let i = 0; i < count; i++) {
      const v = outer.pop(size);
      if (v === undefined) return false;
      parameters.unshift(v);
    }
    const stack = stackIn(cpu, inner.d, inner.sp, cpl, selectorError(inner.selector));
    if (!stack.pushAll([oldSs, cpu.reg(RSP), ...parameters, ...back], size)) return false;
    if (markAccessed(cpu, inner.d) === undefined) return false;
    if (!commitCs(cpu, code.selector, code, cpl) || !commitSegment(cpu, SS, inner.selector, inner.d)) return false;
    stack.commit();
  }
  setCpl(cpu, cpl);
  cpu.rip = offset;
  cpu.modeChanged();
  return true;
}

/** Checks a popped CS for RET and IRET; the descriptor if all is well. */
export function checkReturnCs(cpu: SystemCpu, selector: number): Descriptor | undefined {
  if (isNull(selector)) {
    cpu.fault(EXC.GP, 0);
    return undefined;
  }
  const d = readDescriptor(cpu, selector);
  if (!d) return undefined;
  const rpl = selector & 3;
  const wrongLevel = rpl < cpu.cpl || (d.isConforming ? d.dpl > rpl : d.dpl !== rpl);
  if (!d.isCode || wrongLevel || badLongBits(cpu, d)) {
    gp(cpu, selector);
    return undefined;
  }
  if (!d.isPresent) {
    cpu.fault(EXC.NP, selectorError(selector));
    return undefined;
  }
  return d;
}

/** Checks a popped SS for a return to level rpl: its descriptor, or 'null' where a null SS may be loaded (64-bit code, rpl below 3). */
export function checkReturnSs(cpu: SystemCpu, selector: number, rpl: number, code: Descriptor): Descriptor | 'null' | undefined {
  if (isNull(selector)) {
    if (isLongCode(cpu, code) && rpl !== 3 && (selector & 3) === rpl) return 'null';
    cpu.fault(EXC.GP, 0);
    return undefined;
  }
  const d = readDescriptor(cpu, selector);
  if (!d) return undefined;
  if ((selector & 3) !== rpl || !isWritableData(d) || d.dpl !== rpl) {
    gp(cpu, selector);
    return undefined;
  }
  if (!d.isPresent) {
    cpu.fault(EXC.SS, selectorError(selector));
    return undefined;
  }
  return d;
}

/** Loads CS:RIP and SS:RSP of an outer (or, for IRETQ, any) level. The caller then says modeChanged(). */
export function commitReturn(
  cpu: SystemCpu,
  cs: { selector: number; d: Descriptor; rip: number },
  ss: { selector: number; d: Descriptor | 'null'; rspLo: number; rspHi: number },
): boolean {
  const rpl = cs.selector & 3;
  const outer = rpl > cpu.cpl;
  // SS first: the write of its accessed bit may fault, and then CS must not have changed.
  if (ss.d !== 'null' && markAccessed(cpu, ss.d) === undefined) return false;
  if (!commitCs(cpu, cs.selector, cs.d, rpl)) return false;
  if (ss.d === 'null') setNull(cpu, SS, ss.selector);
  else if (!commitSegment(cpu, SS, ss.selector, ss.d)) return false;
  if (isLongCode(cpu, cs.d)) cpu.setRegHalves(RSP, ss.rspLo, ss.rspHi);
  else if (cpu.segAttributes(SS) & SEG.db) cpu.setRegHalves(RSP, ss.rspLo, 0);
  else cpu.setRegHalves(RSP, (cpu.regLo(RSP) & ~0xffff) | (ss.rspLo & 0xffff), cpu.regHi(RSP));
  cpu.rip = cs.rip as Lin;
  setCpl(cpu, rpl);
  if (outer) dropInnerSegments(cpu);
  return true;
}

function returnFar(cpu: SystemCpu, d: Decoded): boolean {
  const size = d.opSize;
  const o = d.operands[0];
  const release = o?.kind === 'imm' ? o.lo & 0xffff : 0;
  const stack = currentStack(cpu);
  const rip = stack.pop(size);
  const selector = rip === undefined ? undefined : stack.popSelector(size);
  if (rip === undefined || selector === undefined) return false;
  if (!isProtected(cpu)) {
    stack.skip(release);
    if (rip > cpu.segLimit(CS)) return cpu.fault(EXC.GP, 0);
    stack.commit();
    return realTransfer(cpu, { selector, offset: rip as Lin });
  }
  const code = checkReturnCs(cpu, selector);
  if (!code || !offsetFits(cpu, code, rip)) return false;
  stack.skip(release);
  const rpl = selector & 3;
  if (rpl === cpu.cpl) {
    if (!commitCs(cpu, selector, code, rpl)) return false;
    stack.commit();
    cpu.rip = rip as Lin;
    cpu.modeChanged();
    return true;
  }
  const rsp = stack.popBig(size);
  const ss = rsp === undefined ? undefined : stack.popSelector(size);
  if (rsp === undefined || ss === undefined) return false;
  const ssd = checkReturnSs(cpu, ss, rpl, code);
  if (!ssd) return false;
  const rspLo = Number(BigInt.asIntN(32, rsp));
  const rspHi = Number(BigInt.asIntN(32, rsp >> 32n));
  if (!commitReturn(cpu, { selector, d: code, rip }, { selector: ss, d: ssd, rspLo, rspHi })) return false;
  cpu.modeChanged();
  // The parameters lie on the outer stack as well (SDM Vol 2, RET).
  if (release) {
    const outer = currentStack(cpu);
    outer.skip(release);
    outer.commit();
  }
  return true;
}

export const farHandlers = {
  JMPF: (cpu: SystemCpu, d: Decoded) => transfer(cpu, d, false),
  CALLF: (cpu: SystemCpu, d: Decoded) => transfer(cpu, d, true),
  RETF: returnFar,
};
