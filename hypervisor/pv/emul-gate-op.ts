// Far calls and jumps of a 32-bit guest through its own call gates. Long mode has no 32-bit call gates, so check-descriptor.ts has made
// each of them fault with its selector; this carries the transfer out (pv_emulate_gate_op, xen/arch/x86/pv/emul-gate-op.c).

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Lin } from '../machine/addresses.ts';
import { PF } from '../machine/cpu-api.ts';
import { decode } from '../machine/exec/decode.ts';
import type { Decoded, MemOperand } from '../machine/isa/decoded.ts';
import { CS, RSP, SEG, SS } from '../machine/state.ts';
import { codeBits, fetchCode, instructionDone } from './emul-common.ts';
import { injectException, injectGp, injectPageFault } from './inject.ts';
import { HYPERVISOR_COMPAT_VIRT_START } from './layout.ts';
import { attributesOf, baseOf, limitOf, loadCodeAndStack, readDescriptor } from './segment-load.ts';

const TS = 10;
const NP = 11;
const SS_FAULT = 12;
const WRITABLE_DATA = SEG.s | SEG.writable;

interface Gate {
  selector: number;
  offset: number;
  /** As the guest asked for it: kept in the target's RPL. */
  dpl: number;
  parameters: number;
  isPresent: boolean;
}

interface Segment {
  readonly attributes: number;
  readonly base: number;
  readonly limit: number;
  readonly dpl: number;
}

/** An exception in place of the transfer, or null. */
type Fault = { readonly vector: number; readonly errorCode: number } | { readonly pageFault: number; readonly at: number } | null;

function segment(hv: Hypervisor, vcpu: Vcpu, selector: number): Segment | null {
  const d = readDescriptor(hv, vcpu, selector);
  if (d === null) return null;
  const attributes = attributesOf(d.hi);
  return { attributes, base: baseOf(d), limit: limitOf(d), dpl: (attributes & SEG.dpl) >>> SEG.dplShift };
}

/** A 32-bit call gate of the guest's; a 16-bit one is read as well, and refused later as Xen refuses it. */
function readGate(hv: Hypervisor, vcpu: Vcpu, selector: number): (Gate & { is32: boolean }) | null {
  const { pv } = vcpu;
  if (selector < 4 || selector >>> 3 >= (selector & 4 ? pv.ldtEnts : pv.gdtEnts)) return null;
  const d = readDescriptor(hv, vcpu, selector);
  if (d === null || d.hi & 0x6000) return null;
  const type = d.hi & 0x1f00;
  if (type !== 0x0400 && type !== 0x0c00) return null;
  const is32 = type === 0x0c00;
  const offset = (d.lo & 0xffff) | (is32 ? d.hi & 0xffff_0000 : 0);
  return {
    selector: (d.lo >>> 16) & 0xfffc,
    offset: offset >>> 0,
    dpl: (d.lo >>> 16) & 3,
    parameters: d.hi & 0x1f,
    isPresent: (d.hi & 0x8000) !== 0,
    is32,
  };
}

interface Transfer {
  readonly isJump: boolean;
  readonly selector: number;
  readonly length: number;
}

export function emulateGateOp(hv: Hypervisor, vcpu: Vcpu, errorCode: number): void {
  const { regs } = vcpu;
  const cpl = regs.selector(CS) & 3;
  const gate = readGate(hv, vcpu, errorCode);
  if (gate === null || gate.dpl < cpl || !gate.is32) {
    injectGp(hv, vcpu, errorCode);
    return;
  }
  if (!gate.isPresent) {
    injectException(hv, vcpu, NP, errorCode);
    return;
  }
  const code = fetchCode(vcpu);
  const d = decode(code.bytes, 0, code.bytes.length, { bits: codeBits(vcpu) });
  if (d === 'needBytes' && code.faultAt !== null) {
    injectPageFault(hv, vcpu, 0, code.faultAt);
    return;
  }
  const t = typeof d === 'string' ? null : transferOf(hv, vcpu, d);
  if (t !== null && typeof t === 'number') {
    injectPageFault(hv, vcpu, 0, t as Lin);
    return;
  }
  if (t === null || (t.selector & ~3) !== errorCode || gate.dpl < (t.selector & 3)) {
    injectGp(hv, vcpu, errorCode);
    return;
  }
  const target = segment(hv, vcpu, gate.selector);
  const fault = target === null ? gp(gate.selector) : checkTarget(gate, target, t.isJump, cpl);
  if (fault !== null || target === null) {
    raise(hv, vcpu, fault ?? gp(gate.selector));
    return;
  }
  const done = t.isJump ? jump(hv, vcpu, gate, cpl) : call(hv, vcpu, gate, target, t.length, cpl, errorCode);
  if (done !== null) {
    raise(hv, vcpu, done);
    return;
  }
  vcpu.domain.count('emulated: call gate');
  instructionDone(hv, vcpu, gate.offset as Lin);
}

const gp = (errorCode: number): Fault => ({ vector: 13, errorCode });

function raise(hv: Hypervisor, vcpu: Vcpu, fault: Fault): void {
  if (fault === null) return;
  if ('at' in fault) injectPageFault(hv, vcpu, fault.pageFault, fault.at as Lin);
  else injectException(hv, vcpu, fault.vector, fault.errorCode);
}

/** What kind of transfer it is; null for an instruction that is none, an address where its operand could not be read. */
function transferOf(hv: Hypervisor, vcpu: Vcpu, d: Decoded): Transfer | number | null {
  const { mnemonic } = d.insn;
  if (mnemonic !== 'CALLF' && mnemonic !== 'JMPF') return null;
  const isJump = mnemonic === 'JMPF';
  const o = d.operands[0];
  if (o?.kind === 'far') return { isJump, selector: o.selector, length: d.length };
  if (o?.kind !== 'mem') return null;
  const offset = (effectiveAddress(vcpu, o, d.addrSize) + Math.min(d.opSize, 4)) % 0x1_0000_0000;
  const s = segment(hv, vcpu, vcpu.regs.selector(o.seg));
  if (s === null || (s.attributes & (SEG.s | SEG.present)) !== (SEG.s | SEG.present)) return null;
  if ((s.attributes & (SEG.code | SEG.writable)) === SEG.code) return null;
  if (s.limit < 1 || offset > s.limit - 1) return null;
  const at = (s.base + offset) % 0x1_0000_0000;
  const b = vcpu.guest.copyFrom(at, 2);
  return b === null ? at : { isJump, selector: b[0]! | (b[1]! << 8), length: d.length };
}

function effectiveAddress(vcpu: Vcpu, o: MemOperand, size: number): number {
  const reg = (n: number) => (n < 0 ? 0 : vcpu.regs.regLo(n) >>> 0);
  const ea = (reg(o.base) + reg(o.index) * 2 ** o.scale + o.disp) % 0x1_0000_0000;
  return size === 2 ? ea & 0xffff : (ea + 0x1_0000_0000) % 0x1_0000_0000;
}

function checkTarget(gate: Gate, target: Segment, isJump: boolean, cpl: number): Fault {
  const { attributes, dpl } = target;
  if ((attributes & (SEG.s | SEG.code)) !== (SEG.s | SEG.code)) return gp(gate.selector);
  const anyInner = !isJump || (attributes & SEG.conforming) !== 0;
  if (anyInner ? dpl > cpl : dpl !== cpl) return gp(gate.selector);
  if (!(attributes & SEG.present)) return { vector: NP, errorCode: gate.selector };
  return gate.offset > target.limit ? gp(0) : null;
}

function jump(hv: Hypervisor, vcpu: Vcpu, gate: Gate, cpl: number): Fault {
  return loadCodeAndStack(hv, vcpu, gate.selector | cpl, vcpu.regs.selector(SS)) === 0 ? null : gp(gate.selector);
}

/** check_stack_limit(): whether `bytes` below `esp` are inside. */
function isInside(s: Segment, esp: number, bytes: number): boolean {
  const bottom = esp - bytes;
  if (bottom < 0 || bottom >= esp - 1) return false;
  return s.attributes & SEG.expandDown ? bottom > s.limit : esp - 1 <= s.limit;
}

function call(hv: Hypervisor, vcpu: Vcpu, gate: Gate, target: Segment, length: number, cpl: number, errorCode: number): Fault {
  const { regs, pv } = vcpu;
  const words: number[] = [];
  let selector = gate.selector;
  let ss = regs.selector(SS);
  let esp = regs.regLo(RSP) >>> 0;
  let stack: Segment | null;
  if (target.dpl < cpl) {
    // Only the kernel's ring has a stack that the hypervisor knows of.
    selector |= target.dpl;
    if ((selector & 3) !== 1) return gp(errorCode);
    ss = pv.kernelSs;
    esp = pv.kernelSp;
    stack = segment(hv, vcpu, ss);
    const isStack =
      stack !== null && (ss & 3) === 1 && stack.dpl === 1 && (stack.attributes & (WRITABLE_DATA | SEG.code)) === WRITABLE_DATA;
    if (stack === null || !isStack) return { vector: TS, errorCode: ss & ~3 };
    if (!(stack.attributes & SEG.present) || !isInside(stack, esp, (4 + gate.parameters) * 4))
      return { vector: SS_FAULT, errorCode: ss & ~3 };
    words.push(regs.selector(SS), regs.regLo(RSP));
    const fault = readParameters(hv, vcpu, gate.parameters, cpl, errorCode, words);
    if (fault !== null) return fault;
  } else {
    selector |= cpl;
    stack = segment(hv, vcpu, ss);
    if (stack === null || stack.dpl !== cpl) return gp(errorCode);
    if (!isInside(stack, esp, 8)) return { vector: SS_FAULT, errorCode: 0 };
  }
  words.push(regs.selector(CS), Number(regs.rip) + length);
  const top = (stack.base + esp) % 0x1_0000_0000;
  if (top > HYPERVISOR_COMPAT_VIRT_START) return gp(errorCode);
  for (let i = 0; i < words.length; i++) {
    const at = top - 4 * (i + 1);
    if (!vcpu.guest.write32(at, words[i]!)) return { pageFault: PF.write, at };
  }
  if (loadCodeAndStack(hv, vcpu, selector, ss) !== 0) return gp(gate.selector);
  regs.setRegHalves(RSP, (esp - words.length * 4) | 0, 0);
  return null;
}

/** The caller's parameters, from the outermost one down, as the CPU copies them. */
function readParameters(hv: Hypervisor, vcpu: Vcpu, count: number, cpl: number, errorCode: number, words: number[]): Fault {
  if (count === 0) return null;
  const { regs } = vcpu;
  const user = segment(hv, vcpu, regs.selector(SS));
  const esp = regs.regLo(RSP) >>> 0;
  if (user === null || user.dpl !== cpl || (user.attributes & (WRITABLE_DATA | SEG.code)) !== WRITABLE_DATA) return gp(errorCode);
  if (!isInside(user, esp + count * 4, count * 4)) return gp(errorCode);
  for (let i = count - 1; i >= 0; i--) {
    const at = (user.base + esp + i * 4) % 0x1_0000_0000;
    const w = vcpu.guest.read32(at);
    if (w < 0) return { pageFault: 0, at };
    words.push(w);
  }
  return null;
}
