// Model-specific registers: one table by number. Reading or writing one that is not here, or a value with reserved bits, is #GP(0)
// (SDM Vol 4; Vol 3A, 2.2.1 for EFER).

import { isCanonical, type Lin } from '../addresses.ts';
import { FS, GS, STATE } from '../state.ts';
import { CR0, EFER } from './bits.ts';
import type { SystemCpu } from './ports.ts';
import { readTsc, setTsc } from './time.ts';

/** Numbers by the SDM's names. */
export const MSR = {
  IA32_TIME_STAMP_COUNTER: 0x10,
  IA32_PLATFORM_ID: 0x17,
  IA32_APIC_BASE: 0x1b,
  IA32_FEATURE_CONTROL: 0x3a,
  IA32_TSC_ADJUST: 0x3b,
  IA32_BIOS_UPDT_TRIG: 0x79,
  IA32_BIOS_SIGN_ID: 0x8b,
  MSR_PLATFORM_INFO: 0xce,
  IA32_MTRRCAP: 0xfe,
  MSR_MISC_FEATURES_ENABLES: 0x140,
  IA32_SYSENTER_CS: 0x174,
  IA32_SYSENTER_ESP: 0x175,
  IA32_SYSENTER_EIP: 0x176,
  IA32_MCG_CAP: 0x179,
  IA32_MCG_STATUS: 0x17a,
  IA32_MISC_ENABLE: 0x1a0,
  IA32_DEBUGCTL: 0x1d9,
  IA32_MTRR_PHYSBASE0: 0x200,
  IA32_MTRR_FIX64K_00000: 0x250,
  IA32_PAT: 0x277,
  IA32_MTRR_DEF_TYPE: 0x2ff,
  IA32_TSC_DEADLINE: 0x6e0,
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

interface Msr {
  read(cpu: SystemCpu): bigint;
  /** False: #GP(0). */
  write(cpu: SystemCpu, v: bigint): boolean;
}

const canonical = (v: bigint): boolean => isCanonical(Number(BigInt.asIntN(64, v)) as Lin);

/** A field of the context; `accepts` tells which values may be written. */
const field = (offset: number, accepts: (v: bigint) => boolean = () => true): Msr => ({
  read: (cpu) => cpu.big(offset),
  write(cpu, v) {
    if (!accepts(v)) return false;
    cpu.setBig(offset, v);
    return true;
  },
});
const segmentBase = (seg: number): Msr => field(STATE.seg + seg * 16 + 8, canonical);

/** Kept in cpu.thread.msrs. */
const held = (number: number, reset: bigint, accepts: (v: bigint) => boolean = () => true): Msr => ({
  read: (cpu) => cpu.thread.msrs.get(number) ?? reset,
  write(cpu, v) {
    if (!accepts(v)) return false;
    cpu.thread.msrs.set(number, v);
    return true;
  },
});
const readOnly = (value: bigint): Msr => ({ read: () => value, write: () => false });
const ignored = (value: bigint): Msr => ({ read: () => value, write: () => true });

const isU32 = (v: bigint): boolean => v >> 32n === 0n;
/** Each byte one of the memory types UC WC WT WP WB UC- (SDM Vol 3A, 11.12.2). */
export function isPat(v: bigint): boolean {
  for (let i = 0n; i < 64n; i += 8n) {
    const t = (v >> i) & 0xffn;
    if (t > 7n || t === 2n || t === 3n) return false;
  }
  return true;
}

const efer: Msr = {
  read: (cpu) => cpu.big(STATE.efer),
  write(cpu, v) {
    const { features } = cpu.profile;
    let allowed = EFER.LMA;
    if (features.has('syscall')) allowed |= EFER.SCE;
    if (features.has('lm')) allowed |= EFER.LME;
    if (features.has('nx')) allowed |= EFER.NXE;
    if (v & ~BigInt(allowed)) return false;
    const old = cpu.lo(STATE.efer);
    const lme = (Number(v) & EFER.LME) !== (old & EFER.LME);
    // LME may change only with paging off; LMA is not writable.
    if (lme && cpu.lo(STATE.cr0) & CR0.PG) return false;
    const now = (Number(v) & ~EFER.LMA) | (old & EFER.LMA);
    cpu.setBig(STATE.efer, BigInt(now));
    if ((now ^ old) & EFER.NXE) cpu.flushAll();
    cpu.modeChanged();
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

const miscFeatures: Msr = {
  read: (cpu) => (cpu.thread.cpuidFaulting ? 1n : 0n),
  write(cpu, v) {
    if (v & ~1n) return false;
    cpu.thread.cpuidFaulting = v === 1n;
    return true;
  },
};

/** PAT after reset: WB WT UC- UC twice. */
export const PAT_RESET = 0x0007_0406_0007_0406n;

const table = new Map<number, Msr>([
  [MSR.IA32_TIME_STAMP_COUNTER, tsc],
  [MSR.IA32_PLATFORM_ID, readOnly(0n)],
  [MSR.IA32_BIOS_UPDT_TRIG, ignored(0n)],
  [MSR.IA32_BIOS_SIGN_ID, ignored(0x0200_0065_0000_0000n)],
  // Ratio of the TSC to 100 MHz in bits 15:8, and CPUID faulting (bit 31).
  [MSR.MSR_PLATFORM_INFO, { read: (cpu) => (BigInt(Math.round(cpu.profile.mhz / 100)) << 8n) | (1n << 31n), write: () => false }],
  [MSR.MSR_MISC_FEATURES_ENABLES, miscFeatures],
  [
    MSR.IA32_APIC_BASE,
    {
      read: (cpu) => cpu.thread.msrs.get(MSR.IA32_APIC_BASE) ?? 0xfee0_0800n | (cpu.id === 0 ? 0x100n : 0n),
      write: (cpu, v) => held(MSR.IA32_APIC_BASE, 0n, (x) => (x & 0x2ffn) === 0n && x >> 46n === 0n).write(cpu, v),
    },
  ],
  // Locked, VMX off.
  [MSR.IA32_FEATURE_CONTROL, readOnly(1n)],
  [MSR.IA32_SYSENTER_CS, field(STATE.sysenterCs, isU32)],
  [MSR.IA32_SYSENTER_ESP, field(STATE.sysenterEsp, canonical)],
  [MSR.IA32_SYSENTER_EIP, field(STATE.sysenterEip, canonical)],
  [MSR.IA32_MCG_CAP, readOnly(0n)],
  [MSR.IA32_MCG_STATUS, held(MSR.IA32_MCG_STATUS, 0n)],
  // Fast strings on, BTS and PEBS unavailable.
  [MSR.IA32_MISC_ENABLE, held(MSR.IA32_MISC_ENABLE, 0x1801n)],
  [MSR.IA32_DEBUGCTL, held(MSR.IA32_DEBUGCTL, 0n, (v) => v >> 2n === 0n)],
  [MSR.IA32_PAT, field(STATE.pat, isPat)],
  // Eight variable ranges, fixed ranges, write-combining.
  [MSR.IA32_MTRRCAP, readOnly(0x508n)],
  [MSR.IA32_MTRR_DEF_TYPE, held(MSR.IA32_MTRR_DEF_TYPE, 0xc06n, (v) => (v & ~0xcffn) === 0n)],
  [MSR.IA32_EFER, efer],
  [MSR.IA32_STAR, field(STATE.star)],
  [MSR.IA32_LSTAR, field(STATE.lstar, canonical)],
  [MSR.IA32_CSTAR, field(STATE.cstar, canonical)],
  [MSR.IA32_FMASK, field(STATE.fmask, isU32)],
  [MSR.IA32_FS_BASE, segmentBase(FS)],
  [MSR.IA32_GS_BASE, segmentBase(GS)],
  [MSR.IA32_KERNEL_GS_BASE, field(STATE.kernelGsBase, canonical)],
  [MSR.IA32_TSC_AUX, field(STATE.tscAux, isU32)],
]);
for (let i = 0; i < 16; i++) table.set(MSR.IA32_MTRR_PHYSBASE0 + i, held(MSR.IA32_MTRR_PHYSBASE0 + i, 0n));
for (const n of [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f])
  table.set(n, held(n, 0x0606_0606_0606_0606n));

/** The local APIC's own: IA32_APIC_BASE, IA32_TSC_DEADLINE, and the x2APIC registers (SDM Vol 3A, 10.12.1.2). */
const isApicMsr = (n: number): boolean => n === MSR.IA32_APIC_BASE || n === MSR.IA32_TSC_DEADLINE || (n >= 0x800 && n <= 0x8ff);

/** Undefined for an MSR that does not exist. */
export const readMsr = (cpu: SystemCpu, n: number): bigint | undefined =>
  cpu.apic && isApicMsr(n) ? cpu.apic.readMsr(n) : table.get(n)?.read(cpu);
/** False where WRMSR raises #GP(0). */
export const writeMsr = (cpu: SystemCpu, n: number, v: bigint): boolean =>
  cpu.apic && isApicMsr(n) ? cpu.apic.writeMsr(n, v) : (table.get(n)?.write(cpu, v) ?? false);
