// Which instruction is intercepted by which bit, and what comes first where it also has a reason to fault (APM Vol 2, 15.9 and Table
// 15-7). The bit of an intercept is the number of its exit code (exits.ts). Control and debug registers, MSRs, ports, exceptions and
// software interrupts have more to look at: non-root.ts does.

import { RCX, STATE } from '../state.ts';
import { CR4 } from '../system/bits.ts';
import { isProtected } from '../system/mode.ts';
import type { SystemCpu } from '../system/ports.ts';
import { EXIT, type ExitName } from './exits.ts';

/** Whether an instruction would raise an exception that comes before its intercept; the instruction itself then raises it. */
export type FaultsFirst = (cpu: SystemCpu) => boolean;

const notCpl0: FaultsFirst = (cpu) => cpu.cpl !== 0;
const notProtected: FaultsFirst = (cpu) => !isProtected(cpu);
const notProtectedCpl0: FaultsFirst = (cpu) => cpu.cpl !== 0 || !isProtected(cpu);
const umip: FaultsFirst = (cpu) => cpu.cpl !== 0 && (cpu.lo(STATE.cr4) & CR4.UMIP) !== 0;
const umipProtected: FaultsFirst = (cpu) => notProtected(cpu) || umip(cpu);
const noTsc: FaultsFirst = (cpu) => cpu.cpl !== 0 && (cpu.lo(STATE.cr4) & CR4.TSD) !== 0;
const noCounter: FaultsFirst = (cpu) => (cpu.cpl !== 0 && !(cpu.lo(STATE.cr4) & CR4.PCE)) || cpu.regLo(RCX) >>> 0 > 3;
const badMonitor: FaultsFirst = (cpu) => cpu.cpl !== 0 || cpu.regLo(RCX) !== 0;
const noXsave: FaultsFirst = (cpu) => (cpu.lo(STATE.cr4) & CR4.OSXSAVE) === 0;

export interface InstructionIntercept {
  readonly exit: ExitName;
  /** Left out: the intercept has priority over every exception. */
  readonly faultsFirst?: FaultsFirst;
}

/** By mnemonic (machine/isa). For SGDT and its kin the intercept comes after #UD and #GP(0) of privilege, before any access to memory. */
export const INSTRUCTION_INTERCEPTS = {
  SIDT: { exit: 'IDTR_READ', faultsFirst: umip },
  SGDT: { exit: 'GDTR_READ', faultsFirst: umip },
  SLDT: { exit: 'LDTR_READ', faultsFirst: umipProtected },
  STR: { exit: 'TR_READ', faultsFirst: umipProtected },
  LIDT: { exit: 'IDTR_WRITE', faultsFirst: notCpl0 },
  LGDT: { exit: 'GDTR_WRITE', faultsFirst: notCpl0 },
  LLDT: { exit: 'LDTR_WRITE', faultsFirst: notProtectedCpl0 },
  LTR: { exit: 'TR_WRITE', faultsFirst: notProtectedCpl0 },
  RDTSC: { exit: 'RDTSC', faultsFirst: noTsc },
  RDTSCP: { exit: 'RDTSCP', faultsFirst: noTsc },
  RDPMC: { exit: 'RDPMC', faultsFirst: noCounter },
  PUSHF: { exit: 'PUSHF' },
  POPF: { exit: 'POPF' },
  CPUID: { exit: 'CPUID' },
  RSM: { exit: 'RSM' },
  IRET: { exit: 'IRET' },
  INVD: { exit: 'INVD', faultsFirst: notCpl0 },
  WBINVD: { exit: 'WBINVD', faultsFirst: notCpl0 },
  HLT: { exit: 'HLT', faultsFirst: notCpl0 },
  MONITOR: { exit: 'MONITOR', faultsFirst: badMonitor },
  // #UD without CR4.OSXSAVE comes first, #GP of privilege and value later.
  XSETBV: { exit: 'XSETBV', faultsFirst: noXsave },
} as const satisfies Record<string, InstructionIntercept>;

/**
 * SVM's own instructions: #UD outside protected mode and without EFER.SVME, then #GP(0) above level 0, then the intercept. VMMCALL is for
 * every level and mode.
 */
export const SVM_INSTRUCTIONS = {
  VMRUN: 'VMRUN',
  VMMCALL: 'VMMCALL',
  VMLOAD: 'VMLOAD',
  VMSAVE: 'VMSAVE',
  STGI: 'STGI',
  CLGI: 'CLGI',
  SKINIT: 'SKINIT',
  INVLPGA: 'INVLPGA',
} as const satisfies Record<string, ExitName>;

export const codeOf = (name: ExitName): number => EXIT[name].code;
