// Registers of an HVM vCPU as a toolstack writes and reads them: struct hvm_hw_cpu (hvm_load_cpu_ctxt, hvm_save_cpu_ctxt,
// xen/arch/x86/hvm/hvm.c), and INIT and start-up (hvm_vcpu_reset_state).

import { XEN_EINVAL, XEN_X86_FPU_INITIALISED } from '@ringworld/abi';
import { loadFxsave, saveFxsave } from '../core/fpu-image.ts';
import type { HvmCpuState } from '../core/hvm-hooks.ts';
import type { Lin } from '../machine/addresses.ts';
import { CS, DS, ES, FS, GS, LDTR, SS, STATE, TR } from '../machine/state.ts';
import { CR0, CR4, EFER } from '../machine/system/bits.ts';
import type { CpuProfile } from '../machine/system/cpuid.ts';
import { guestCr4Bits } from './cpuid-policy.ts';
import type { HvmVcpu } from './vcpu.ts';
import type { VirtOps } from './virt-ops.ts';

const GPRS = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;
const SEGMENTS = [
  ['es', ES],
  ['cs', CS],
  ['ss', SS],
  ['ds', DS],
  ['fs', FS],
  ['gs', GS],
  ['ldtr', LDTR],
  ['tr', TR],
] as const;
/** 64-bit fields and where they lie. */
const WORDS = [
  ['cr2', STATE.cr2],
  ['cr3', STATE.cr3],
  ['dr0', STATE.dr],
  ['dr1', STATE.dr + 8],
  ['dr2', STATE.dr + 16],
  ['dr3', STATE.dr + 24],
  ['dr6', STATE.dr + 48],
  ['dr7', STATE.dr + 56],
  ['gdtr_base', STATE.gdtrBase],
  ['idtr_base', STATE.idtrBase],
  ['sysenter_cs', STATE.sysenterCs],
  ['sysenter_esp', STATE.sysenterEsp],
  ['sysenter_eip', STATE.sysenterEip],
  ['shadow_gs', STATE.kernelGsBase],
  ['msr_lstar', STATE.lstar],
  ['msr_star', STATE.star],
  ['msr_cstar', STATE.cstar],
  ['msr_syscall_mask', STATE.fmask],
  ['msr_efer', STATE.efer],
  ['msr_tsc_aux', STATE.tscAux],
] as const;

/** Access rights in the file have the bits of SEG (state.ts) and, at bit 16, "unusable" where Intel's hardware wrote them. */
const USABLE = 0xf0ff;

/** 0, or -XEN_EINVAL for control registers that no processor could have. */
export function loadCpuState(h: HvmVcpu, s: HvmCpuState, ops: VirtOps, profile: CpuProfile): number {
  const cr0 = Number(s.cr0);
  const cr4 = Number(s.cr4);
  const efer = Number(s.msr_efer);
  if (s.cr0 >> 32n || (cr0 & CR0.PG && !(cr0 & CR0.PE)) || (cr0 & CR0.NW && !(cr0 & CR0.CD))) return -XEN_EINVAL;
  if (s.cr4 >> 32n || cr4 & ~guestCr4Bits(profile, h.shadow === null)) return -XEN_EINVAL;
  if (efer & EFER.LMA && !(efer & EFER.LME && cr4 & CR4.PAE && cr0 & CR0.PG)) return -XEN_EINVAL;
  const { regs } = h.vcpu;
  GPRS.forEach((name, n) => {
    regs.setReg(n, s[name]);
  });
  for (const [name, at] of WORDS) regs.setBig(at, s[name]);
  for (const [name, n] of SEGMENTS)
    regs.setSegment(n, s[`${name}_sel`], s[`${name}_arbytes`] & USABLE, s[`${name}_limit`], Number(BigInt.asIntN(64, s[`${name}_base`])));
  regs.setU32(STATE.gdtrLimit, s.gdtr_limit);
  regs.setU32(STATE.idtrLimit, s.idtr_limit);
  regs.rip = Number(BigInt.asIntN(64, s.rip)) as Lin;
  regs.rflags = Number(s.rflags & 0xffff_ffffn) | 2;
  h.cr0 = cr0 | CR0.ET;
  h.cr4 = cr4;
  regs.setHalves(STATE.cr0, h.cr0 | ops.cr0Fixed, 0);
  regs.setHalves(STATE.cr4, cr4 | ops.cr4Fixed, 0);
  h.efer = efer;
  h.cr3Lo = Number(BigInt.asIntN(32, s.cr3));
  h.cr3Hi = Number(BigInt.asIntN(32, s.cr3 >> 32n));
  h.shadow?.flush();
  // SS.DPL is the privilege level.
  regs.setU32(STATE.cpl, cr0 & CR0.PE ? (s.ss_arbytes >>> 5) & 3 : 0);
  if (s.flags & XEN_X86_FPU_INITIALISED) loadFxsave(regs, s.fpu_regs);
  h.isDirty = true;
  h.needsFlush = true;
  return 0;
}

/** `blank`: a state all zero. */
export function saveCpuState(h: HvmVcpu, blank: HvmCpuState): HvmCpuState {
  const { regs } = h.vcpu;
  const named: Record<string, unknown> = {};
  GPRS.forEach((name, n) => {
    named[name] = regs.reg(n);
  });
  for (const [name, at] of WORDS) named[name] = regs.big(at);
  for (const [name, n] of SEGMENTS) {
    named[`${name}_sel`] = regs.selector(n);
    named[`${name}_arbytes`] = regs.segAttributes(n);
    named[`${name}_limit`] = regs.segLimit(n);
    named[`${name}_base`] = BigInt.asUintN(64, BigInt(regs.segBase(n)));
  }
  return {
    ...blank,
    ...named,
    gdtr_limit: regs.u32(STATE.gdtrLimit),
    idtr_limit: regs.u32(STATE.idtrLimit),
    rip: BigInt.asUintN(64, BigInt(regs.rip)),
    rflags: BigInt(regs.rflags >>> 0),
    cr0: BigInt(h.cr0 >>> 0),
    msr_efer: BigInt(h.efer),
    ...(h.shadow === null ? {} : { cr3: (BigInt(h.cr3Hi >>> 0) << 32n) | BigInt(h.cr3Lo >>> 0) }),
    cr4: BigInt(h.cr4 >>> 0),
    fpu_regs: saveFxsave(regs),
    flags: XEN_X86_FPU_INITIALISED,
  };
}
