// #PF of a PV guest: what the hypervisor mends itself, in the order in which Xen tries (fixup_page_fault, xen/arch/x86/traps.c), and what
// is the guest's own affair and bounced with CR2.

import { VMASST_TYPE_writable_pagetables } from '@ringworld/abi';
import type { Hypervisor } from '../core/hypervisor.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { isCanonical, type Lin } from '../machine/addresses.ts';
import { PF } from '../machine/cpu-api.ts';
import { generalProtection } from './general-protection.ts';
import { isGuestKernel } from './guest-mode.ts';
import { injectGp, injectPageFault } from './inject.ts';
import { GDT_LDT_VCPU_SIZE, GDT_LDT_VIRT_END, isHypervisorRange, LDT_OFFSET, PERDOMAIN_VIRT_START } from './layout.ts';
import { mapLdtShadowPage } from './ldt.ts';
import { emulatePtWrite } from './writable-page-tables.ts';

/** X86_XEC_EXT, X86_XEC_IDT, X86_XEC_TI: bits of a selector error code. */
const XEC = { ext: 1, idt: 2, ti: 4 } as const;

export function pageFault(hv: Hypervisor, vcpu: Vcpu, errorCode: number, lin: Lin): void {
  if (isHypervisorRange(lin)) {
    if (!(errorCode & (PF.user | PF.reserved)) && lin >= PERDOMAIN_VIRT_START && lin < GDT_LDT_VIRT_END) {
      if (descriptorFault(hv, vcpu, errorCode, lin - PERDOMAIN_VIRT_START)) return;
    }
  } else if (
    (errorCode & (PF.present | PF.write | PF.reserved | PF.fetch)) === (PF.present | PF.write) &&
    vcpu.domain.vmAssist & (1 << VMASST_TYPE_writable_pagetables) &&
    isGuestKernel(vcpu)
  ) {
    if (emulatePtWrite(hv, vcpu, lin)) {
      vcpu.domain.count('ptwr emulation');
      return;
    }
  }
  injectPageFault(hv, vcpu, errorCode, lin);
}

/** The CPU missed in the per-domain area (pv_handle_gdt_ldt_mapping_fault); true when that is dealt with. */
function descriptorFault(hv: Hypervisor, vcpu: Vcpu, errorCode: number, areaOffset: number): boolean {
  if (Math.floor(areaOffset / GDT_LDT_VCPU_SIZE) !== vcpu.id) return false;
  const offset = areaOffset % LDT_OFFSET;
  const isLdt = areaOffset % GDT_LDT_VCPU_SIZE >= LDT_OFFSET;
  if (!isLdt) {
    // Beyond the descriptors: what the CPU would have said of a selector past the limit.
    generalProtection(hv, vcpu, offset & ~(XEC.ext | XEC.idt | XEC.ti));
    return true;
  }
  if (mapLdtShadowPage(hv, vcpu, offset)) {
    vcpu.domain.count('LDT page mapped');
    return true;
  }
  const lin = (vcpu.pv.ldtBase + offset) as Lin;
  if (isCanonical(lin)) injectPageFault(hv, vcpu, errorCode, lin);
  else injectGp(hv, vcpu, (offset & ~(XEC.ext | XEC.idt)) | XEC.ti);
  return true;
}
