// A guest as the core sees it: each thing that may be intercepted, with the information of its exit (APM Vol 2, 15.7 to 15.14).

import { type Lin, linHi, linLo } from '../addresses.ts';
import { PF } from '../cpu-api.ts';
import type { Decoded } from '../isa/decoded.ts';
import { EFLAGS, RCX, STATE } from '../state.ts';
import { CR0, CR4, EFER, EXC } from '../system/bits.ts';
import { cr4Allowed } from '../system/control.ts';
import { DR7, dr7 } from '../system/debug.ts';
import { is64, nextRip } from '../system/mode.ts';
import { canonicalLinear, effectiveOffset, isMem } from '../system/operands.ts';
import { REQUEST, type SystemCpu } from '../system/ports.ts';
import { monitorFired } from '../system/processor.ts';
import { EVENT_TYPE, type GuestEvent, type NonRoot, type SecondLevel, TRAPPED } from '../virt/non-root.ts';
import { msrpmBit } from './controls.ts';
import { decodeBound } from './decode-bound.ts';
import { exitGuest, storeInstructionBytes } from './exit.ts';
import { EXIT, FAMILY, INFO1_HIGH, IOIO, TASK_SWITCH_HIGH } from './exits.ts';
import { codeOf, INSTRUCTION_INTERCEPTS, type InstructionIntercept } from './intercepts.ts';
import type { Svm } from './svm.ts';

/** What decides about one instruction: true when it has made an exit. */
type Intercept = (g: SvmGuest, cpu: SystemCpu, d: Decoded) => boolean;

const simple =
  ({ exit, faultsFirst }: InstructionIntercept): Intercept =>
  (g, cpu, d) =>
    g.svm.controls.isIntercepted(codeOf(exit)) && !faultsFirst?.(cpu) && g.instructionExit(cpu, d, codeOf(exit), 0, 0);

/** By mnemonic; an instruction that is not here is not intercepted. */
const INTERCEPTS: ReadonlyMap<string, Intercept> = new Map<string, Intercept>([
  ...Object.entries(INSTRUCTION_INTERCEPTS).map(([mnemonic, row]): [string, Intercept] => [mnemonic, simple(row)]),
  ['PAUSE', (g, cpu, d) => g.svm.controls.pause(cpu.cycles) && g.instructionExit(cpu, d, EXIT.PAUSE.code, 0, 0)],
  ['RDMSR', (g, cpu, d) => g.msr(cpu, d, 0)],
  ['WRMSR', (g, cpu, d) => g.msr(cpu, d, 1)],
  ['MWAIT', mwait],
  ['INVLPG', invlpg],
  ['MOV_FROM_CR', movFromCr],
  ['MOV_TO_CR', movToCr],
  ['CLTS', clts],
  ['LMSW', lmsw],
  ['SMSW', smsw],
  ['MOV_FROM_DR', (g, cpu, d) => movDr(g, cpu, d, 1, 0, FAMILY.DR_READ)],
  ['MOV_TO_DR', (g, cpu, d) => movDr(g, cpu, d, 0, 1, FAMILY.DR_WRITE)],
]);

export class SvmGuest implements NonRoot {
  readonly svm: Svm;
  readonly deadline = Number.POSITIVE_INFINITY;
  /**
   * RIP of the instruction that runs in an interrupt shadow, which the core has ended for itself by then; NaN for none. If that one makes the
   * exit, the shadow is still there (15.21.5): an HLT after STI must not lose the interrupt that it waits for.
   */
  shadowedRip = Number.NaN;
  private readonly tpr: { get(): number; set(cpu: SystemCpu, v: number): void };

  constructor(svm: Svm) {
    this.svm = svm;
    const { controls } = svm;
    this.tpr = {
      get: () => controls.vTpr & 15,
      set(_cpu, v) {
        controls.vTpr = v & 15;
      },
    };
  }

  get second(): SecondLevel | undefined {
    return this.svm.controls.nestedPaging ? this.svm.nested : undefined;
  }
  get space(): number {
    return this.svm.controls.asid;
  }
  get trapped(): number {
    const { controls } = this.svm;
    return (controls.isIntercepted(EXIT.PAUSE.code) ? TRAPPED.PAUSE : 0) | (controls.isIntercepted(EXIT.PUSHF.code) ? TRAPPED.PUSHF : 0);
  }
  get virtualTpr(): { get(): number; set(cpu: SystemCpu, v: number): void } | undefined {
    return this.svm.controls.vMasking ? this.tpr : undefined;
  }
  /** With V_INTR_MASKING the host's IF decides about physical interrupts: boundary() delivers them itself (15.21.1). */
  get takesInterrupts(): boolean {
    return this.svm.state.gif && !this.svm.controls.vMasking;
  }

  /** An exit of the instruction at RIP: NRIP is that of the next one. */
  instructionExit(cpu: SystemCpu, d: Decoded, code: number, info1: number, info1High: number): true {
    exitGuest(this.svm, code, info1, info1High, 0, 0, nextRip(cpu, d));
    return true;
  }

  instruction(cpu: SystemCpu, d: Decoded): boolean {
    return INTERCEPTS.get(d.insn.mnemonic)?.(this, cpu, d) ?? false;
  }

  /** RDMSR and WRMSR, which the core has found to be at level 0: the MSRPM has two bits for each MSR it knows (15.11). */
  msr(cpu: SystemCpu, d: Decoded, isWrite: 0 | 1): boolean {
    const { controls, physical } = this.svm;
    if (!controls.isIntercepted(EXIT.MSR.code)) return false;
    const bit = msrpmBit(cpu.regLo(RCX) >>> 0);
    if (bit >= 0) {
      const at = physical.locate(controls.msrpm + ((bit + isWrite) >>> 3));
      if (at >= 0 && !((physical.ram.u8[physical.ram.base + at]! >>> ((bit + isWrite) & 7)) & 1)) return false;
    }
    return this.instructionExit(cpu, d, EXIT.MSR.code, isWrite, 0);
  }

  io(cpu: SystemCpu, d: Decoded, port: number, size: number, isIn: boolean, lin: Lin | undefined): boolean {
    const { controls, features } = this.svm;
    if (!controls.isIntercepted(EXIT.IOIO.code) || !this.ioPermitted(port, size)) return false;
    let info = (port << IOIO.portShift) | (isIn ? IOIO.in : 0);
    info |= size === 1 ? IOIO.size8 : size === 2 ? IOIO.size16 : IOIO.size32;
    info |= d.addrSize === 2 ? IOIO.address16 : d.addrSize === 4 ? IOIO.address32 : IOIO.address64;
    if (lin !== undefined) {
      info |= IOIO.string | (d.rep ? IOIO.rep : 0);
      // INS stores through ES.
      if (features.decodeAssists && !isIn) info |= (d.operands.find(isMem)?.seg ?? 3) << IOIO.segmentShift;
    }
    const next = nextRip(cpu, d);
    exitGuest(this.svm, EXIT.IOIO.code, info, 0, linLo(next), linHi(next), next);
    return true;
  }
  /** Whether one of the IOPM's bits for `size` ports is set: three bytes past 8 KiB belong to it (15.10.1). */
  private ioPermitted(port: number, size: number): boolean {
    const { controls, physical } = this.svm;
    for (let p = port; p < port + size; p++) {
      const at = physical.locate(controls.iopm + (p >>> 3));
      if (at < 0 || (physical.ram.u8[physical.ram.base + at]! >>> (p & 7)) & 1) return true;
    }
    return false;
  }

  exception(cpu: SystemCpu, e: GuestEvent): boolean {
    const { svm } = this;
    if (e.type === EVENT_TYPE.privilegedSoft) {
      // Though INT1 goes through vector 1, the intercept of #DB is not for it.
      if (!svm.controls.isIntercepted(EXIT.ICEBP.code)) return false;
      exitGuest(svm, EXIT.ICEBP.code, 0, 0, 0, 0, cpu.rip + e.length);
      return true;
    }
    const { vector } = e;
    if (vector > 31 || !svm.controls.isIntercepted(FAMILY.EXCEPTION + vector)) return false;
    const isPf = vector === EXC.PF;
    if (isPf) storeInstructionBytes(svm, (e.errorCode & PF.fetch) === 0);
    const nrip =
      e.type === EVENT_TYPE.softException ? cpu.rip + e.length : vector === EXC.BR && svm.features.nripSave ? decodeBound(svm) : 0;
    const at = isPf ? cpu.faultAddress : 0;
    exitGuest(svm, FAMILY.EXCEPTION + vector, Math.max(e.errorCode, 0), 0, linLo(at), linHi(at), nrip);
    return true;
  }

  softInterrupt(cpu: SystemCpu, e: GuestEvent): boolean {
    const { controls, features } = this.svm;
    if (!controls.isIntercepted(EXIT.SWINT.code)) return false;
    exitGuest(this.svm, EXIT.SWINT.code, features.decodeAssists ? e.vector : 0, 0, 0, 0, cpu.rip + e.length);
    return true;
  }

  taskSwitch(cpu: SystemCpu, selector: number, source: 'jmp' | 'call' | 'int' | 'iret', errorCode: number): boolean {
    if (!this.svm.controls.isIntercepted(EXIT.TASK_SWITCH.code)) return false;
    let high = source === 'iret' ? TASK_SWITCH_HIGH.iret : source === 'jmp' ? TASK_SWITCH_HIGH.jmp : 0;
    if (errorCode >= 0) high |= TASK_SWITCH_HIGH.hasError;
    if (savesRf(cpu, source)) high |= TASK_SWITCH_HIGH.rf;
    exitGuest(this.svm, EXIT.TASK_SWITCH.code, selector, 0, Math.max(errorCode, 0), high, 0);
    return true;
  }

  tripleFault(_cpu: SystemCpu): boolean {
    if (!this.svm.controls.isIntercepted(EXIT.SHUTDOWN.code)) return false;
    exitGuest(this.svm, EXIT.SHUTDOWN.code, 0, 0, 0, 0, 0);
    return true;
  }

  secondLevelFault(_cpu: SystemCpu): void {
    const { nested } = this.svm;
    storeInstructionBytes(this.svm, (nested.errorCode & PF.fetch) === 0);
    const high = nested.faultIsTable ? INFO1_HIGH.nestedTable : INFO1_HIGH.nestedFinal;
    const gpa = nested.faultAddress;
    exitGuest(this.svm, EXIT.NPF.code, nested.errorCode, high, linLo(gpa), linHi(gpa), 0);
  }

  /** NMI, then physical interrupts, then the virtual one (15.13, 15.21). */
  boundary(cpu: SystemCpu, requests: number): boolean {
    if (cpu.thread.interruptShadow) {
      this.shadowedRip = cpu.rip;
      return false;
    }
    this.shadowedRip = Number.NaN;
    const { controls, state } = this.svm;
    if ((requests === 0 && !controls.vIrq) || !state.gif) return false;
    return (requests !== 0 && this.physicalInterrupt(cpu, requests)) || (controls.vIrq && this.virtualInterrupt(cpu));
  }
  private physicalInterrupt(cpu: SystemCpu, requests: number): boolean {
    const { controls, state } = this.svm;
    if (requests & REQUEST.nmi && !cpu.thread.nmiBlocked) {
      if (controls.isIntercepted(EXIT.NMI.code)) return this.eventExit(EXIT.NMI.code);
      if (!controls.vMasking) return false;
      cpu.apic!.acknowledgeNmi();
      cpu.inject({ vector: EXC.NMI, errorCode: -1, type: EVENT_TYPE.nmi, length: 0 });
      return true;
    }
    if (!(requests & REQUEST.intr)) return false;
    const enabled = controls.vMasking ? state.hostIf : (cpu.lo(STATE.eflags) & EFLAGS.IF) !== 0;
    if (!enabled) return false;
    if (controls.isIntercepted(EXIT.INTR.code)) return this.eventExit(EXIT.INTR.code);
    if (!controls.vMasking) return false;
    cpu.inject({ vector: cpu.apic!.acknowledge(), errorCode: -1, type: EVENT_TYPE.external, length: 0 });
    return true;
  }
  /** V_IRQ, where V_TPR, the guest's GIF and RFLAGS.IF let it through; the intercept comes before it is taken (15.21.4). */
  private virtualInterrupt(cpu: SystemCpu): boolean {
    const { controls } = this.svm;
    if (!controls.virtualInterruptDue || !(cpu.lo(STATE.eflags) & EFLAGS.IF)) return false;
    if (controls.isIntercepted(EXIT.VINTR.code)) return this.eventExit(EXIT.VINTR.code);
    controls.vIrq = false;
    cpu.inject({ vector: controls.vVector, errorCode: -1, type: EVENT_TYPE.external, length: 0 });
    return true;
  }
  private eventExit(code: number): true {
    exitGuest(this.svm, code, 0, 0, 0, 0, 0);
    return true;
  }
}

/** Host code with GIF = 0 (15.17): it runs as without the extension, but for interrupts, which stay pending. */
export class ClosedGif implements NonRoot {
  readonly second = undefined;
  readonly space = 0;
  readonly trapped = 0;
  readonly virtualTpr = undefined;
  readonly takesInterrupts = false;
  readonly deadline = Number.POSITIVE_INFINITY;
  instruction = (): boolean => false;
  io = (): boolean => false;
  exception = (): boolean => false;
  softInterrupt = (): boolean => false;
  taskSwitch = (): boolean => false;
  tripleFault = (): boolean => false;
  secondLevelFault = (): void => {};
  boundary = (): boolean => false;
}

/** RFLAGS.RF as the outgoing TSS would have it: a fault other than #DB sets it. */
function savesRf(cpu: SystemCpu, source: 'jmp' | 'call' | 'int' | 'iret'): boolean {
  const e = source === 'int' ? cpu.delivering : undefined;
  return (cpu.lo(STATE.eflags) & EFLAGS.RF) !== 0 || (e !== undefined && e.type === EVENT_TYPE.exception && e.vector !== EXC.DB);
}

// ------------------------------------------------------------------ instructions with more to look at

function mwait(g: SvmGuest, cpu: SystemCpu, d: Decoded): boolean {
  const { controls } = g.svm;
  const always = controls.isIntercepted(EXIT.MWAIT.code);
  const armedOnly = controls.isIntercepted(EXIT.MWAIT_CONDITIONAL.code);
  if ((!always && !armedOnly) || cpu.cpl !== 0 || cpu.regLo(RCX) & ~1) return false;
  const armed = !monitorFired(cpu);
  if (armedOnly && armed) return g.instructionExit(cpu, d, EXIT.MWAIT_CONDITIONAL.code, 0, 0);
  return always && g.instructionExit(cpu, d, EXIT.MWAIT.code, armed ? 1 : 0, 0);
}

/** With decode assists the linear address, also one that is not canonical (15.8.3). */
function invlpg(g: SvmGuest, cpu: SystemCpu, d: Decoded): boolean {
  const m = d.operands[0];
  if (!g.svm.controls.isIntercepted(EXIT.INVLPG.code) || !isMem(m)) return false;
  if (!g.svm.features.decodeAssists) return g.instructionExit(cpu, d, EXIT.INVLPG.code, 0, 0);
  const quick = is64(cpu) ? canonicalLinear(cpu, d, m, 1) : undefined;
  if (quick !== undefined) return g.instructionExit(cpu, d, EXIT.INVLPG.code, linLo(quick), linHi(quick));
  const base = BigInt(is64(cpu) && m.seg < 4 ? 0 : cpu.segBase(m.seg));
  const lin = BigInt.asUintN(is64(cpu) ? 64 : 32, base + effectiveOffset(cpu, d, m));
  return g.instructionExit(cpu, d, EXIT.INVLPG.code, Number(lin & 0xffff_ffffn) | 0, Number(lin >> 32n) | 0);
}

/** EXITINFO1 of MOV CR: bit 63 and the general register, with decode assists. */
function crExit(g: SvmGuest, cpu: SystemCpu, d: Decoded, code: number, gpr: number): true {
  const assists = g.svm.features.decodeAssists;
  return g.instructionExit(cpu, d, code, assists ? gpr : 0, assists ? INFO1_HIGH.movCr : 0);
}

const isControlRegister = (n: number): boolean => n === 0 || (n >= 2 && n <= 4) || n === 8;

function movFromCr(g: SvmGuest, cpu: SystemCpu, d: Decoded): boolean {
  const [to, from] = d.operands;
  if (to?.kind !== 'reg' || from?.kind !== 'reg' || !isControlRegister(from.index)) return false;
  if (!g.svm.controls.isIntercepted(FAMILY.CR_READ + from.index)) return false;
  return crExit(g, cpu, d, FAMILY.CR_READ + from.index, to.index);
}

function movToCr(g: SvmGuest, cpu: SystemCpu, d: Decoded): boolean {
  const [to, from] = d.operands;
  if (to?.kind !== 'reg' || from?.kind !== 'reg' || !isControlRegister(to.index)) return false;
  const n = to.index;
  const { controls } = g.svm;
  const intercepted = controls.isIntercepted(FAMILY.CR_WRITE + n);
  if (!intercepted && !(n === 0 && controls.isIntercepted(EXIT.CR0_SEL_WRITE.code))) return false;
  const lo = cpu.regLo(from.index);
  if (crWriteFaults(cpu, n, lo, is64(cpu) ? cpu.regHi(from.index) : 0)) return false;
  if (intercepted) return crExit(g, cpu, d, FAMILY.CR_WRITE + n, from.index);
  // Writes that change TS and MP at most are let through.
  const changed = (lo ^ cpu.lo(STATE.cr0)) & ~(CR0.TS | CR0.MP | CR0.ET);
  return changed !== 0 && crExit(g, cpu, d, EXIT.CR0_SEL_WRITE.code, from.index);
}

/** #GP(0) for the value, which comes before the intercept: what of control.ts needs no look at memory. */
function crWriteFaults(cpu: SystemCpu, n: number, lo: number, hi: number): boolean {
  const long = (cpu.lo(STATE.efer) & EFER.LMA) !== 0;
  switch (n) {
    case 0: {
      if (hi !== 0 || (lo & (CR0.PG | CR0.PE)) === CR0.PG || (lo & (CR0.NW | CR0.CD)) === CR0.NW) return true;
      const turnsOff = (lo & CR0.PG) === 0;
      if (turnsOff) return is64(cpu) || (cpu.lo(STATE.cr4) & CR4.PCIDE) !== 0;
      return !long && (cpu.lo(STATE.efer) & EFER.LME) !== 0 && (cpu.lo(STATE.cr4) & CR4.PAE) === 0;
    }
    case 3: {
      const high = cpu.lo(STATE.cr4) & CR4.PCIDE ? hi & 0x7fff_ffff : hi;
      return long && high >>> (cpu.profile.physicalBits - 32) !== 0;
    }
    case 4:
      return hi !== 0 || (lo & ~cr4Allowed(cpu.profile)) !== 0 || (long && !(lo & CR4.PAE));
    case 8:
      return hi !== 0 || lo >>> 4 !== 0;
    default:
      return false;
  }
}

/** CLTS, LMSW and SMSW count as accesses to CR0; bit 63 of EXITINFO1 stays clear. CLTS changes TS alone. */
function clts(g: SvmGuest, cpu: SystemCpu, d: Decoded): boolean {
  return g.svm.controls.isIntercepted(FAMILY.CR_WRITE) && g.instructionExit(cpu, d, FAMILY.CR_WRITE, 0, 0);
}
/** The selective intercept takes LMSW whatever it writes (15.9, Table 15-7; KVM looks at the value). */
function lmsw(g: SvmGuest, cpu: SystemCpu, d: Decoded): boolean {
  if (cpu.cpl !== 0) return false;
  if (clts(g, cpu, d)) return true;
  return g.svm.controls.isIntercepted(EXIT.CR0_SEL_WRITE.code) && g.instructionExit(cpu, d, EXIT.CR0_SEL_WRITE.code, 0, 0);
}
function smsw(g: SvmGuest, cpu: SystemCpu, d: Decoded): boolean {
  if (cpu.cpl !== 0 && cpu.lo(STATE.cr4) & CR4.UMIP) return false;
  return g.svm.controls.isIntercepted(FAMILY.CR_READ) && g.instructionExit(cpu, d, FAMILY.CR_READ, 0, 0);
}

/** MOV DR: all its exceptions come first (#UD of DR4 and DR5, general detect, #GP of high bits). */
function movDr(g: SvmGuest, cpu: SystemCpu, d: Decoded, dr: 0 | 1, gpr: 0 | 1, family: number): boolean {
  const r = d.operands[dr];
  const general = d.operands[gpr];
  if (r?.kind !== 'reg' || general?.kind !== 'reg' || r.index > 7) return false;
  const n = r.index;
  if (!g.svm.controls.isIntercepted(family + n)) return false;
  if ((n === 4 || n === 5) && cpu.lo(STATE.cr4) & CR4.DE) return false;
  if (dr7(cpu) & DR7.GD) return false;
  if (family === FAMILY.DR_WRITE && n >= 4 && is64(cpu) && cpu.regHi(general.index) !== 0) return false;
  return g.instructionExit(cpu, d, family + n, g.svm.features.decodeAssists ? general.index : 0, 0);
}
