// The instructions that make VM exits, always or where a control says so (SDM Vol 3C, 25.1), and those that do something else than usual
// in non-root operation (25.3). By mnemonic, as in isa/; the VMX instructions themselves are in instructions.ts.
//
// An intercept answers true when it has dealt with the instruction: by an exit, by doing its work, or by delivering an exception. False
// lets the ordinary handler run, which also raises the exceptions that come before an exit (25.1.1): those of privilege.

import type { Maddr } from '../addresses.ts';
import type { Decoded } from '../isa/decoded.ts';
import { RAX, RCX, RDX, STATE } from '../state.ts';
import { CR0, CR4, EXC } from '../system/bits.ts';
import { writeCr0, writeCr4 } from '../system/control.ts';
import { is64, next } from '../system/mode.ts';
import { isMem, readOperand, writeOperand } from '../system/operands.ts';
import type { SystemCpu } from '../system/ports.ts';
import { monitorFired } from '../system/processor.ts';
import { readTsc } from '../system/time.ts';
import { ACTIVITY } from './capabilities.ts';
import { PRIMARY, SECONDARY } from './controls.ts';
import { CR_ACCESS_TYPE, VMX_EXIT } from './exits.ts';
import { VMCS } from './fields.ts';
import type { VmxGuest } from './non-root.ts';
import { destinationInformation, operandAddress, operandInformation, reg2 } from './operand-information.ts';

type Intercept = (g: VmxGuest, cpu: SystemCpu, d: Decoded) => boolean;

/** #UD for what a secondary control has to enable (25.3). */
function undefinedUnless(g: VmxGuest, cpu: SystemCpu, control: number): boolean {
  if (g.secondary & control) return false;
  cpu.fault(EXC.UD);
  return g.raise(cpu);
}

function crAccess(g: VmxGuest, d: Decoded, cr: number, type: number, gpr: number): boolean {
  const c = g.begin(VMX_EXIT.CR_ACCESS.reason);
  c.length = d.length;
  c.rf = false;
  c.qLo = cr | (type << 4) | (gpr << 8);
  return g.exit();
}

/** The value for CR0 that leaves the host's bits as they are; #GP(0) where VMX operation wants others (23.8). */
function setCr0(g: VmxGuest, cpu: SystemCpu, d: Decoded, lo: number, hi: number): boolean {
  const v = (lo & ~g.cr0Mask) | (cpu.lo(STATE.cr0) & g.cr0Mask);
  const required = g.cr0Required;
  const isBad = (hi & ~g.cr0MaskHi) !== 0 || (v & required) !== required;
  if (isBad ? cpu.fault(EXC.GP, 0) : writeCr0(cpu, BigInt(v >>> 0))) return next(cpu, d);
  return g.raise(cpu);
}
function setCr4(g: VmxGuest, cpu: SystemCpu, d: Decoded, lo: number, hi: number): boolean {
  const v = (lo & ~g.cr4Mask) | (cpu.lo(STATE.cr4) & g.cr4Mask);
  const isBad = (hi & ~g.cr4MaskHi) !== 0 || (v & CR4.VMXE) === 0;
  if (isBad ? cpu.fault(EXC.GP, 0) : writeCr4(cpu, BigInt(v >>> 0))) return next(cpu, d);
  return g.raise(cpu);
}

/** Whether a value for CR3 is one of the CR3-target values (24.6.7). */
function isCr3Target(g: VmxGuest, lo: number, hi: number): boolean {
  const count = g.vmcs.read32(VMCS.CR3_TARGET_COUNT);
  for (let i = 0; i < count; i++) {
    const field = CR3_TARGETS[i]!;
    if ((g.vmcs.lo(field) | 0) === (lo | 0) && (g.vmcs.hi(field) | 0) === (hi | 0)) return true;
  }
  return false;
}
const CR3_TARGETS = [VMCS.CR3_TARGET_VALUE0, VMCS.CR3_TARGET_VALUE1, VMCS.CR3_TARGET_VALUE2, VMCS.CR3_TARGET_VALUE3] as const;

const moveToCr: Intercept = (g, cpu, d) => {
  const [to, from] = d.operands;
  if (to?.kind !== 'reg' || from?.kind !== 'reg') return false;
  const lo = cpu.regLo(from.index);
  const hi = is64(cpu) ? cpu.regHi(from.index) : 0;
  switch (to.index) {
    case 0:
      if (((lo ^ g.cr0Shadow) & g.cr0Mask) | ((hi ^ g.cr0ShadowHi) & g.cr0MaskHi))
        return crAccess(g, d, 0, CR_ACCESS_TYPE.toCr, from.index);
      return setCr0(g, cpu, d, lo, hi);
    case 3:
      if (!(g.primary & PRIMARY.cr3LoadExiting) || isCr3Target(g, lo, hi)) return false;
      return crAccess(g, d, 3, CR_ACCESS_TYPE.toCr, from.index);
    case 4:
      if (((lo ^ g.cr4Shadow) & g.cr4Mask) | ((hi ^ g.cr4ShadowHi) & g.cr4MaskHi))
        return crAccess(g, d, 4, CR_ACCESS_TYPE.toCr, from.index);
      return setCr4(g, cpu, d, lo, hi);
    case 8:
      return (g.primary & PRIMARY.cr8LoadExiting) !== 0 && crAccess(g, d, 8, CR_ACCESS_TYPE.toCr, from.index);
    default:
      return false;
  }
};

const moveFromCr: Intercept = (g, cpu, d) => {
  const [to, from] = d.operands;
  if (to?.kind !== 'reg' || from?.kind !== 'reg') return false;
  switch (from.index) {
    case 0:
      cpu.setRegHalves(to.index, g.readCr0(cpu), g.cr0ShadowHi & g.cr0MaskHi);
      return next(cpu, d);
    case 3:
      return (g.primary & PRIMARY.cr3StoreExiting) !== 0 && crAccess(g, d, 3, CR_ACCESS_TYPE.fromCr, to.index);
    case 4:
      cpu.setRegHalves(to.index, g.readCr4(cpu), g.cr4ShadowHi & g.cr4MaskHi);
      return next(cpu, d);
    case 8:
      return (g.primary & PRIMARY.cr8StoreExiting) !== 0 && crAccess(g, d, 8, CR_ACCESS_TYPE.fromCr, to.index);
    default:
      return false;
  }
};

/** CLTS: an exit where TS is the host's and reads as set; nothing where it is and reads as clear. */
const clts: Intercept = (g, cpu, d) => {
  if (!(g.cr0Mask & CR0.TS)) return false;
  if (g.cr0Shadow & CR0.TS) return crAccess(g, d, 0, CR_ACCESS_TYPE.clts, 0);
  return next(cpu, d);
};

/** LMSW: PE makes an exit only where it would be set. */
const lmsw: Intercept = (g, cpu, d) => {
  const o = d.operands[0];
  const source = readOperand(cpu, d, 0, 2);
  if (source === undefined) return g.raise(cpu);
  const v = Number(source);
  const differs = (v ^ g.cr0Shadow) & g.cr0Mask;
  if (!(differs & 0xe) && !(differs & v & CR0.PE)) {
    const old = cpu.lo(STATE.cr0);
    const lo = (old & ~0xe) | (v & 0xf) | (old & CR0.PE);
    return setCr0(g, cpu, d, lo, 0);
  }
  const c = g.begin(VMX_EXIT.CR_ACCESS.reason);
  c.length = d.length;
  c.rf = false;
  c.qLo = (CR_ACCESS_TYPE.lmsw << 4) | (isMem(o) ? 0x40 : 0) | (v << 16);
  if (isMem(o)) c.lin = operandAddress(cpu, d, o).lin;
  return g.exit();
};

const smsw: Intercept = (g, cpu, d) => {
  if (g.cr0Mask === 0 || (cpu.lo(STATE.cr4) & CR4.UMIP && cpu.cpl > 0)) return false;
  const size = isMem(d.operands[0]) ? 2 : d.opSize;
  return writeOperand(cpu, d, 0, BigInt(g.readCr0(cpu) >>> 0), size) ? next(cpu, d) : g.raise(cpu);
};

const drAccess =
  (isRead: boolean): Intercept =>
  (g, _cpu, d) => {
    if (!(g.primary & PRIMARY.movDrExiting)) return false;
    const [to, from] = d.operands;
    if (to?.kind !== 'reg' || from?.kind !== 'reg') return false;
    const c = g.begin(VMX_EXIT.DR_ACCESS.reason);
    c.length = d.length;
    c.rf = false;
    c.qLo = isRead ? from.index | 0x10 | (to.index << 8) : to.index | (from.index << 8);
    return g.exit();
  };

/** Offsets in the MSR bitmap page (24.6.9). */
const MSR_BITMAP = { readLow: 0, readHigh: 1024, writeLow: 2048, writeHigh: 3072 } as const;
const msrAccess =
  (low: number, high: number, reason: number): Intercept =>
  (g, cpu, d) => {
    if (cpu.cpl > 0) return false;
    const n = cpu.regLo(RCX) >>> 0;
    const map = n <= 0x1fff ? low : n >= 0xc000_0000 && n <= 0xc000_1fff ? high : -1;
    const { ram } = cpu;
    const exits = g.msrBitmap < 0 || map < 0 || ((ram.read8((g.msrBitmap + map + ((n & 0x1fff) >>> 3)) as Maddr) >>> (n & 7)) & 1) !== 0;
    if (exits) return g.exitBefore(reason, d);
    return n === X2APIC_TPR && (g.secondary & SECONDARY.virtualizeX2apicMode) !== 0 && virtualTpr(g, cpu, d, low === MSR_BITMAP.readLow);
  };
/** The one register of an x2APIC that is virtual without APIC-register virtualization (29.5). */
const X2APIC_TPR = 0x808;
function virtualTpr(g: VmxGuest, cpu: SystemCpu, d: Decoded, isRead: boolean): boolean {
  if (isRead) {
    cpu.setRegHalves(RAX, g.readTprRegister(), 0);
    cpu.setRegHalves(RDX, 0, 0);
    return next(cpu, d);
  }
  if (cpu.regLo(RDX) !== 0 || cpu.regLo(RAX) >>> 8 !== 0) {
    cpu.fault(EXC.GP, 0);
    return g.raise(cpu);
  }
  g.writeTprRegister(cpu.regLo(RAX));
  return next(cpu, d);
}

/** RDTSC and RDTSCP: #GP(0) by CR4.TSD comes first. */
const mayReadTsc = (cpu: SystemCpu): boolean => !(cpu.lo(STATE.cr4) & CR4.TSD) || cpu.cpl === 0;

const invlpg: Intercept = (g, cpu, d) => {
  const m = d.operands[0];
  if (!(g.primary & PRIMARY.invlpgExiting) || !isMem(m)) return false;
  const at = operandAddress(cpu, d, m);
  const c = g.begin(VMX_EXIT.INVLPG.reason);
  c.length = d.length;
  c.rf = false;
  c.qLo = at.lo;
  c.qHi = at.hi;
  return g.exit();
};

/** Instructions whose operand an exit tells of. */
function exitWithOperand(g: VmxGuest, cpu: SystemCpu, d: Decoded, reason: number, at: number, more: number): boolean {
  const c = g.begin(reason);
  c.length = d.length;
  c.rf = false;
  operandInformation(cpu, c, d, at, more);
  return g.exit();
}

/** LGDT and its kin, LLDT and its kin: the identity is in bits 29:28 (Tables 27-10 and 27-11). */
const descriptorTable =
  (reason: number, identity: number, isStore: boolean): Intercept =>
  (g, cpu, d) => {
    if (!(g.secondary & SECONDARY.descriptorTableExiting)) return false;
    if (isStore && cpu.lo(STATE.cr4) & CR4.UMIP && cpu.cpl > 0) return false;
    const is32 = reason === VMX_EXIT.ACCESS_GDTR_OR_IDTR.reason && d.opSize !== 2 ? 1 << 11 : 0;
    return exitWithOperand(g, cpu, d, reason, 0, is32 | (identity << 28));
  };
const GDTR = VMX_EXIT.ACCESS_GDTR_OR_IDTR.reason;
const LDTR = VMX_EXIT.ACCESS_LDTR_OR_TR.reason;

const random =
  (control: number, reason: number): Intercept =>
  (g, _cpu, d) => {
    if (!(g.secondary & control)) return false;
    const c = g.begin(reason);
    c.length = d.length;
    c.rf = false;
    destinationInformation(c, d);
    return g.exit();
  };

/** PAUSE, and loops of it at level 0: see 25.1.3 on PLE_Gap and PLE_Window, in units of the TSC. */
const pause: Intercept = (g, cpu, d) => {
  if (g.primary & PRIMARY.pauseExiting) return g.exitBefore(VMX_EXIT.PAUSE_INSTRUCTION.reason, d);
  if (!(g.secondary & SECONDARY.pauseLoopExiting) || cpu.cpl > 0) return false;
  const now = Number(readTsc(cpu));
  if (now - g.pauseLast > g.pleGap) g.pauseFirst = now;
  g.pauseLast = now;
  return now - g.pauseFirst > g.pleWindow && g.exitBefore(VMX_EXIT.PAUSE_INSTRUCTION.reason, d);
};

export const INTERCEPTS: ReadonlyMap<string, Intercept> = new Map<string, Intercept>(
  Object.entries({
    CPUID: (g, cpu, d) => !(cpu.thread.cpuidFaulting && cpu.cpl > 0) && g.exitBefore(VMX_EXIT.CPUID.reason, d),
    INVD: (g, _cpu, d) => g.exitBefore(VMX_EXIT.INVD.reason, d),
    XSETBV: (g, cpu, d) => (cpu.lo(STATE.cr4) & CR4.OSXSAVE) !== 0 && cpu.cpl === 0 && g.exitBefore(VMX_EXIT.XSETBV.reason, d),
    HLT(g, _cpu, d) {
      if (g.primary & PRIMARY.hltExiting) return g.exitBefore(VMX_EXIT.HLT.reason, d);
      g.sleep(ACTIVITY.hlt);
      return false;
    },
    INVLPG: invlpg,
    RDPMC: (g, cpu, d) =>
      (g.primary & PRIMARY.rdpmcExiting) !== 0 &&
      (cpu.cpl === 0 || (cpu.lo(STATE.cr4) & CR4.PCE) !== 0) &&
      g.exitBefore(VMX_EXIT.RDPMC.reason, d),
    RDTSC: (g, cpu, d) => (g.primary & PRIMARY.rdtscExiting) !== 0 && mayReadTsc(cpu) && g.exitBefore(VMX_EXIT.RDTSC.reason, d),
    RDTSCP: (g, cpu, d) =>
      undefinedUnless(g, cpu, SECONDARY.enableRdtscp) ||
      ((g.primary & PRIMARY.rdtscExiting) !== 0 && mayReadTsc(cpu) && g.exitBefore(VMX_EXIT.RDTSCP.reason, d)),
    MOV_TO_CR: moveToCr,
    MOV_FROM_CR: moveFromCr,
    CLTS: clts,
    LMSW: lmsw,
    SMSW: smsw,
    MOV_TO_DR: drAccess(false),
    MOV_FROM_DR: drAccess(true),
    RDMSR: msrAccess(MSR_BITMAP.readLow, MSR_BITMAP.readHigh, VMX_EXIT.MSR_READ.reason),
    WRMSR: msrAccess(MSR_BITMAP.writeLow, MSR_BITMAP.writeHigh, VMX_EXIT.MSR_WRITE.reason),
    MWAIT(g, cpu, d) {
      if (!(g.primary & PRIMARY.mwaitExiting) || cpu.cpl > 0) return false;
      const c = g.begin(VMX_EXIT.MWAIT_INSTRUCTION.reason);
      c.length = d.length;
      c.rf = false;
      c.qLo = monitorFired(cpu) ? 0 : 1;
      return g.exit();
    },
    MONITOR: (g, cpu, d) =>
      (g.primary & PRIMARY.monitorExiting) !== 0 && cpu.cpl === 0 && g.exitBefore(VMX_EXIT.MONITOR_INSTRUCTION.reason, d),
    PAUSE: pause,
    WBINVD: (g, _cpu, d) => (g.secondary & SECONDARY.wbinvdExiting) !== 0 && g.exitBefore(VMX_EXIT.WBINVD.reason, d),
    INVPCID: (g, cpu, d) =>
      undefinedUnless(g, cpu, SECONDARY.enableInvpcid) ||
      ((g.primary & PRIMARY.invlpgExiting) !== 0 && exitWithOperand(g, cpu, d, VMX_EXIT.INVPCID.reason, 1, reg2(d, 0))),
    // IA32_XSS has no bits here, so that its exiting bitmap never matches.
    XSAVES: (g, cpu) => undefinedUnless(g, cpu, SECONDARY.enableXsaves),
    XRSTORS: (g, cpu) => undefinedUnless(g, cpu, SECONDARY.enableXsaves),
    RDRAND: random(SECONDARY.rdrandExiting, VMX_EXIT.RDRAND.reason),
    RDSEED: random(SECONDARY.rdseedExiting, VMX_EXIT.RDSEED.reason),
    SGDT: descriptorTable(GDTR, 0, true),
    SIDT: descriptorTable(GDTR, 1, true),
    LGDT: descriptorTable(GDTR, 2, false),
    LIDT: descriptorTable(GDTR, 3, false),
    SLDT: descriptorTable(LDTR, 0, true),
    STR: descriptorTable(LDTR, 1, true),
    LLDT: descriptorTable(LDTR, 2, false),
    LTR: descriptorTable(LDTR, 3, false),
  } satisfies Record<string, Intercept>),
);
