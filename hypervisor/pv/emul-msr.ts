// RDMSR and WRMSR of a PV guest's kernel: the answers of Xen 4.17 (guest_rdmsr, guest_wrmsr, xen/arch/x86/msr.c;
// read_msr, write_msr, xen/arch/x86/pv/emul-priv-op.c). Since 4.15 an MSR that is not listed is #GP, unless msr_relaxed.

import { PGT_writable_page } from '../core/frame-types.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Mfn } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { isCounterMsr } from '../core/vpmu.ts';
import { HYPERCALL_MSR } from '../core/xen-leaves.ts';
import { isCanonical, type Lin } from '../machine/addresses.ts';
import { FS, GS, RAX, RCX, RDX, STATE } from '../machine/state.ts';
import { MSR, readMsr } from '../machine/system/msr.ts';
import type { SystemCpu } from '../machine/system/ports.ts';
import { readTsc } from '../machine/system/time.ts';
import { XEN_MSR_PAT } from './context-switch.ts';
import { XEN_EFER } from './control-registers.ts';
import { featuresOf, profileOf } from './cpuid-policy.ts';
import type { Outcome } from './emul-priv-op.ts';
import { writeHypercallPage } from './hypercall-page.ts';

/** Numbers that machine/system/msr.ts has no use for. */
const IA32_MPERF = 0xe7;
const IA32_APERF = 0xe8;
const IA32_PERF_STATUS = 0x198;
const IA32_PERF_CTL = 0x199;
const IA32_THERM_CONTROL = 0x19a;
const IA32_THERM_STATUS = 0x19c;
const IA32_ENERGY_PERF_BIAS = 0x1b0;
const IA32_MCG_CTL = 0x17b;
const IA32_MC0_CTL = 0x400;
const IA32_PERF_CAPABILITIES = 0x345;

/** EFER.LME, LMA: hidden from 32-bit guests. */
const LONG_MODE = 0x500n;
/** CPUID faulting is all that a guest sees of MSR_PLATFORM_INFO. */
const CPUID_FAULTING = 1n << 31n;
/** INTEL_GUEST_MCG_CAP: two banks, MCG_SER_P, MCG_TES_P; AMD's has the banks only (xen/arch/x86/cpu/mcheck/vmce.c). */
const GUEST_MCG_CAP = 0x100_0802n;
const GUEST_MC_BANKS = 2;
/** guest_misc_enable(): performance monitoring and MONITOR off; BTS, PEBS unavailable; xTPR disabled. */
const guestMiscEnable = (v: bigint): bigint => (v & ~((1n << 7n) | (1n << 18n))) | (1n << 11n) | (1n << 12n) | (1n << 23n);

/** Numbers of AMD's (APM Vol 2, appendix A). */
const K8_HWCR = 0xc001_0015;
const K7_FID_VID_CTL = 0xc001_0041;
const K8_PSTATE_LIMIT = 0xc001_0061;
const AMD64_DE_CFG = 0xc001_1029;

/** FID_VID control and status, and the P-states: read as zero, writes are ignored. */
const isAmdPowerMsr = (n: number): boolean =>
  n === K7_FID_VID_CTL || n === K7_FID_VID_CTL + 1 || (n >= K8_PSTATE_LIMIT && n <= K8_PSTATE_LIMIT + 10);
const isPerformanceCounter = (vcpu: Vcpu, n: number): boolean => isCounterMsr(profileOf(vcpu.cpu).vendor, n);
const isAmd = (vcpu: Vcpu): boolean => profileOf(vcpu.cpu).vendor === 'AuthenticAMD';
const isMcBank = (n: number): boolean => n >= IA32_MC0_CTL && n < IA32_MC0_CTL + 4 * GUEST_MC_BANKS;

const machineMsr = (vcpu: Vcpu, n: number): bigint | undefined =>
  vcpu.cpu !== null && 'thread' in vcpu.cpu ? readMsr(vcpu.cpu as SystemCpu, n) : undefined;

/** Undefined: #GP(0). */
export function readGuestMsr(vcpu: Vcpu, n: number): bigint | undefined {
  const { regs, pv, domain } = vcpu;
  const base = (seg: number) => (domain.is32bit ? undefined : regs.big(STATE.seg + seg * 16 + 8));
  switch (n) {
    case MSR.IA32_PLATFORM_ID:
      return isAmd(vcpu) ? undefined : machineMsr(vcpu, n);
    case MSR.IA32_BIOS_SIGN_ID:
      return machineMsr(vcpu, n);
    case K8_HWCR:
      // TscFreqSel would come with an invariant TSC.
      return isAmd(vcpu) ? 0n : undefined;
    case AMD64_DE_CFG:
      // LFENCE is dispatch serialising.
      return isAmd(vcpu) ? 2n : undefined;
    case MSR.IA32_APIC_BASE:
      // Linux reads it, APIC or not: enabled, at the usual place, BSP for vCPU 0.
      return vcpu.id === 0 ? 0xfee0_0900n : 0xfee0_0800n;
    case MSR.IA32_FEATURE_CONTROL:
      return isAmd(vcpu) ? undefined : 1n;
    case MSR.MSR_PLATFORM_INFO:
      return CPUID_FAULTING;
    case MSR.MSR_MISC_FEATURES_ENABLES:
      return pv.cpuidFaulting ? 1n : 0n;
    case MSR.IA32_MCG_CAP:
      return isAmd(vcpu) ? BigInt(GUEST_MC_BANKS) : GUEST_MCG_CAP;
    case MSR.IA32_MCG_STATUS:
      return 0n;
    // MCG_CTL_P is clear, so there is no MCG_CTL.
    case IA32_MCG_CTL:
      return undefined;
    case IA32_PERF_STATUS:
    case IA32_PERF_CTL:
    case IA32_THERM_STATUS:
      return isAmd(vcpu) ? undefined : 0n;
    case IA32_PERF_CAPABILITIES:
      return 0n;
    case MSR.IA32_FS_BASE:
      return base(FS);
    case MSR.IA32_GS_BASE:
      return base(GS);
    case MSR.IA32_KERNEL_GS_BASE:
      return domain.is32bit ? undefined : regs.big(STATE.kernelGsBase);
    case MSR.IA32_TIME_STAMP_COUNTER:
      return vcpu.cpu === null ? undefined : readTsc(vcpu.cpu as SystemCpu);
    case MSR.IA32_TSC_AUX:
      return featuresOf(vcpu.cpu).has('rdtscp') ? regs.big(STATE.tscAux) : undefined;
    case MSR.IA32_EFER:
      return domain.is32bit ? BigInt(XEN_EFER) & ~LONG_MODE : BigInt(XEN_EFER);
    case MSR.IA32_MISC_ENABLE:
      return guestMiscEnable(machineMsr(vcpu, n) ?? 0x1801n);
    case MSR.IA32_PAT:
      return XEN_MSR_PAT;
    case HYPERCALL_MSR:
      return 0n;
    default:
      if (isPerformanceCounter(vcpu, n) || isMcBank(n)) return 0n;
      return isAmd(vcpu) && isAmdPowerMsr(n) ? 0n : undefined;
  }
}

/** False: #GP(0). */
export function writeGuestMsr(hv: Hypervisor, vcpu: Vcpu, n: number, v: bigint): boolean {
  const { regs, pv, domain } = vcpu;
  const setBase = (at: number): boolean => {
    if (domain.is32bit || !isCanonical(Number(BigInt.asIntN(64, v)) as Lin)) return false;
    regs.setBig(at, v);
    return true;
  };
  switch (n) {
    case MSR.IA32_BIOS_SIGN_ID:
      // On Intel, software writes 0 before it reads the microcode version.
      return v === 0n && !isAmd(vcpu);
    case K8_HWCR:
    case AMD64_DE_CFG:
      return isAmd(vcpu);
    case MSR.MSR_MISC_FEATURES_ENABLES:
      if (v & ~1n) return false;
      pv.cpuidFaulting = v === 1n;
      return true;
    case MSR.IA32_FS_BASE:
      return setBase(STATE.seg + FS * 16 + 8);
    case MSR.IA32_GS_BASE:
      return setBase(STATE.seg + GS * 16 + 8);
    case MSR.IA32_KERNEL_GS_BASE:
      return setBase(STATE.kernelGsBase);
    case MSR.IA32_TSC_AUX:
      if (!featuresOf(vcpu.cpu).has('rdtscp') || v >> 32n) return false;
      regs.setBig(STATE.tscAux, v);
      return true;
    case MSR.IA32_MISC_ENABLE: {
      const now = guestMiscEnable(machineMsr(vcpu, n) ?? 0x1801n);
      if (v !== now) complain(hv, vcpu, `Domain attempted WRMSR ${hex(n, 8)} from 0x${hex(now, 16)} to 0x${hex(v, 16)}`);
      return true;
    }
    case MSR.IA32_PAT:
      return v === XEN_MSR_PAT;
    case MSR.IA32_MCG_STATUS:
    // Frequency and temperature are not a domU's business: accepted and ignored.
    case IA32_MPERF:
    case IA32_APERF:
      return true;
    case IA32_PERF_CTL:
    case IA32_THERM_CONTROL:
    case IA32_ENERGY_PERF_BIAS:
      return !isAmd(vcpu);
    case HYPERCALL_MSR:
      return placeHypercallPage(hv, vcpu, v);
    default:
      return isPerformanceCounter(vcpu, n) || isMcBank(n) || (isAmd(vcpu) && isAmdPowerMsr(n));
  }
}

/** guest_wrmsr_xen(): the frame in bits 63:12, the number of the page (there is one) below. */
function placeHypercallPage(hv: Hypervisor, vcpu: Vcpu, v: bigint): boolean {
  if (v & 0xfffn) return false;
  const mfn = Number(v >> 12n) as Mfn;
  if (hv.frames.getPageAndType(mfn, PGT_writable_page, vcpu.domain.id) !== 0) return false;
  const page = new Uint8Array(4096);
  writeHypercallPage(hv, vcpu, page);
  hv.ram.writeBytes((mfn * 4096) as never, page);
  hv.frames.putPageAndType(mfn);
  return true;
}

const hex = (v: number | bigint, digits: number): string => v.toString(16).padStart(digits, '0');
/** Xen limits the rate of what guests make it print; here a domain may complain so often, then no more. */
const MAX_COMPLAINTS = 64;
function complain(hv: Hypervisor, vcpu: Vcpu, text: string): void {
  const { domain } = vcpu;
  domain.count('unknown MSR accesses');
  if ((domain.statistics.get('unknown MSR accesses') ?? 0) <= MAX_COMPLAINTS) hv.console.xen(`emul-priv-op.c: ${vcpu.name} ${text}`);
}

/**
 * What guest_rdmsr() itself refuses, so that read_msr() has nothing to say: speculation control, PPIN, microcode, VMX, TSX, MCG_CTL, and
 * the other vendor's.
 */
const REFUSED: ReadonlySet<number> = new Set([
  0x48,
  0x49,
  0x4e,
  0x4f,
  0x79,
  0xcf,
  0x10a,
  0x10b,
  0x10f,
  0x122,
  0x123,
  0x17b,
  0xc001_0020,
  0xc001_02f0,
  0xc001_02f1,
  MSR.IA32_PLATFORM_ID,
  MSR.IA32_FEATURE_CONTROL,
  IA32_PERF_STATUS,
  IA32_PERF_CTL,
  IA32_THERM_STATUS,
  K8_HWCR,
  AMD64_DE_CFG,
]);
const isRefused = (n: number): boolean => REFUSED.has(n) || (n >= 0x480 && n <= 0x491);

export function rdmsr(hv: Hypervisor, vcpu: Vcpu): Outcome {
  const { regs } = vcpu;
  const n = regs.regLo(RCX) >>> 0;
  const v = readGuestMsr(vcpu, n);
  if (v === undefined) {
    if (!isRefused(n)) complain(hv, vcpu, `RDMSR 0x${hex(n, 8)} unimplemented`);
    return 'refused';
  }
  regs.setReg(RAX, v & 0xffff_ffffn);
  regs.setReg(RDX, (v >> 32n) & 0xffff_ffffn);
  return 'done';
}

export function wrmsr(hv: Hypervisor, vcpu: Vcpu): Outcome {
  const { regs } = vcpu;
  const n = regs.regLo(RCX) >>> 0;
  const v = (BigInt(regs.regLo(RDX) >>> 0) << 32n) | BigInt(regs.regLo(RAX) >>> 0);
  if (writeGuestMsr(hv, vcpu, n, v)) return 'done';
  if (!isRefused(n)) complain(hv, vcpu, `WRMSR 0x${hex(n, 8)} val 0x${hex(v, 16)} unimplemented`);
  return 'refused';
}
