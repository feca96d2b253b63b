// A vCPU's GDT: frames of the guest's that hold only descriptors which check-descriptor.ts lets pass (PGT_seg_desc_page), mapped where
// GDTR points. Source: xen/arch/x86/pv/descriptor-tables.c.

import { XEN_EINVAL } from '@ringworld/abi';
import { PGT_seg_desc_page } from '../core/frame-types.ts';
import type { Hypervisor } from '../core/hypervisor.ts';
import { INVALID_MFN, type Mfn } from '../core/ids.ts';
import type { Vcpu } from '../core/vcpu.ts';
import { setGdtPage } from './perdomain.ts';
import { FIRST_RESERVED_GDT_ENTRY } from './selectors.ts';

/** pv_set_gdt(): 0 or -XEN_EINVAL. The old table stays when the new one is refused. The caller flushes TLBs. */
export function setGdt(hv: Hypervisor, vcpu: Vcpu, frames: readonly number[], entries: number): number {
  const count = Math.ceil(entries / 512);
  if (entries > FIRST_RESERVED_GDT_ENTRY) return -XEN_EINVAL;
  for (let i = 0; i < count; i++) {
    if (hv.frames.getPageAndType(frames[i]!, PGT_seg_desc_page, vcpu.domain.id) !== 0) {
      while (i-- > 0) hv.frames.putPageAndType(frames[i]! as Mfn);
      return -XEN_EINVAL;
    }
  }
  destroyGdt(hv, vcpu);
  vcpu.pv.gdtEnts = entries;
  vcpu.pv.gdtFrames = frames.slice(0, count) as Mfn[];
  vcpu.pv.gdtFrames.forEach((mfn, i) => {
    setGdtPage(hv, vcpu, i, mfn);
  });
  return 0;
}

/** pv_destroy_gdt(). */
export function destroyGdt(hv: Hypervisor, vcpu: Vcpu): void {
  const { pv } = vcpu;
  pv.gdtFrames.forEach((mfn, i) => {
    setGdtPage(hv, vcpu, i, INVALID_MFN);
    hv.frames.putPageAndType(mfn);
  });
  pv.gdtFrames = [];
  pv.gdtEnts = 0;
}
