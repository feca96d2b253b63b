// SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM Vol 2B; Vol 3A, 5.8.7, 5.8.8).
//
// In 'host' delivery SYSCALL and SYSENTER, once their #UD and #GP checks are passed, leave the run loop with RIP after the instruction and
// everything else untouched: the hypervisor plays the handler. The context's EFER.SCE (and LMA) and SYSENTER_CS must therefore be set as
// the hypervisor would have set the real MSRs.

import type { Lin } from '../addresses.ts';
import { isCanonical } from '../addresses.ts';
import { RunExit } from '../cpu-api.ts';
import type { Decoded } from '../isa/decoded.ts';
import { CS, EFLAGS, RCX, RDX, RSP, SS, STATE } from '../state.ts';
import { EFER, EXC } from './bits.ts';
import { hasProtection, is64, isLongMode, isProtected, next, nextRip, requireCpl0, setCpl } from './mode.ts';
import type { SystemCpu } from './ports.ts';

const R11 = 11;
/** Attributes of the flat segments that these instructions load (layout of SEG): accessed, present, G; L or D by kind. */
const CODE64 = 0xa09b;
const CODE32 = 0xc09b;
const DATA = 0xc093;
const DPL3 = 0x60;

function loadFlat(cpu: SystemCpu, cs: number, code: number, ss: number, cpl: number): void {
  const dpl = cpl === 3 ? DPL3 : 0;
  cpu.setSegment(CS, (cs & 0xfffc) | cpl, code | dpl, 0xffffffff, 0);
  cpu.setSegment(SS, (ss & 0xfffc) | cpl, DATA | dpl, 0xffffffff, 0);
  setCpl(cpu, cpl);
}

const isAmd = (cpu: SystemCpu): boolean => cpu.profile.vendor === 'AuthenticAMD';
const sysenterSelector = (cpu: SystemCpu): number => cpu.u32(STATE.sysenterCs) & 0xfffc;

// TOUR hypercall 20: The guest's SYSCALL has no staged form: the interpreter stops at its record and comes here. A PV guest runs
// deprivileged under host delivery, so instead of loading CS and RIP from the MSRs the CPU leaves run() and the hypervisor, in the place
// of the ring-0 entry point, looks at what the registers hold.
function syscall(cpu: SystemCpu, d: Decoded): boolean {
  if (!(cpu.lo(STATE.efer) & EFER.SCE)) return cpu.fault(EXC.UD);
  const long = is64(cpu);
  // Intel has it in 64-bit mode only, AMD in all protected modes (APM Vol 3, SYSCALL).
  if (!long && !(isAmd(cpu) && isProtected(cpu))) return cpu.fault(EXC.UD);
  const after = nextRip(cpu, d);
  if (cpu.delivery === 'host') {
    cpu.rip = after;
    return cpu.leave(RunExit.syscall);
  }
  const selector = cpu.hi(STATE.star) & 0xffff;
  const flags = cpu.rflags;
  cpu.setRegLin(RCX, after);
  if (!isLongMode(cpu)) {
    cpu.rip = cpu.u32(STATE.star) as Lin;
    cpu.rflags = flags & ~(EFLAGS.VM | EFLAGS.IF | EFLAGS.RF);
    loadFlat(cpu, selector, CODE32, selector + 8, 0);
    cpu.modeChanged();
    return true;
  }
  cpu.setRegHalves(R11, flags & ~EFLAGS.RF, 0);
  cpu.rip = cpu.lin(long ? STATE.lstar : STATE.cstar);
  cpu.rflags = flags & ~cpu.lo(STATE.fmask) & ~EFLAGS.RF;
  loadFlat(cpu, selector, CODE64, selector + 8, 0);
  cpu.modeChanged();
  return true;
}

/** Bits of R11 that SYSRET loads. */
const SYSRET_FLAGS = 0x3c7fd7;

function sysret(cpu: SystemCpu, d: Decoded): boolean {
  if (!(cpu.lo(STATE.efer) & EFER.SCE) || (!is64(cpu) && !(isAmd(cpu) && isProtected(cpu)))) return cpu.fault(EXC.UD);
  if (!requireCpl0(cpu)) return false;
  if (!isLongMode(cpu)) {
    // AMD's in legacy mode: IF is set, the other flags stay (APM Vol 3, SYSRET).
    cpu.rip = (cpu.regLo(RCX) >>> 0) as Lin;
    cpu.setU32(STATE.eflags, cpu.lo(STATE.eflags) | EFLAGS.IF);
    const user = (cpu.hi(STATE.star) >>> 16) & 0xffff;
    loadFlat(cpu, user, CODE32, user + 8, 3);
    cpu.modeChanged();
    return true;
  }
  const to64 = d.opSize === 8;
  const rip = to64 ? cpu.regLin(RCX) : ((cpu.regLo(RCX) >>> 0) as Lin);
  // Intel checks while still at CPL 0, on the caller's stack (XSA-7); AMD leaves it to the fetch.
  if (!isCanonical(rip) && !isAmd(cpu)) return cpu.fault(EXC.GP, 0);
  const selector = (cpu.hi(STATE.star) >>> 16) & 0xffff;
  cpu.rip = rip;
  cpu.rflags = cpu.regLo(R11) & SYSRET_FLAGS;
  loadFlat(cpu, to64 ? selector + 16 : selector, to64 ? CODE64 : CODE32, selector + 8, 3);
  cpu.modeChanged();
  return true;
}

function sysenter(cpu: SystemCpu, d: Decoded): boolean {
  // AMD has SYSENTER and SYSEXIT outside long mode only (APM Vol 3).
  if (isAmd(cpu) && isLongMode(cpu)) return cpu.fault(EXC.UD);
  const selector = sysenterSelector(cpu);
  if (!hasProtection(cpu) || selector === 0) return cpu.fault(EXC.GP, 0);
  if (cpu.delivery === 'host') {
    next(cpu, d);
    return cpu.leave(RunExit.sysenter);
  }
  const long = isLongMode(cpu);
  cpu.rflags &= ~(EFLAGS.VM | EFLAGS.IF);
  if (long) {
    cpu.setBig(STATE.rip, cpu.big(STATE.sysenterEip));
    cpu.setReg(RSP, cpu.big(STATE.sysenterEsp));
  } else {
    cpu.rip = cpu.u32(STATE.sysenterEip) as Lin;
    cpu.setRegHalves(RSP, cpu.lo(STATE.sysenterEsp), 0);
  }
  loadFlat(cpu, selector, long ? CODE64 : CODE32, selector + 8, 0);
  cpu.modeChanged();
  return true;
}

function sysexit(cpu: SystemCpu, d: Decoded): boolean {
  if (isAmd(cpu) && isLongMode(cpu)) return cpu.fault(EXC.UD);
  const selector = sysenterSelector(cpu);
  if (!hasProtection(cpu) || selector === 0) return cpu.fault(EXC.GP, 0);
  if (!requireCpl0(cpu)) return false;
  if (d.opSize === 8) {
    if (!isCanonical(cpu.regLin(RCX)) || !isCanonical(cpu.regLin(RDX))) return cpu.fault(EXC.GP, 0);
    cpu.setReg(RSP, cpu.reg(RCX));
    cpu.rip = cpu.regLin(RDX);
    loadFlat(cpu, selector + 32, CODE64, selector + 40, 3);
  } else {
    cpu.setRegHalves(RSP, cpu.regLo(RCX), 0);
    cpu.rip = (cpu.regLo(RDX) >>> 0) as Lin;
    loadFlat(cpu, selector + 16, CODE32, selector + 24, 3);
  }
  cpu.modeChanged();
  return true;
}

export const syscallHandlers = { SYSCALL: syscall, SYSRET: sysret, SYSENTER: sysenter, SYSEXIT: sysexit };
