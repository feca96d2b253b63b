// RDMSR and WRMSR of an HVM guest (hvm_msr_read_intercept, hvm_msr_write_intercept, xen/arch/x86/hvm/hvm.c; guest_rdmsr, xen/arch/x86/msr.c):
// the machine's table serves most, on the guest's own registers; here is what a guest may not see or what is virtual.

import type { Hypervisor } from '../core/hypervisor.ts';
import { isCounterMsr } from '../core/vpmu.ts';
import { HYPERCALL_MSR } from '../core/xen-leaves.ts';
import { STATE } from '../machine/state.ts';
import { CR0, EFER } from '../machine/system/bits.ts';
import { MSR, readMsr, writeMsr } from '../machine/system/msr.ts';
import type { SystemCpu } from '../machine/system/ports.ts';
import { hvmProfile } from './cpuid-policy.ts';
import { placeHypercallPage } from './hypercall-page.ts';
import type { HvmVcpu } from './vcpu.ts';

const IA32_FEATURE_CONTROL = 0x3a;
const VMX_FIRST = 0x480;
const VMX_LAST = 0x4ff;
const SVM_FIRST = 0xc001_0114;
const SVM_LAST = 0xc001_0118;

/**
 * MSRs that live in the register block of the vCPU and mean nothing to the hypervisor: a guest uses them without an exit
 * (vmx_clear_msr_intercept, svm_disable_intercept_for_msr).
 */
export const FREE_MSRS = [
  MSR.IA32_SYSENTER_CS,
  MSR.IA32_SYSENTER_ESP,
  MSR.IA32_SYSENTER_EIP,
  MSR.IA32_STAR,
  MSR.IA32_LSTAR,
  MSR.IA32_CSTAR,
  MSR.IA32_FMASK,
  MSR.IA32_FS_BASE,
  MSR.IA32_GS_BASE,
  MSR.IA32_KERNEL_GS_BASE,
  MSR.IA32_TSC_AUX,
] as const;

const isApics = (n: number): boolean => n === MSR.IA32_APIC_BASE || n === MSR.IA32_TSC_DEADLINE || (n >= 0x800 && n <= 0x8ff);
/** The extensions' own, which no guest sees. */
const isHidden = (n: number): boolean => (n >= VMX_FIRST && n <= VMX_LAST) || (n >= SVM_FIRST && n <= SVM_LAST);

/** Undefined: #GP(0). */
export function readGuestMsr(h: HvmVcpu, cpu: SystemCpu, n: number): bigint | undefined {
  if (isApics(n)) return h.apic?.readMsr(n);
  if (isHidden(n)) return undefined;
  if (isCounterMsr(cpu.profile.vendor, n)) return 0n;
  switch (n) {
    case HYPERCALL_MSR:
      return 0n;
    case IA32_FEATURE_CONTROL:
      return cpu.profile.vendor === 'GenuineIntel' ? 1n : undefined;
    case MSR.IA32_EFER:
      return BigInt(h.efer);
    default:
      return readMsr(cpu, n);
  }
}

/** False: #GP(0). */
export function writeGuestMsr(hv: Hypervisor, h: HvmVcpu, cpu: SystemCpu, n: number, v: bigint): boolean {
  h.isDirty = true;
  if (isApics(n)) return h.apic?.writeMsr(n, v) ?? false;
  if (isHidden(n)) return false;
  if (isCounterMsr(cpu.profile.vendor, n)) return true;
  switch (n) {
    case HYPERCALL_MSR:
      return placeHypercallPage(hv, h.vcpu, v);
    case MSR.IA32_EFER:
      return writeEfer(h, cpu, v);
    default:
      return writeMsr(cpu, n, v);
  }
}

/** hvm_set_efer(). */
function writeEfer(h: HvmVcpu, cpu: SystemCpu, v: bigint): boolean {
  const { features } = hvmProfile(cpu.profile, h.shadow === null);
  let allowed = EFER.LMA;
  if (features.has('syscall')) allowed |= EFER.SCE;
  if (features.has('lm')) allowed |= EFER.LME;
  if (features.has('nx')) allowed |= EFER.NXE;
  if (v & ~BigInt(allowed)) return false;
  if ((Number(v) ^ h.efer) & EFER.LME && h.cr0 & CR0.PG) return false;
  h.efer = (Number(v) & ~EFER.LMA) | (h.efer & EFER.LMA);
  cpu.setHalves(STATE.efer, h.efer, 0);
  h.needsFlush = true;
  return true;
}
