// Descriptors that a PV guest's selectors name, read where the hypervisor keeps them: the frames that set_gdt gave, the hypervisor's own
// page behind them, and the frames of the LDT that have been mapped (pv_emul_read_descriptor, xen/arch/x86/pv/emulate.c).

import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import type { Maddr } from '../machine/addresses.ts';
import { CS, SEG, SS, STATE } from '../machine/state.ts';
import { mapLdtShadowPage } from './ldt.ts';
import { reservedDescriptor } from './reserved-gdt.ts';
import { FIRST_RESERVED_GDT_BYTE } from './selectors.ts';

/** Words of a descriptor; filled in place: copy what you keep. */
export interface RawDescriptor {
  lo: number;
  hi: number;
  /** Where it lies, or -1 (the hypervisor's own, which have their accessed bit set). */
  at: Maddr | -1;
}
const raw: RawDescriptor = { lo: 0, hi: 0, at: -1 };

/** Null when the table cannot be read there. A null selector, and one past the LDT's end, give a zero descriptor as in Xen. */
export function readDescriptor(hv: Hypervisor, vcpu: Vcpu, selector: number): RawDescriptor | null {
  raw.at = locate(hv, vcpu, selector);
  raw.lo = 0;
  raw.hi = 0;
  if (raw.at === -1) {
    const own =
      selector & 4 || (selector & 0xfff8) < FIRST_RESERVED_GDT_BYTE ? undefined : reservedDescriptor(vcpu.domain.is32bit, selector);
    if (own !== undefined) {
      raw.lo = own.lo;
      raw.hi = own.hi;
      return raw;
    }
    return selector & 4 && selector >>> 3 < vcpu.pv.ldtEnts ? null : raw;
  }
  raw.lo = hv.ram.read32(raw.at) | 0;
  raw.hi = hv.ram.read32((raw.at + 4) as Maddr) | 0;
  return raw;
}

function locate(hv: Hypervisor, vcpu: Vcpu, selector: number): Maddr | -1 {
  const { pv } = vcpu;
  const offset = selector & 0xfff8;
  if ((selector & 0xfffc) === 0) return -1;
  if (!(selector & 4)) {
    // Beyond the guest's frames Xen maps a page of zeroes, so entries between gdt_ents and the end of the last frame count.
    const frame = offset < FIRST_RESERVED_GDT_BYTE ? pv.gdtFrames[offset >>> 12] : undefined;
    return frame === undefined ? -1 : ((frame * 4096 + (offset & 0xfff)) as Maddr);
  }
  if (offset >>> 3 >= pv.ldtEnts) return -1;
  const page = offset >>> 12;
  if (pv.ldtShadow[page] === -1 && !mapLdtShadowPage(hv, vcpu, offset)) return -1;
  return (pv.ldtShadow[page]! * 4096 + (offset & 0xfff)) as Maddr;
}

/** Layout of SEG in machine/state.ts. */
export const attributesOf = (hi: number): number => (hi >>> 8) & 0xf0ff;
export const baseOf = (d: { lo: number; hi: number }): number => ((d.lo >>> 16) | ((d.hi & 0xff) << 16) | (d.hi & 0xff00_0000)) >>> 0;
/** In bytes. */
export function limitOf(d: { lo: number; hi: number }): number {
  const units = (d.lo & 0xffff) | (d.hi & 0xf_0000);
  return attributesOf(d.hi) & SEG.g ? ((units << 12) | 0xfff) >>> 0 : units;
}

/** Sets the accessed bit in the table, as a segment load does; the hypervisor's own descriptors have it. */
function markAccessed(hv: Hypervisor, d: RawDescriptor): void {
  if (d.at === -1 || d.hi & 0x100) return;
  d.hi |= 0x100;
  hv.ram.write8((d.at + 5) as Maddr, (d.hi >>> 8) & 0xff);
}

/** A fault of a segment load as one number, 0 for none: the vector above the error code. */
export type LoadFault = number;
const NP = 0xb_0000;
const SS_FAULT = 0xc_0000;
export const GP_FAULT: LoadFault = 0xd_0000;
export const vectorOf = (f: LoadFault): number => f >>> 16;
export const errorCodeOf = (f: LoadFault): number => f & 0xffff;

/**
 * CS and SS as an IRET from ring 0 to an outer ring loads them (SDM Vol 2A, IRET, RETURN-TO-OUTER-PRIVILEGE-LEVEL), CPL included.
 * 0, or the fault that the CPU would raise; then no register has changed.
 */
export function loadCodeAndStack(hv: Hypervisor, vcpu: Vcpu, cs: number, ss: number): LoadFault {
  const { regs } = vcpu;
  const rpl = cs & 3;
  if ((cs & 0xfffc) === 0) return GP_FAULT;
  const badCs = GP_FAULT | (cs & 0xfffc);
  const c = readDescriptor(hv, vcpu, cs);
  if (c === null || rpl === 0) return badCs;
  const ca = attributesOf(c.hi);
  if ((ca & (SEG.s | SEG.code)) !== (SEG.s | SEG.code)) return badCs;
  const dpl = (ca & SEG.dpl) >>> SEG.dplShift;
  if (ca & SEG.conforming ? dpl > rpl : dpl !== rpl) return badCs;
  if (ca & SEG.l && ca & SEG.db) return badCs;
  if (!(ca & SEG.present)) return NP | (cs & 0xfffc);
  const csLimit = limitOf(c);
  const csBase = ca & SEG.l ? 0 : baseOf(c);

  // A null SS is fine for 64-bit code outside ring 3 only, which no guest runs.
  const stack = { lo: 0, hi: 0 };
  if ((ss & 0xfffc) === 0) return GP_FAULT;
  const badSs = GP_FAULT | (ss & 0xfffc);
  markAccessed(hv, c);
  const s = readDescriptor(hv, vcpu, ss);
  if (s === null || (ss & 3) !== rpl) return badSs;
  const sa = attributesOf(s.hi);
  if ((sa & (SEG.s | SEG.code | SEG.writable)) !== (SEG.s | SEG.writable)) return badSs;
  if ((sa & SEG.dpl) >>> SEG.dplShift !== rpl) return badSs;
  if (!(sa & SEG.present)) return SS_FAULT | (ss & 0xfffc);
  markAccessed(hv, s);
  stack.lo = s.lo;
  stack.hi = s.hi;

  regs.setU32(STATE.cpl, rpl);
  regs.setSegment(CS, cs, ca | SEG.accessed, csLimit, csBase);
  regs.setSegment(SS, ss, sa | SEG.accessed, limitOf(stack), baseOf(stack));
  vcpu.cpu?.modeChanged();
  return 0;
}

/** DS, ES, FS or GS by selector, as MOV does at the guest's CPL; false where that would fault (the register is then null). */
export function loadDataSegment(hv: Hypervisor, vcpu: Vcpu, seg: number, selector: number): boolean {
  const { regs } = vcpu;
  if ((selector & 0xfffc) !== 0) {
    const d = readDescriptor(hv, vcpu, selector);
    const a = d === null ? 0 : attributesOf(d.hi);
    const readable = (a & SEG.code) === 0 || (a & SEG.writable) !== 0;
    const privilege = Math.max(selector & 3, vcpu.domain.is32bit ? 1 : 3);
    const conforming = (a & (SEG.code | SEG.conforming)) === (SEG.code | SEG.conforming);
    const allowed = conforming || (a & SEG.dpl) >>> SEG.dplShift >= privilege;
    if (d !== null && a & SEG.s && a & SEG.present && readable && allowed) {
      markAccessed(hv, d);
      regs.setSegment(seg, selector, a | SEG.accessed, limitOf(d), baseOf(d));
      return true;
    }
    regs.setSegment(seg, 0, 0, 0, 0);
    return false;
  }
  // A null load leaves an unusable segment; its base becomes zero on Intel.
  regs.setSegment(seg, selector, 0, 0, 0);
  return true;
}
