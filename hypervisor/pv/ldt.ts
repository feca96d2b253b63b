// A vCPU's LDT: mapped lazily, a frame at a time, when the CPU misses it in the per-domain area. The guest gives a linear address; the
// frame is found in its kernel's page tables and taken as PGT_seg_desc_page (pv_map_ldt_shadow_page, xen/arch/x86/pv/mm.c).

import { PGT_seg_desc_page } from '../core/frame-types.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { INVALID_MFN, type Lin } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { LDTR, SEG } from '../machine/state.ts';
import { ldtVirtStart } from './layout.ts';
import { setLdtPage } from './perdomain.ts';
import { LDT_SELECTOR } from './reserved-gdt.ts';

/** Maps the page of the LDT that holds byte `offset`; false when the guest's tables have nothing fit for it there. */
export function mapLdtShadowPage(hv: Hypervisor, vcpu: Vcpu, offset: number): boolean {
  const { pv, domain } = vcpu;
  if (offset >>> 3 >= pv.ldtEnts) return false;
  let lin = pv.ldtBase + offset;
  if (domain.is32bit) lin %= 0x1_0000_0000;
  // The kernel's tables, whichever mode is on.
  const { kernelMode } = pv;
  pv.kernelMode = true;
  const at = vcpu.guest.translate(lin, false);
  pv.kernelMode = kernelMode;
  if (at === -1) return false;
  const mfn = Math.floor(at / 4096);
  if (hv.frames.getPageAndType(mfn, PGT_seg_desc_page, domain.id) !== 0) return false;
  const page = offset >>> 12;
  pv.ldtShadow[page] = mfn as never;
  setLdtPage(hv, vcpu, page, mfn as never);
  return true;
}

/** pv_destroy_ldt(): drops the mappings; true when there were any, so that TLBs must be flushed. */
export function destroyLdt(hv: Hypervisor, vcpu: Vcpu): boolean {
  const { ldtShadow } = vcpu.pv;
  let dropped = false;
  for (let i = 0; i < ldtShadow.length; i++) {
    const mfn = ldtShadow[i]!;
    if (mfn === INVALID_MFN) continue;
    ldtShadow[i] = INVALID_MFN;
    setLdtPage(hv, vcpu, i, INVALID_MFN);
    hv.frames.putPageAndType(mfn);
    dropped = true;
  }
  return dropped;
}

/** MMUEXT_SET_LDT with values that were checked (page-aligned canonical base, at most 8192 entries): a new LDT, nothing of it mapped. */
export function setLdt(hv: Hypervisor, vcpu: Vcpu, base: Lin, entries: number): void {
  const { pv } = vcpu;
  if (pv.ldtEnts === entries && pv.ldtBase === base) return;
  if (destroyLdt(hv, vcpu)) vcpu.cpu?.flushAll();
  pv.ldtBase = base;
  pv.ldtEnts = entries;
  loadLdt(vcpu);
}

/** load_LDT(): LDTR for this vCPU. */
export function loadLdt(vcpu: Vcpu): void {
  const { pv, regs } = vcpu;
  if (pv.ldtEnts === 0) regs.setSegment(LDTR, 0, 0, 0, 0);
  else regs.setSegment(LDTR, LDT_SELECTOR, SEG.present | 2, pv.ldtEnts * 8 - 1, ldtVirtStart(vcpu.id));
}
