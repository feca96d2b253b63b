// Privileged instructions of a PV guest, carried out by the hypervisor when they fault (pv_emulate_privileged_op,
// xen/arch/x86/pv/emul-priv-op.c). What is not in the table here is the guest's own #GP: HLT, LGDT, CLI without IOPL and the rest.

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { decode } from '../machine/exec/decode.ts';
import type { Decoded } from '../machine/isa/decoded.ts';
import { RAX, RCX, RDX, STATE } from '../machine/state.ts';
import { CR4 } from '../machine/system/bits.ts';
import type { SystemCpu } from '../machine/system/ports.ts';
import { readTsc } from '../machine/system/time.ts';
import { guestCpuid } from './cpuid.ts';
import { profileOf } from './cpuid-policy.ts';
import { codeBits, fetchCode, instructionDone } from './emul-common.ts';
import { clts, movFromCr, movFromDr, movToCr, movToDr, xsetbv } from './emul-control.ts';
import { emulateIn, emulateOut, emulateString } from './emul-io.ts';
import { rdmsr, wrmsr } from './emul-msr.ts';
import { isGuestKernel } from './guest-mode.ts';
import { injectPageFault } from './inject.ts';
import { ioplOk } from './io-permission.ts';

/**
 * done: go on after the instruction. refused: the #GP is the guest's. retried: RIP stays (a repeat that was interrupted). injected: an
 * exception has been bounced already.
 */
export type Outcome = 'done' | 'refused' | 'retried' | 'injected';
export type PrivilegedOp = (hv: Hypervisor, vcpu: Vcpu, d: Decoded) => Outcome;

interface Rule {
  /** Only for the guest's kernel (mode_ring0 in the emulator's eyes). */
  readonly kernelOnly: boolean;
  readonly op: PrivilegedOp;
}
const kernel = (op: PrivilegedOp): Rule => ({ kernelOnly: true, op });
const any = (op: PrivilegedOp): Rule => ({ kernelOnly: false, op });

const cpuid: PrivilegedOp = (hv, vcpu) => {
  if (vcpu.pv.cpuidFaulting && !isGuestKernel(vcpu)) return 'refused';
  guestCpuid(hv, vcpu, 'faulted');
  return 'done';
};

/** RDTSC and RDTSCP fault only under CR4.TSD, which the guest chose for its users; its kernel reads on. */
const rdtsc: PrivilegedOp = (_hv, vcpu, d) => {
  if (vcpu.pv.ctrlreg[4]! & BigInt(CR4.TSD) && !isGuestKernel(vcpu)) return 'refused';
  const { regs, cpu } = vcpu;
  if (cpu === null || !('thread' in cpu)) return 'refused';
  const tsc = readTsc(cpu as SystemCpu);
  regs.setReg(RAX, tsc & 0xffff_ffffn);
  regs.setReg(RDX, (tsc >> 32n) & 0xffff_ffffn);
  if (d.insn.mnemonic === 'RDTSCP') regs.setRegHalves(RCX, profileOf(cpu).features.has('rdtscp') ? regs.lo(STATE.tscAux) : 0, 0);
  return 'done';
};

/** Neither has an effect: events are masked in vcpu_info, and POPF could not be caught to undo it. */
const cliSti: PrivilegedOp = (_hv, vcpu) => (ioplOk(vcpu) ? 'done' : 'refused');

const RULES: Readonly<Record<string, Rule>> = {
  IN: any(emulateIn),
  OUT: any(emulateOut),
  INS: any(emulateString),
  OUTS: any(emulateString),
  CLI: any(cliSti),
  STI: any(cliSti),
  CLTS: kernel(clts),
  // Without a device of its own a domain's caches need no write-back: ignored, as in Xen.
  WBINVD: kernel(() => 'done'),
  MOV_FROM_CR: kernel(movFromCr),
  MOV_TO_CR: kernel(movToCr),
  MOV_FROM_DR: kernel(movFromDr),
  MOV_TO_DR: kernel(movToDr),
  RDMSR: kernel(rdmsr),
  WRMSR: kernel(wrmsr),
  RDTSC: any(rdtsc),
  RDTSCP: any(rdtsc),
  CPUID: any(cpuid),
  XSETBV: kernel(xsetbv),
};

/** True when the fault is dealt with: emulated, or another exception was injected in its place. */
export function emulatePrivilegedOp(hv: Hypervisor, vcpu: Vcpu): boolean {
  const code = fetchCode(vcpu);
  const d = decode(code.bytes, 0, code.bytes.length, { bits: codeBits(vcpu) });
  if (d === 'needBytes' && code.faultAt !== null) {
    injectPageFault(hv, vcpu, 0, code.faultAt);
    return true;
  }
  if (typeof d === 'string') return false;
  const rule = RULES[d.insn.mnemonic];
  if (rule === undefined || (rule.kernelOnly && !isGuestKernel(vcpu))) return false;
  const { regs } = vcpu;
  const at = regs.rip;
  const outcome = rule.op(hv, vcpu, d);
  if (outcome === 'refused') return false;
  vcpu.domain.count(`emulated: ${d.insn.mnemonic.toLowerCase()}`);
  if (outcome === 'done') {
    const next = at + d.length;
    instructionDone(hv, vcpu, (codeBits(vcpu) === 64 ? next : next % 0x1_0000_0000) as typeof at);
  }
  return true;
}
