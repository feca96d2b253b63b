// VCPUOP_initialise of an HVM vCPU: struct vcpu_hvm_context made into registers (xen/arch/x86/hvm/domain.c, arch_set_info_hvm_guest() of
// 4.17). What the caller does not give is as after reset.

import { hvm_hw_cpu, type Infer, VCPU_HVM_MODE_32B, VCPU_HVM_MODE_64B, type vcpu_hvm_context } from '@ringworld/abi';
import type { HvmCpuState } from '../core/hvm-hooks.ts';
import { EFLAGS, SEG } from '../machine/state.ts';
import { CR0, CR4, EFER } from '../machine/system/bits.ts';
import { unpackRights } from './hvm-context.ts';

type HvmContext = Infer<typeof vcpu_hvm_context>;
type Segment = 'cs' | 'ds' | 'es' | 'ss' | 'tr';

/** DR6 and DR7 after reset (SDM Vol 3A, table 10-1). */
const DR6 = 0xffff_0ff0n;
const DR7 = 0x400n;
/** Flat code and data, present and accessed, and a busy 32-bit TSS. */
const CODE = SEG.present | SEG.s | SEG.code | 3;
const DATA = SEG.present | SEG.s | 3;
const TSS32_BUSY = SEG.present | 0xb;
const TSS_LIMIT = 0x67;

/** All registers zero but those that reset sets. */
export function resetCpuState(): HvmCpuState {
  return { ...hvm_hw_cpu.decode('x86_64', new Uint8Array(hvm_hw_cpu.size('x86_64'))), dr6: DR6, dr7: DR7, rflags: 2n };
}

/** Null: -XEN_EINVAL, the context contradicts itself. */
export function hvmContextToCpuState(context: HvmContext): HvmCpuState | null {
  if (context.pad !== 0) return null;
  if (context.mode === VCPU_HVM_MODE_32B) return from32(context.cpu_regs.x86_32);
  return context.mode === VCPU_HVM_MODE_64B ? from64(context.cpu_regs.x86_64) : null;
}

function from32(r: HvmContext['cpu_regs']['x86_32']): HvmCpuState | null {
  if (r.pad1 !== 0 || r.pad2.some((p) => p !== 0)) return null;
  const seg = (name: Segment) => ({ base: r[`${name}_base`], limit: r[`${name}_limit`], ar: unpackRights(r[`${name}_ar`]) });
  const segments = { cs: seg('cs'), ds: seg('ds'), es: seg('es'), ss: seg('ss'), tr: seg('tr') };
  if (Object.entries(segments).some(([name, s]) => !isSegmentOk(name as Segment, s.ar)) || !isInLimit(r.eip, segments.cs)) return null;
  // A present segment other than TR takes its accessed bit as set (check_segment()), and protected mode its type as it stands.
  const efer = r.efer;
  const isLong = (efer & BigInt(EFER.LMA | EFER.LME)) !== 0n;
  if (isLong && (!(efer & BigInt(EFER.LME)) || !(r.cr0 & CR0.PG) || !(r.cr4 & CR4.PAE))) return null;
  return {
    ...resetCpuState(),
    ...bigs({ rax: r.eax, rcx: r.ecx, rdx: r.edx, rbx: r.ebx, rsp: r.esp, rbp: r.ebp, rsi: r.esi, rdi: r.edi, rip: r.eip }),
    ...bigs({ rflags: r.eflags | 2, cr0: r.cr0, cr3: r.cr3, cr4: r.cr4 }),
    msr_efer: isLong ? efer | BigInt(EFER.LMA) : efer,
    ...segmentFields('cs', segments.cs),
    ...segmentFields('ds', segments.ds),
    ...segmentFields('es', segments.es),
    ...segmentFields('ss', segments.ss),
    ...segmentFields('tr', segments.tr),
  };
}

function from64(r: HvmContext['cpu_regs']['x86_64']): HvmCpuState | null {
  // Long mode and nothing else.
  const isLong =
    (r.cr0 & BigInt(CR0.PG >>> 0)) !== 0n &&
    (r.cr4 & BigInt(CR4.PAE)) !== 0n &&
    (r.efer & BigInt(EFER.LME)) !== 0n &&
    (r.rflags & BigInt(EFLAGS.VM)) === 0n;
  if (!isLong || !isCanonical(r.rip)) return null;
  const { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, rip, cr0, cr3, cr4, efer } = r;
  const data = { base: 0, limit: 0xffff_ffff, ar: DATA | SEG.db | SEG.g };
  return {
    ...resetCpuState(),
    ...{ rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, rip, cr0, cr3, cr4 },
    rflags: r.rflags | 2n,
    msr_efer: efer | BigInt(EFER.LMA),
    ...segmentFields('cs', { base: 0, limit: 0xffff_ffff, ar: CODE | SEG.l | SEG.g }),
    ...segmentFields('ds', data),
    ...segmentFields('es', data),
    ...segmentFields('ss', data),
    ...segmentFields('tr', { base: 0, limit: TSS_LIMIT, ar: TSS32_BUSY }),
  };
}

interface SegmentState {
  base: number;
  limit: number;
  ar: number;
}

/** check_segment(): code in CS, writable data in SS, a system descriptor in TR; others may be absent. */
function isSegmentOk(name: Segment, ar: number): boolean {
  const isPresent = (ar & SEG.present) !== 0;
  if (name === 'tr') return isPresent && !(ar & SEG.s) && ((ar & SEG.type) === 0x3 || (ar & SEG.type) === 0xb);
  if (!isPresent) return name !== 'cs' && name !== 'ss';
  if (!(ar & SEG.s)) return false;
  const isCode = (ar & SEG.code) !== 0;
  if (name === 'cs') return isCode && (ar & SEG.dpl) === 0;
  if (name === 'ss') return !isCode && (ar & SEG.writable) !== 0 && (ar & SEG.dpl) === 0;
  return !isCode || (ar & SEG.writable) !== 0;
}

/** Limits come in bytes. */
const isInLimit = (eip: number, cs: SegmentState): boolean => eip <= cs.limit;
const isCanonical = (v: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, v)) === v;
const bigs = <K extends string>(values: Record<K, number>): Record<K, bigint> =>
  // SAFE: the same keys.
  Object.fromEntries(Object.entries<number>(values).map(([k, v]) => [k, BigInt(v >>> 0)])) as Record<K, bigint>;
const segmentFields = (name: Segment, s: SegmentState): object => ({
  [`${name}_base`]: BigInt(s.base >>> 0),
  [`${name}_limit`]: s.limit,
  [`${name}_arbytes`]: s.ar,
});
