// IRET, IRETD and IRETQ (SDM Vol 2A, IRET/IRETD/IRETQ): real mode, vm86 with IOPL 3, protected mode to the same or an outer level or to
// vm86, and long mode. A nested-task return (NT set) is in task.ts.

import { isCanonical, type Lin, linFromHalves } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import { ARITHMETIC_FLAGS, CS, DS, EFLAGS, ES, FS, GS, RSP, SS, STATE } from '../state.ts';
import { CR4, EXC } from './bits.ts';
import { checkReturnCs, checkReturnSs, commitReturn, offsetFits } from './far.ts';
import { loadVirtualFlags } from './flags.ts';
import { iopl, is64, isLongMode, isProtected, isVm86, nextRip, setCpl } from './mode.ts';
import type { SystemCpu } from './ports.ts';
import { commitCs, loadRealSegment } from './segments.ts';
import { currentStack } from './stack.ts';
import { returnFromTask, virtualInterruptDue } from './task.ts';

const ALWAYS = ARITHMETIC_FLAGS | EFLAGS.TF | EFLAGS.DF | EFLAGS.NT;

/** RFLAGS after a return at level cpl: bits outside the set that this level and operand size may change stay. */
export function flagsAfterReturn(cpu: SystemCpu, popped: number, cpl: number, size: number): number {
  let may = ALWAYS;
  if (size > 2) may |= EFLAGS.RF | EFLAGS.AC | EFLAGS.ID;
  if (cpl <= iopl(cpu)) may |= EFLAGS.IF;
  if (cpl === 0) may |= EFLAGS.IOPL | (size > 2 ? EFLAGS.VIF | EFLAGS.VIP : 0);
  return (cpu.rflags & ~may) | (popped & may);
}

/** Real mode, and vm86 with IOPL 3 (where IOPL itself stays) or, for 16 bits, with VME. */
function iretReal(cpu: SystemCpu, size: number): boolean {
  const vm86 = isVm86(cpu);
  const restricted = vm86 && iopl(cpu) < 3;
  if (restricted && (size !== 2 || !(cpu.lo(STATE.cr4) & CR4.VME))) return cpu.fault(EXC.GP, 0);
  const stack = currentStack(cpu);
  const ip = stack.pop(size);
  const cs = ip === undefined ? undefined : stack.pop(size);
  const flags = cs === undefined ? undefined : stack.pop(size);
  if (ip === undefined || cs === undefined || flags === undefined) return false;
  if (ip > cpu.segLimit(CS)) return cpu.fault(EXC.GP, 0);
  if (restricted && !loadVirtualFlags(cpu, flags)) return false;
  stack.commit();
  loadRealSegment(cpu, CS, cs & 0xffff);
  cpu.rip = ip as Lin;
  if (restricted) {
    cpu.modeChanged();
    return true;
  }
  let may = ALWAYS | EFLAGS.IF | (vm86 ? 0 : EFLAGS.IOPL);
  if (size > 2) may |= EFLAGS.RF | EFLAGS.AC | EFLAGS.ID;
  cpu.rflags = (cpu.rflags & ~may) | (flags & may);
  cpu.modeChanged();
  return true;
}

/** Return from CPL 0 to virtual-8086 mode: nine doublewords in all. */
function iretToVm86(cpu: SystemCpu, stack: ReturnType<typeof currentStack>, eip: number, cs: number, eflags: number): boolean {
  const v: number[] = [];
  for (let i = 0; i < 6; i++) {
    const x = stack.pop(4);
    if (x === undefined) return false;
    v.push(x);
  }
  const [esp, ss, es, ds, fs, gs] = v as [number, number, number, number, number, number];
  cpu.rflags = eflags;
  setCpl(cpu, 3);
  for (const [seg, selector] of [
    [CS, cs],
    [SS, ss],
    [ES, es],
    [DS, ds],
    [FS, fs],
    [GS, gs],
  ] as const)
    loadRealSegment(cpu, seg, selector & 0xffff);
  cpu.setRegHalves(RSP, esp, 0);
  cpu.rip = (eip & 0xffff) as Lin;
  cpu.modeChanged();
  return virtualInterruptDue(cpu) ? cpu.fault(EXC.GP, 0) : true;
}

/**
 * IRETQ of a kernel whose frame lies in one page of RAM, without BigInt; undefined where it does not. The five words are popped by one
 * probe: a page fault would be met at the first.
 */
function iretq(cpu: SystemCpu): boolean | undefined {
  const sp = cpu.regLin(RSP);
  const offset = ((sp % 4096) + 4096) % 4096;
  if (offset > 4096 - 40 || (offset & 7) !== 0 || !isCanonical(sp)) return undefined;
  const p = cpu.probe(sp, 40, false);
  if (p === 0) return false;
  if (p < cpu.ram.base) return undefined;
  const { u32 } = cpu.ram;
  const w = p >>> 2;
  const rip = linFromHalves(u32[w]!, u32[w + 1]!);
  const cs = u32[w + 2]! & 0xffff;
  const flags = u32[w + 4]! | 0;
  const rspLo = u32[w + 6]! | 0;
  const rspHi = u32[w + 7]! | 0;
  const ss = u32[w + 8]! & 0xffff;
  const code = checkReturnCs(cpu, cs);
  if (!code) return false;
  const after = flagsAfterReturn(cpu, flags, cpu.cpl, 8);
  const ssd = checkReturnSs(cpu, ss, cs & 3, code);
  if (!ssd || !offsetFits(cpu, code, rip)) return false;
  if (!commitReturn(cpu, { selector: cs, d: code, rip }, { selector: ss, d: ssd, rspLo, rspHi })) return false;
  cpu.rflags = after;
  cpu.modeChanged();
  return virtualInterruptDue(cpu) ? cpu.fault(EXC.GP, 0) : true;
}

export function iret(cpu: SystemCpu, d: Decoded): boolean {
  const size = d.opSize;
  cpu.thread.nmiBlocked = false;
  if (!isProtected(cpu)) return iretReal(cpu, size);
  const { cpl } = cpu;
  if (cpu.lo(STATE.eflags) & EFLAGS.NT) return isLongMode(cpu) ? cpu.fault(EXC.GP, 0) : returnFromTask(cpu, nextRip(cpu, d));
  if (size === 8 && cpl < 3) {
    const done = iretq(cpu);
    if (done !== undefined) return done;
  }
  const stack = currentStack(cpu);
  const rip = stack.pop(size);
  const cs = rip === undefined ? undefined : stack.popSelector(size);
  const flagsBig = cs === undefined ? undefined : stack.popBig(size);
  if (rip === undefined || cs === undefined || flagsBig === undefined) return false;
  const flags = Number(flagsBig & 0xffffffffn);
  if (size === 4 && cpl === 0 && !isLongMode(cpu) && flags & EFLAGS.VM) return iretToVm86(cpu, stack, rip, cs, flags);
  const code = checkReturnCs(cpu, cs);
  if (!code) return false;
  const after = flagsAfterReturn(cpu, flags, cpl, size);
  const rpl = cs & 3;
  if (rpl === cpl && !is64(cpu)) {
    if (!offsetFits(cpu, code, rip) || !commitCs(cpu, cs, code, rpl)) return false;
    stack.commit();
    cpu.rip = rip as Lin;
    cpu.rflags = after;
    cpu.modeChanged();
    return virtualInterruptDue(cpu) ? cpu.fault(EXC.GP, 0) : true;
  }
  const rsp = stack.popBig(size);
  const ss = rsp === undefined ? undefined : stack.popSelector(size);
  if (rsp === undefined || ss === undefined) return false;
  const ssd = checkReturnSs(cpu, ss, rpl, code);
  if (!ssd || !offsetFits(cpu, code, rip)) return false;
  const rspLo = Number(BigInt.asIntN(32, rsp));
  const rspHi = Number(BigInt.asIntN(32, rsp >> 32n));
  if (!commitReturn(cpu, { selector: cs, d: code, rip }, { selector: ss, d: ssd, rspLo, rspHi })) return false;
  cpu.rflags = after;
  cpu.modeChanged();
  return virtualInterruptDue(cpu) ? cpu.fault(EXC.GP, 0) : true;
}
