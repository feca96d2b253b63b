// Model-specific registers of one vendor's processors: Intel's (SDM Vol 4) and AMD's (APM Vol 2, appendix A; the BIOS and kernel
// developer's guides for families 0Fh and 17h).

import { STATE } from '../state.ts';
import { EFER } from './bits.ts';
import { familyModel, held, ignored, isU32, type MsrRow, readOnly, where } from './msr-kinds.ts';
import type { SystemCpu } from './ports.ts';
import type { CpuProfile } from './profiles/profile.ts';

const isIntel = (p: CpuProfile): boolean => p.vendor === 'GenuineIntel';
const isAmd = (p: CpuProfile): boolean => p.vendor === 'AuthenticAMD';
/** Pentium Pro and later, Pentium 4 among them. */
const isP6 = (p: CpuProfile): boolean => isIntel(p) && familyModel(p.signature).family >= 6;
const isCore = (p: CpuProfile): boolean => isIntel(p) && familyModel(p.signature).family === 6;
/** MSR_PLATFORM_INFO: Nehalem and later, and Atoms. */
const hasPlatformInfo = (p: CpuProfile): boolean => isCore(p) && familyModel(p.signature).model >= 0x1a;
/** CPUID faulting came with Ivy Bridge; the machine's own profile has it under an Atom's signature. */
const hasCpuidFaulting = (p: CpuProfile): boolean =>
  hasPlatformInfo(p) && (p.name === 'baseline' || familyModel(p.signature).model >= 0x3a);
const isNetBurst = (p: CpuProfile): boolean => isIntel(p) && familyModel(p.signature).family === 15;

export const MSR_INTEL = {
  IA32_PLATFORM_ID: 0x17,
  MSR_EBL_CR_POWERON: 0x2a,
  IA32_FEATURE_CONTROL: 0x3a,
  IA32_BIOS_UPDT_TRIG: 0x79,
  IA32_BIOS_SIGN_ID: 0x8b,
  MSR_PLATFORM_INFO: 0xce,
  MSR_MISC_FEATURES_ENABLES: 0x140,
  IA32_MISC_ENABLE: 0x1a0,
  MSR_LASTBRANCH_TOS: 0x1c9,
  IA32_DEBUGCTL: 0x1d9,
  MSR_LER_FROM_LIP: 0x1dd,
} as const;

/** Bits of IA32_MISC_ENABLE: fast strings, BTS and PEBS unavailable, MONITOR, CPUID limited to leaf 3 (SDM Vol 4, Table 2-2). */
export const MISC_ENABLE = { fastStrings: 1n, noBts: 1n << 11n, noPebs: 1n << 12n, monitor: 1n << 18n, limitCpuid: 1n << 22n } as const;
/** MONITOR is on where the profile has it; software may turn it off. */
const miscEnable = held(MSR_INTEL.IA32_MISC_ENABLE, MISC_ENABLE.fastStrings | MISC_ENABLE.noBts | MISC_ENABLE.noPebs | MISC_ENABLE.monitor);

const lastBranches = (tos: number, from: number, to: number, count: number): MsrRow[] => [
  [tos, held(tos, 0n, (v) => v < BigInt(count))],
  ...Array.from({ length: count }, (_, i): MsrRow => [from + i, held(from + i, 0n)]),
  ...Array.from({ length: count }, (_, i): MsrRow => [to + i, held(to + i, 0n)]),
];

export const intelMsrs: readonly MsrRow[] = [
  ...where(isP6, [
    [MSR_INTEL.IA32_PLATFORM_ID, readOnly(0n)],
    [MSR_INTEL.MSR_EBL_CR_POWERON, readOnly(0n)],
    [MSR_INTEL.IA32_BIOS_UPDT_TRIG, ignored(0n)],
    // What was loaded shows in the high half once CPUID has been executed; zero may be written before (SDM Vol 3A, 9.11.7.1).
    [MSR_INTEL.IA32_BIOS_SIGN_ID, { read: (cpu) => BigInt(cpu.profile.microcode) << 32n, write: () => true }],
    [MSR_INTEL.IA32_MISC_ENABLE, miscEnable],
    // Without VMX: locked, VMX off (with VMX: msr-vmx.ts).
    [MSR_INTEL.IA32_FEATURE_CONTROL, readOnly(1n)],
  ]),
  // LBR and BTF are kept; no branch is recorded. Freezing with the performance counters is for processors that have them.
  ...where(isP6, [[MSR_INTEL.IA32_DEBUGCTL, held(MSR_INTEL.IA32_DEBUGCTL, 0n, (v) => v >> 2n === 0n)]]),
  ...where(isCore, [
    [MSR_INTEL.MSR_LER_FROM_LIP, readOnly(0n)],
    [MSR_INTEL.MSR_LER_FROM_LIP + 1, readOnly(0n)],
  ]),
  // Last-branch stacks, as deep as each family's (SDM Vol 3B, 17.4 to 17.12), never filled.
  ...where((p) => isCore(p) && familyModel(p.signature).model < 0x1a, lastBranches(MSR_INTEL.MSR_LASTBRANCH_TOS, 0x40, 0x60, 4)),
  ...where(
    (p) => hasPlatformInfo(p) && familyModel(p.signature).model < 0x4e,
    lastBranches(MSR_INTEL.MSR_LASTBRANCH_TOS, 0x680, 0x6c0, 16),
  ),
  ...where((p) => isCore(p) && familyModel(p.signature).model >= 0x4e, lastBranches(MSR_INTEL.MSR_LASTBRANCH_TOS, 0x680, 0x6c0, 32)),
  ...where(isNetBurst, lastBranches(0x1da, 0x680, 0x6c0, 16)),
  ...where(hasPlatformInfo, [
    // Ratio of the TSC to 100 MHz (133 on Nehalem) in bits 15:8, and CPUID faulting (bit 31).
    [
      MSR_INTEL.MSR_PLATFORM_INFO,
      readOnly(({ profile: p }) => {
        const bus = p.name === 'nehalem' ? 133.33 : 100;
        return (BigInt(Math.round(p.mhz / bus)) << 8n) | (hasCpuidFaulting(p) ? 1n << 31n : 0n);
      }),
    ],
  ]),
  ...where(hasCpuidFaulting, [
    [
      MSR_INTEL.MSR_MISC_FEATURES_ENABLES,
      {
        read: (cpu) => (cpu.thread.cpuidFaulting ? 1n : 0n),
        write(cpu, v) {
          if (v & ~1n) return false;
          cpu.thread.cpuidFaulting = v === 1n;
          return true;
        },
      },
    ],
  ]),
];

export const MSR_AMD = {
  PATCH_LEVEL: 0x8b,
  DEBUG_CTL: 0x1d9,
  LAST_BRANCH_FROM: 0x1db,
  PERFEVTSEL0: 0xc001_0000,
  PERFCTR0: 0xc001_0004,
  SYSCFG: 0xc001_0010,
  HWCR: 0xc001_0015,
  IORR_BASE0: 0xc001_0016,
  TOP_MEM: 0xc001_001a,
  TOP_MEM2: 0xc001_001d,
  NB_CFG: 0xc001_001f,
  PATCH_LOADER: 0xc001_0020,
  INT_PENDING: 0xc001_0055,
  SMM_BASE: 0xc001_0111,
  SMM_ADDR: 0xc001_0112,
  SMM_MASK: 0xc001_0113,
  VM_CR: 0xc001_0114,
  IGNNE: 0xc001_0115,
  SMM_CTL: 0xc001_0116,
  VM_HSAVE_PA: 0xc001_0117,
  SVM_KEY: 0xc001_0118,
  LS_CFG: 0xc001_1020,
  IC_CFG: 0xc001_1021,
  DC_CFG: 0xc001_1022,
  BU_CFG: 0xc001_1023,
  DE_CFG: 0xc001_1029,
  BU_CFG2: 0xc001_102a,
} as const;

const keep = (n: number, reset = 0n, accepts?: (v: bigint) => boolean): MsrRow => [n, held(n, reset, accepts)];
/** A range of memory: whole pages below 2^40 at least. */
const isTop = (v: bigint): boolean => (v & 0x7f_ffffn) === 0n && v >> 48n === 0n;
const isZen = (p: CpuProfile): boolean => isAmd(p) && familyModel(p.signature).family >= 0x17;
/** TscFreqSel: the TSC runs at the P0 frequency. */
const TSC_FREQ_SEL = 1n << 24n;
/** Bits of VM_CR; those above are MBZ (APM Vol 2, 15.30.1). */
const LOCK = 8n;
const SVMDIS = 16n;
/** A processor without SVM shows it as off, and that as locked. */
const SVMDIS_LOCKED = LOCK | SVMDIS;
const hasSvm = (p: CpuProfile): boolean => isAmd(p) && p.features.has('svm');
/** Whether EFER.SVME may be set. */
export const svmEnabled = (cpu: SystemCpu): boolean => hasSvm(cpu.profile) && ((cpu.thread.msrs.get(MSR_AMD.VM_CR) ?? 0n) & SVMDIS) === 0n;

/** While LOCK is set, LOCK and SVMDIS stay as they are. SVMDIS cannot be set over a set EFER.SVME. */
function writeVmCr(cpu: SystemCpu, v: bigint): boolean {
  const { msrs } = cpu.thread;
  const old = msrs.get(MSR_AMD.VM_CR) ?? 0n;
  if (v >> 5n !== 0n || (v & SVMDIS && cpu.lo(STATE.efer) & EFER.SVME)) return false;
  msrs.set(MSR_AMD.VM_CR, old & LOCK ? (v & ~SVMDIS_LOCKED) | (old & SVMDIS_LOCKED) : v);
  return true;
}
/** SVM_KEY reads as zero. Written while VM_CR is not locked it is the key; written later, a match that is not zero unlocks (15.31). */
function writeSvmKey(cpu: SystemCpu, v: bigint): boolean {
  const { msrs } = cpu.thread;
  const vmCr = msrs.get(MSR_AMD.VM_CR) ?? 0n;
  if (!(vmCr & LOCK)) msrs.set(MSR_AMD.SVM_KEY, v);
  else if (v !== 0n && v === msrs.get(MSR_AMD.SVM_KEY)) msrs.set(MSR_AMD.VM_CR, vmCr & ~LOCK);
  return true;
}
/** The host save area: a page of physical memory (15.30.4). */
const isPage = (v: bigint, cpu: SystemCpu): boolean => (v & 0xfffn) === 0n && v >> BigInt(cpu.profile.physicalBits) === 0n;

export const amdMsrs: readonly MsrRow[] = where(isAmd, [
  [MSR_AMD.PATCH_LEVEL, readOnly((cpu) => BigInt(cpu.profile.microcode))],
  [MSR_AMD.PATCH_LOADER, { read: () => 0n, write: () => true }],
  // LBR, BTF, and four bits for the PB pins.
  keep(MSR_AMD.DEBUG_CTL, 0n, (v) => v >> 6n === 0n),
  // No branch is recorded; a guest's own come and go with LBR virtualization.
  ...Array.from(
    { length: 4 },
    (_, i): MsrRow => [MSR_AMD.LAST_BRANCH_FROM + i, readOnly((cpu) => cpu.thread.msrs.get(MSR_AMD.LAST_BRANCH_FROM + i) ?? 0n)],
  ),
  // Four counters of 48 bits; nothing is counted.
  ...Array.from({ length: 4 }, (_, i): MsrRow => keep(MSR_AMD.PERFEVTSEL0 + i)),
  ...Array.from({ length: 4 }, (_, i): MsrRow => keep(MSR_AMD.PERFCTR0 + i, 0n, (v) => v >> 48n === 0n)),
  keep(MSR_AMD.SYSCFG, 0n, (v) => isU32(v)),
  [
    MSR_AMD.HWCR,
    {
      read: (cpu) => cpu.thread.msrs.get(MSR_AMD.HWCR) ?? (isZen(cpu.profile) ? TSC_FREQ_SEL : 0n),
      write(cpu, v) {
        cpu.thread.msrs.set(MSR_AMD.HWCR, isZen(cpu.profile) ? v | TSC_FREQ_SEL : v);
        return true;
      },
    },
  ],
  ...Array.from({ length: 4 }, (_, i): MsrRow => keep(MSR_AMD.IORR_BASE0 + i)),
  keep(MSR_AMD.TOP_MEM, 0n, isTop),
  keep(MSR_AMD.TOP_MEM2, 0n, isTop),
  keep(MSR_AMD.NB_CFG),
  keep(MSR_AMD.INT_PENDING),
  keep(MSR_AMD.SMM_BASE, 0x30000n, isU32),
  keep(MSR_AMD.SMM_ADDR),
  keep(MSR_AMD.SMM_MASK),
  [
    MSR_AMD.VM_CR,
    {
      read: (cpu) => (hasSvm(cpu.profile) ? (cpu.thread.msrs.get(MSR_AMD.VM_CR) ?? 0n) : SVMDIS_LOCKED),
      write: (cpu, v) => (hasSvm(cpu.profile) ? writeVmCr(cpu, v) : (v & ~SVMDIS_LOCKED) === 0n),
    },
  ],
  ...[MSR_AMD.LS_CFG, MSR_AMD.IC_CFG, MSR_AMD.DC_CFG, MSR_AMD.BU_CFG, MSR_AMD.DE_CFG, MSR_AMD.BU_CFG2].map((n) => keep(n)),
]);

export const svmMsrs: readonly MsrRow[] = [
  ...where(hasSvm, [
    // IGNNE: the pin of that name (15.30.2). SMM_CTL: no system-management mode here, writes do nothing (15.30.3).
    keep(MSR_AMD.IGNNE, 0n, (v) => v >> 1n === 0n),
    [MSR_AMD.SMM_CTL, { read: () => 0n, write: (_cpu, v) => v >> 5n === 0n }],
    [MSR_AMD.VM_HSAVE_PA, held(MSR_AMD.VM_HSAVE_PA, 0n, isPage)],
  ]),
  ...where((p) => hasSvm(p) && p.features.has('svm_lock'), [[MSR_AMD.SVM_KEY, { read: () => 0n, write: writeSvmKey }]]),
];
