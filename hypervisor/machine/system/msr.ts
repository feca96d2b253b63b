// Model-specific registers: one table by number, of what both vendors have (here) and of what is one vendor's (msr-vendor.ts). Reading or
// writing one that a processor does not have, or a value with reserved bits, is #GP(0) (SDM Vol 4; Vol 3A, 2.2.1 for EFER).

import { FS, GS, STATE } from '../state.ts';
import { CR0, EFER } from './bits.ts';
import { canonical, field, held, isU32, type Msr, type MsrRow, readOnly, withFeature } from './msr-kinds.ts';
import { amdMsrs, intelMsrs, MSR_INTEL, svmEnabled, svmMsrs } from './msr-vendor.ts';
import { vmxMsrs } from './msr-vmx.ts';
import type { SystemCpu } from './ports.ts';
import { adjustTsc, readTsc, setTsc, TSC_ADJUST } from './time.ts';

/** Numbers by the SDM's names. */
export const MSR = {
  ...MSR_INTEL,
  IA32_TIME_STAMP_COUNTER: 0x10,
  IA32_APIC_BASE: 0x1b,
  IA32_TSC_ADJUST: TSC_ADJUST,
  IA32_MTRRCAP: 0xfe,
  IA32_SYSENTER_CS: 0x174,
  IA32_SYSENTER_ESP: 0x175,
  IA32_SYSENTER_EIP: 0x176,
  IA32_MCG_CAP: 0x179,
  IA32_MCG_STATUS: 0x17a,
  IA32_MTRR_PHYSBASE0: 0x200,
  IA32_MTRR_FIX64K_00000: 0x250,
  IA32_PAT: 0x277,
  IA32_MTRR_DEF_TYPE: 0x2ff,
  IA32_TSC_DEADLINE: 0x6e0,
  IA32_XSS: 0xda0,
  IA32_EFER: 0xc000_0080,
  IA32_STAR: 0xc000_0081,
  IA32_LSTAR: 0xc000_0082,
  IA32_CSTAR: 0xc000_0083,
  IA32_FMASK: 0xc000_0084,
  IA32_FS_BASE: 0xc000_0100,
  IA32_GS_BASE: 0xc000_0101,
  IA32_KERNEL_GS_BASE: 0xc000_0102,
  IA32_TSC_AUX: 0xc000_0103,
} as const;

const segmentBase = (seg: number): Msr => field(STATE.seg + seg * 16 + 8, canonical);

const isType = (t: bigint): boolean => t <= 7n && t !== 2n && t !== 3n;
const eachByte = (v: bigint, ok: (type: bigint) => boolean): boolean => {
  for (let i = 0n; i < 64n; i += 8n) if (!ok((v >> i) & 0xffn)) return false;
  return true;
};
/** Each byte one of the memory types UC WC WT WP WB UC- (SDM Vol 3A, 11.12.2). */
export const isPat = (v: bigint): boolean => eachByte(v, isType);
/** Memory types of MTRRs: as in the PAT, but without UC- (SDM Vol 3A, Table 11-8). */
const isMtrrType = (t: bigint): boolean => isType(t) && t !== 7n;
const withinPhysical = (v: bigint, cpu: SystemCpu): boolean => v >> BigInt(cpu.profile.physicalBits) === 0n;

const efer: Msr = {
  read: (cpu) => cpu.big(STATE.efer),
  write(cpu, v) {
    const { features } = cpu.profile;
    let allowed = EFER.LMA;
    if (features.has('syscall')) allowed |= EFER.SCE;
    if (features.has('lm')) allowed |= EFER.LME;
    if (features.has('nx')) allowed |= EFER.NXE;
    if (svmEnabled(cpu)) allowed |= EFER.SVME;
    if (features.has('fxsr_opt')) allowed |= EFER.FFXSR;
    if (v & ~BigInt(allowed)) return false;
    const old = cpu.lo(STATE.efer);
    const lme = (Number(v) & EFER.LME) !== (old & EFER.LME);
    // LME may change only with paging off; LMA is not writable.
    if (lme && cpu.lo(STATE.cr0) & CR0.PG) return false;
    const now = (Number(v) & ~EFER.LMA) | (old & EFER.LMA);
    cpu.setBig(STATE.efer, BigInt(now));
    cpu.modeChanged();
    if ((now ^ old) & EFER.NXE) cpu.flushAll();
    return true;
  },
};

const tsc: Msr = {
  read: readTsc,
  write(cpu, v) {
    setTsc(cpu, v);
    return true;
  },
};

/** PAT after reset: WB WT UC- UC twice. */
export const PAT_RESET = 0x0007_0406_0007_0406n;

const FIXED_MTRRS = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
const VARIABLE_MTRRS = 8;
const mtrrs: MsrRow[] = [
  // Eight variable ranges, fixed ranges, write-combining.
  [MSR.IA32_MTRRCAP, readOnly(0x508n)],
  [MSR.IA32_MTRR_DEF_TYPE, held(MSR.IA32_MTRR_DEF_TYPE, 0xc06n, (v) => (v & ~0xcffn) === 0n && isMtrrType(v & 0xffn))],
  ...FIXED_MTRRS.map((n): MsrRow => [n, held(n, 0x0606_0606_0606_0606n, (v) => eachByte(v, isMtrrType))]),
];
for (let i = 0; i < VARIABLE_MTRRS; i++) {
  const base = MSR.IA32_MTRR_PHYSBASE0 + 2 * i;
  mtrrs.push([base, held(base, 0n, (v, cpu) => (v & 0xf00n) === 0n && isMtrrType(v & 0xffn) && withinPhysical(v, cpu))]);
  mtrrs.push([base + 1, held(base + 1, 0n, (v, cpu) => (v & 0x7ffn) === 0n && withinPhysical(v, cpu))]);
}

const rows: readonly MsrRow[] = [
  ...withFeature('tsc', [[MSR.IA32_TIME_STAMP_COUNTER, tsc]]),
  ...withFeature('tsc_adjust', [
    [
      MSR.IA32_TSC_ADJUST,
      {
        read: (cpu) => cpu.thread.msrs.get(TSC_ADJUST) ?? 0n,
        write(cpu, v) {
          adjustTsc(cpu, v);
          return true;
        },
      },
    ],
  ]),
  ...withFeature('apic', [
    [
      MSR.IA32_APIC_BASE,
      {
        read: (cpu) => cpu.thread.msrs.get(MSR.IA32_APIC_BASE) ?? 0xfee0_0800n | (cpu.id === 0 ? 0x100n : 0n),
        write: (cpu, v) => held(MSR.IA32_APIC_BASE, 0n, (x) => (x & 0x2ffn) === 0n && withinPhysical(x, cpu)).write(cpu, v),
      },
    ],
  ]),
  ...withFeature('sep', [
    [MSR.IA32_SYSENTER_CS, field(STATE.sysenterCs, isU32)],
    [MSR.IA32_SYSENTER_ESP, field(STATE.sysenterEsp, canonical)],
    [MSR.IA32_SYSENTER_EIP, field(STATE.sysenterEip, canonical)],
  ]),
  // No error-reporting banks.
  ...withFeature('mca', [
    [MSR.IA32_MCG_CAP, readOnly(0n)],
    [MSR.IA32_MCG_STATUS, held(MSR.IA32_MCG_STATUS, 0n, (v) => v >> 3n === 0n)],
  ]),
  ...withFeature('pat', [[MSR.IA32_PAT, field(STATE.pat, isPat)]]),
  ...withFeature('mtrr', mtrrs),
  // No supervisor state components.
  ...withFeature('xsaves', [[MSR.IA32_XSS, held(MSR.IA32_XSS, 0n, (v) => v === 0n)]]),
  ...withFeature('lm nx syscall', [[MSR.IA32_EFER, efer]]),
  ...withFeature('syscall', [
    [MSR.IA32_STAR, field(STATE.star)],
    [MSR.IA32_LSTAR, field(STATE.lstar, canonical)],
    [MSR.IA32_CSTAR, field(STATE.cstar, canonical)],
    [MSR.IA32_FMASK, field(STATE.fmask, isU32)],
  ]),
  ...withFeature('lm', [
    [MSR.IA32_FS_BASE, segmentBase(FS)],
    [MSR.IA32_GS_BASE, segmentBase(GS)],
    [MSR.IA32_KERNEL_GS_BASE, field(STATE.kernelGsBase, canonical)],
  ]),
  ...withFeature('rdtscp rdpid', [[MSR.IA32_TSC_AUX, field(STATE.tscAux, isU32)]]),
  // Before Intel's: without VMX, IA32_FEATURE_CONTROL is locked and off.
  ...vmxMsrs,
  ...intelMsrs,
  ...amdMsrs,
  ...svmMsrs,
];
const table = new Map<number, readonly Msr[]>();
for (const [n, m] of rows) table.set(n, [...(table.get(n) ?? []), m]);

function find(cpu: SystemCpu, n: number): Msr | undefined {
  const kinds = table.get(n);
  if (kinds === undefined) return undefined;
  for (const m of kinds) if (m.on === undefined || m.on(cpu.profile)) return m;
  return undefined;
}

/** The local APIC's own: IA32_APIC_BASE, IA32_TSC_DEADLINE, and the x2APIC registers (SDM Vol 3A, 10.12.1.2). */
const isApicMsr = (n: number): boolean => n === MSR.IA32_APIC_BASE || n === MSR.IA32_TSC_DEADLINE || (n >= 0x800 && n <= 0x8ff);

/** Undefined for an MSR that does not exist. */
export const readMsr = (cpu: SystemCpu, n: number): bigint | undefined =>
  cpu.apic && isApicMsr(n) ? cpu.apic.readMsr(n) : find(cpu, n)?.read(cpu);
/** False where WRMSR raises #GP(0). */
export const writeMsr = (cpu: SystemCpu, n: number, v: bigint): boolean =>
  cpu.apic && isApicMsr(n) ? cpu.apic.writeMsr(n, v) : (find(cpu, n)?.write(cpu, v) ?? false);
