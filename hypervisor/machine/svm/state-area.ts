// Registers between the CPU's state and a save area in the layout of the VMCB's: a guest's VMCB, or the host save area at VM_HSAVE_PA, whose
// format is the processor's own affair and here is the same (APM Vol 2, 15.5.1 and 15.30.4). Words are copied: no BigInt, nothing is made.

import { CS, DS, EFLAGS, ES, FS, GS, LDTR, RAX, RSP, SEG, SS, STATE, TR } from '../state.ts';
import { CR0, EFER } from '../system/bits.ts';
import type { SystemCpu } from '../system/ports.ts';
import { attributesFromVmcb, attributesToVmcb, SAVE, SEGMENT, type Vmcb } from './vmcb.ts';

/** 64-bit registers that are copied as they are: offset in STATE, offset in the area, and so on. */
type Pairs = Int32Array;
const pairs = (list: readonly (readonly [state: number, area: number])[]): Pairs => Int32Array.from(list.flat());

/** Of every world switch: VMRUN and #VMEXIT, guest and host. */
const SWITCHED = pairs([
  [STATE.cr3, SAVE.CR3[0]],
  [STATE.cr4, SAVE.CR4[0]],
  [STATE.cr0, SAVE.CR0[0]],
  [STATE.efer, SAVE.EFER[0]],
  [STATE.rip, SAVE.RIP[0]],
  [RSP << 3, SAVE.RSP[0]],
  [RAX << 3, SAVE.RAX[0]],
]);
/** Of the guest alone. */
const GUEST = pairs([
  [STATE.cr2, SAVE.CR2[0]],
  [STATE.dr + 8 * 6, SAVE.DR6[0]],
  [STATE.dr + 8 * 7, SAVE.DR7[0]],
]);
/** Of VMLOAD and VMSAVE (APM Vol 3, VMLOAD), beside FS, GS, TR and LDTR. */
const LOADED = pairs([
  [STATE.kernelGsBase, SAVE.KERNEL_GS_BASE[0]],
  [STATE.star, SAVE.STAR[0]],
  [STATE.lstar, SAVE.LSTAR[0]],
  [STATE.cstar, SAVE.CSTAR[0]],
  [STATE.fmask, SAVE.SFMASK[0]],
  [STATE.sysenterCs, SAVE.SYSENTER_CS[0]],
  [STATE.sysenterEsp, SAVE.SYSENTER_ESP[0]],
  [STATE.sysenterEip, SAVE.SYSENTER_EIP[0]],
]);

function store(cpu: SystemCpu, v: Vmcb, list: Pairs): void {
  for (let i = 0; i < list.length; i += 2) v.setHalves(list[i + 1]!, cpu.lo(list[i]!), cpu.hi(list[i]!));
}
function load(cpu: SystemCpu, v: Vmcb, list: Pairs): void {
  for (let i = 0; i < list.length; i += 2) cpu.setHalves(list[i]!, v.lo(list[i + 1]!), v.hi(list[i + 1]!));
}

/** Bits 63:48 as bit 47 has it: bases are canonicalized when they are loaded (15.5.1). */
const canonicalHigh = (hi: number): number => (hi << 16) >> 16;

function storeSegment(cpu: SystemCpu, v: Vmcb, seg: number, to: number): void {
  v.setU32(to, cpu.selector(seg) | (attributesToVmcb(cpu.segAttributes(seg)) << 16));
  v.setU32(to + SEGMENT.limit, cpu.segLimit(seg));
  const base = STATE.seg + seg * 16 + 8;
  v.setHalves(to + SEGMENT.base, cpu.lo(base), cpu.hi(base));
}
function loadSegment(cpu: SystemCpu, v: Vmcb, seg: number, from: number, attributes: number): void {
  const at = STATE.seg + seg * 16;
  cpu.setU32(at, (v.u32(from) & 0xffff) | (attributes << 16));
  cpu.setU32(at + 4, v.u32(from + SEGMENT.limit));
  cpu.setHalves(at + 8, v.lo(from + SEGMENT.base), canonicalHigh(v.hi(from + SEGMENT.base)));
}
const attributes = (v: Vmcb, from: number): number => attributesFromVmcb(v.u32(from) >>> 16);

function storeTables(cpu: SystemCpu, v: Vmcb): void {
  v.setHalves(SAVE.GDTR[0] + SEGMENT.base, cpu.lo(STATE.gdtrBase), cpu.hi(STATE.gdtrBase));
  v.setU32(SAVE.GDTR[0] + SEGMENT.limit, cpu.u32(STATE.gdtrLimit));
  v.setHalves(SAVE.IDTR[0] + SEGMENT.base, cpu.lo(STATE.idtrBase), cpu.hi(STATE.idtrBase));
  v.setU32(SAVE.IDTR[0] + SEGMENT.limit, cpu.u32(STATE.idtrLimit));
}
function loadTables(cpu: SystemCpu, v: Vmcb): void {
  cpu.setHalves(STATE.gdtrBase, v.lo(SAVE.GDTR[0] + SEGMENT.base), canonicalHigh(v.hi(SAVE.GDTR[0] + SEGMENT.base)));
  cpu.setU32(STATE.gdtrLimit, v.u32(SAVE.GDTR[0] + SEGMENT.limit) & 0xffff);
  cpu.setHalves(STATE.idtrBase, v.lo(SAVE.IDTR[0] + SEGMENT.base), canonicalHigh(v.hi(SAVE.IDTR[0] + SEGMENT.base)));
  cpu.setU32(STATE.idtrLimit, v.u32(SAVE.IDTR[0] + SEGMENT.limit) & 0xffff);
}

/** ES, CS, SS, DS, GDTR, IDTR, EFER, CR0, CR3, CR4, RFLAGS, RIP, RSP, RAX and CPL into an area. The caller has touched it. */
export function storeSwitched(cpu: SystemCpu, v: Vmcb): void {
  storeSegment(cpu, v, ES, SAVE.ES[0]);
  storeSegment(cpu, v, CS, SAVE.CS[0]);
  storeSegment(cpu, v, SS, SAVE.SS[0]);
  storeSegment(cpu, v, DS, SAVE.DS[0]);
  storeTables(cpu, v);
  store(cpu, v, SWITCHED);
  v.setHalves(SAVE.RFLAGS[0], cpu.rflags, 0);
  v.setU8(SAVE.CPL[0], cpu.cpl);
}
/** The same, and what only the guest has: CR2, DR6, DR7. */
export function storeGuest(cpu: SystemCpu, v: Vmcb): void {
  storeSwitched(cpu, v);
  store(cpu, v, GUEST);
}

/** Bits of RFLAGS that exist; bit 1 reads as one. */
const RFLAGS_DEFINED = 0x003f_7fd5;
const DR6_FIXED = 0xffff_0ff0;

/**
 * A guest's registers. Of segment attributes the processor looks at some and supplies the rest (15.5.1): CS is a present code segment, SS
 * has the DPL that the CPL says; CPL is 0 in real mode and 3 in virtual-8086 mode.
 */
export function loadGuest(cpu: SystemCpu, v: Vmcb): void {
  const isReal = (v.lo(SAVE.CR0[0]) & CR0.PE) === 0;
  const rflags = v.lo(SAVE.RFLAGS[0]) & RFLAGS_DEFINED;
  const cpl = isReal ? 0 : rflags & EFLAGS.VM ? 3 : v.u8(SAVE.CPL[0]) & 3;
  loadSegment(cpu, v, ES, SAVE.ES[0], attributes(v, SAVE.ES[0]));
  loadSegment(cpu, v, CS, SAVE.CS[0], attributes(v, SAVE.CS[0]) | SEG.present | SEG.s | SEG.code);
  loadSegment(cpu, v, SS, SAVE.SS[0], (attributes(v, SAVE.SS[0]) & ~SEG.dpl) | (cpl << SEG.dplShift));
  loadSegment(cpu, v, DS, SAVE.DS[0], attributes(v, SAVE.DS[0]));
  loadTables(cpu, v);
  load(cpu, v, SWITCHED);
  load(cpu, v, GUEST);
  cpu.setHalves(STATE.cr0, cpu.lo(STATE.cr0) | CR0.ET, 0);
  const long = (cpu.lo(STATE.efer) & EFER.LME) !== 0 && (cpu.lo(STATE.cr0) & CR0.PG) !== 0;
  cpu.setHalves(STATE.efer, (cpu.lo(STATE.efer) & ~EFER.LMA) | (long ? EFER.LMA : 0), 0);
  cpu.setHalves(STATE.dr + 8 * 6, cpu.lo(STATE.dr + 8 * 6) | DR6_FIXED, 0);
  cpu.setHalves(STATE.dr + 8 * 7, (cpu.lo(STATE.dr + 8 * 7) & ~0xd000) | 0x400, 0);
  cpu.rflags = rflags | 2;
  cpu.setU32(STATE.cpl, cpl);
}

/** The host's registers at #VMEXIT: CPL 0, protected mode, not virtual-8086 mode, breakpoints off (15.6). */
export function loadHost(cpu: SystemCpu, v: Vmcb): void {
  loadSegment(cpu, v, ES, SAVE.ES[0], attributes(v, SAVE.ES[0]));
  loadSegment(cpu, v, CS, SAVE.CS[0], attributes(v, SAVE.CS[0]));
  loadSegment(cpu, v, SS, SAVE.SS[0], attributes(v, SAVE.SS[0]));
  loadSegment(cpu, v, DS, SAVE.DS[0], attributes(v, SAVE.DS[0]));
  loadTables(cpu, v);
  load(cpu, v, SWITCHED);
  cpu.setHalves(STATE.cr0, cpu.lo(STATE.cr0) | CR0.PE, 0);
  cpu.setHalves(STATE.dr + 8 * 7, 0x400, 0);
  cpu.rflags = (v.lo(SAVE.RFLAGS[0]) & RFLAGS_DEFINED & ~EFLAGS.VM) | 2;
  cpu.setU32(STATE.cpl, 0);
}

/** VMSAVE: FS, GS, TR, LDTR with their hidden parts, KernelGSBase, STAR, LSTAR, CSTAR, SFMASK and the SYSENTER registers. */
export function storeLoaded(cpu: SystemCpu, v: Vmcb): void {
  v.touch();
  storeSegment(cpu, v, FS, SAVE.FS[0]);
  storeSegment(cpu, v, GS, SAVE.GS[0]);
  storeSegment(cpu, v, TR, SAVE.TR[0]);
  storeSegment(cpu, v, LDTR, SAVE.LDTR[0]);
  store(cpu, v, LOADED);
}
/** VMLOAD: what VMSAVE stores. */
export function loadLoaded(cpu: SystemCpu, v: Vmcb): void {
  loadSegment(cpu, v, FS, SAVE.FS[0], attributes(v, SAVE.FS[0]));
  loadSegment(cpu, v, GS, SAVE.GS[0], attributes(v, SAVE.GS[0]));
  loadSegment(cpu, v, TR, SAVE.TR[0], attributes(v, SAVE.TR[0]));
  loadSegment(cpu, v, LDTR, SAVE.LDTR[0], attributes(v, SAVE.LDTR[0]));
  load(cpu, v, LOADED);
  for (const at of CANONICAL) cpu.setHalves(at, cpu.lo(at), canonicalHigh(cpu.hi(at)));
}
const CANONICAL = [STATE.kernelGsBase, STATE.lstar, STATE.cstar, STATE.sysenterEsp, STATE.sysenterEip] as const;
