// The registers of the guest-state area (SDM Vol 3C, 24.4.1): from the CPU into the VMCS on a VM exit (27.3), and back on a VM entry (26.3.2).
//
// An exit and an entry copy some fifty words each: from lists made once, between places in RAM, without BigInt and without allocation. The
// page of a VMCS is written past Ram's watch for code: who runs code out of a VMCS sees it change late (SDM Vol 3C, 24.11.1, allows
// anything).

import type { Context } from '../context.ts';
import { RSP, SEG, SS, STATE } from '../state.ts';
import { GUEST_SEGMENTS, SLOTS, VMCS } from './fields.ts';
import type { Vmcs } from './vmcs.ts';

/** Fields as wide as an address, and where the CPU has them. */
const WIDE: readonly (readonly [field: number, state: number])[] = [
  [VMCS.GUEST_CR3, STATE.cr3],
  [VMCS.GUEST_CR4, STATE.cr4],
  [VMCS.GUEST_GDTR_BASE, STATE.gdtrBase],
  [VMCS.GUEST_IDTR_BASE, STATE.idtrBase],
  [VMCS.GUEST_RSP, 8 * RSP],
  [VMCS.GUEST_RIP, STATE.rip],
  [VMCS.GUEST_SYSENTER_ESP, STATE.sysenterEsp],
  [VMCS.GUEST_SYSENTER_EIP, STATE.sysenterEip],
  ...GUEST_SEGMENTS.map((s, n) => [s.base, STATE.seg + 16 * n + 8] as const),
];
const NARROW: readonly (readonly [field: number, state: number])[] = [
  [VMCS.GUEST_GDTR_LIMIT, STATE.gdtrLimit],
  [VMCS.GUEST_IDTR_LIMIT, STATE.idtrLimit],
  [VMCS.GUEST_SYSENTER_CS, STATE.sysenterCs],
  ...GUEST_SEGMENTS.map((s, n) => [s.limit, STATE.seg + 16 * n + 4] as const),
];
/** The same as offsets of 32-bit words. */
const inVmcs = Int32Array.from([...WIDE.flatMap(([f]) => [SLOTS[f]!, SLOTS[f]! + 4]), ...NARROW.map(([f]) => SLOTS[f]!)], (a) => a >>> 2);
const inState = Int32Array.from([...WIDE.flatMap(([, s]) => [s, s + 4]), ...NARROW.map(([, s]) => s)], (a) => a >>> 2);
const selectorAt = Int32Array.from(GUEST_SEGMENTS, (s) => SLOTS[s.selector]! >>> 2);
const accessAt = Int32Array.from(GUEST_SEGMENTS, (s) => SLOTS[s.access]! >>> 2);
const segmentAt = Int32Array.from(GUEST_SEGMENTS, (_, n) => (STATE.seg + 16 * n) >>> 2);
const cr0At = SLOTS[VMCS.GUEST_CR0]! >>> 2;
const rflagsAt = SLOTS[VMCS.GUEST_RFLAGS]! >>> 2;
const pdpteAt = Int32Array.from([VMCS.GUEST_PDPTE0, VMCS.GUEST_PDPTE1, VMCS.GUEST_PDPTE2, VMCS.GUEST_PDPTE3], (f) => SLOTS[f]! >>> 2);

/** Access rights, bit 16: the register is unusable. The other bits are those of SEG (state.ts). */
const UNUSABLE = 1 << 16;
/** CR0 bits that entries and exits leave as they are (26.3.2.1, 27.5.1): NW and CD; and ET, which is always set. */
const CR0_KEPT = 0x6000_0000;
const CR0_ET = 0x10;
export const mergeCr0 = (field: number, old: number): number => (field & ~CR0_KEPT) | (old & CR0_KEPT) | CR0_ET;

/** Control registers, descriptor tables, segments, RSP, RIP and RFLAGS; `rflags` are given since what RF is to be depends on the exit. */
export function saveRegisters(cpu: Context, vmcs: Vmcs, rflags: number): void {
  const { u32, base } = vmcs.ram;
  const to = (base + vmcs.at) >>> 2;
  const from = cpu.base >>> 2;
  for (let i = 0; i < inVmcs.length; i++) u32[to + inVmcs[i]!] = u32[from + inState[i]!]!;
  u32[to + cr0At] = u32[from + (STATE.cr0 >>> 2)]!;
  u32[to + cr0At + 1] = 0;
  u32[to + rflagsAt] = rflags;
  u32[to + rflagsAt + 1] = 0;
  for (let n = 0; n < 8; n++) {
    const packed = u32[from + segmentAt[n]!]!;
    let access = packed >>> 16;
    if (!(access & SEG.present)) access |= UNUSABLE;
    // SS.DPL is the CPL (24.4.1).
    if (n === SS) access = (access & ~SEG.dpl) | (u32[from + (STATE.cpl >>> 2)]! << SEG.dplShift);
    u32[to + selectorAt[n]!] = packed & 0xffff;
    u32[to + accessAt[n]!] = access;
  }
}

/** The same into the CPU. An unusable segment becomes one that is not present, as a null selector leaves it. */
export function loadRegisters(cpu: Context, vmcs: Vmcs): void {
  const { u32, base } = vmcs.ram;
  const from = (base + vmcs.at) >>> 2;
  const to = cpu.base >>> 2;
  for (let i = 0; i < inVmcs.length; i++) u32[to + inState[i]!] = u32[from + inVmcs[i]!]!;
  const cr0 = to + (STATE.cr0 >>> 2);
  u32[cr0] = mergeCr0(u32[from + cr0At]!, u32[cr0]!);
  u32[cr0 + 1] = 0;
  for (let n = 0; n < 8; n++) {
    const access = u32[from + accessAt[n]!]!;
    u32[to + segmentAt[n]!] = (u32[from + selectorAt[n]!]! & 0xffff) | (access & UNUSABLE ? 0 : (access & 0xf0ff) << 16);
  }
  u32[to + (STATE.cpl >>> 2)] = (u32[from + accessAt[SS]!]! & SEG.dpl) >>> SEG.dplShift;
  cpu.rflags = u32[from + rflagsAt]!;
}

/** The page-directory pointers of a guest that uses PAE paging under EPT. */
export function savePdptes(cpu: Context, vmcs: Vmcs): void {
  for (let i = 0; i < 4; i++) copyPair(vmcs, vmcs.ram.base + vmcs.at, pdpteAt[i]!, cpu.base, (STATE.pdpte >>> 2) + 2 * i);
}
export function loadPdptes(cpu: Context, vmcs: Vmcs): void {
  for (let i = 0; i < 4; i++) copyPair(vmcs, cpu.base, (STATE.pdpte >>> 2) + 2 * i, vmcs.ram.base + vmcs.at, pdpteAt[i]!);
}
function copyPair(vmcs: Vmcs, to: number, toWord: number, from: number, fromWord: number): void {
  const { u32 } = vmcs.ram;
  u32[(to >>> 2) + toWord] = u32[(from >>> 2) + fromWord]!;
  u32[(to >>> 2) + toWord + 1] = u32[(from >>> 2) + fromWord + 1]!;
}

/** Copies a 64-bit field between the VMCS and the CPU's state. */
export function fieldToState(cpu: Context, vmcs: Vmcs, field: number, state: number): void {
  copyPair(vmcs, cpu.base, state >>> 2, vmcs.ram.base + vmcs.at, SLOTS[field]! >>> 2);
}
export function stateToField(cpu: Context, vmcs: Vmcs, field: number, state: number): void {
  copyPair(vmcs, vmcs.ram.base + vmcs.at, SLOTS[field]! >>> 2, cpu.base, state >>> 2);
}
