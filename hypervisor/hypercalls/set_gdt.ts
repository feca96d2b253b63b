// set_gdt: frames of the guest's descriptor table (do_set_gdt, compat_set_gdt, xen/arch/x86/pv/descriptor-tables.c).

import { XEN_EFAULT, XEN_EINVAL } from '@ringworld/abi';
import { setGdt } from '../pv/gdt.ts';
import { FIRST_RESERVED_GDT_ENTRY } from '../pv/selectors.ts';
import type { HypercallHandler } from './context.ts';

export const set_gdt: HypercallHandler = (c) => {
  const { hv, vcpu, guest, domain } = c;
  const entries = c.argU32(1);
  if (entries > FIRST_RESERVED_GDT_ENTRY) return -XEN_EINVAL;
  const frames: number[] = [];
  for (let i = 0; i < Math.ceil(entries / 512); i++) {
    if (domain.is32bit) {
      const frame = guest.read32(c.arg(0) + i * 4);
      if (frame === -1) return -XEN_EFAULT;
      frames.push(frame);
    } else {
      if (!guest.read64(c.arg(0) + i * 8)) return -XEN_EFAULT;
      frames.push((guest.hi >>> 0) * 0x1_0000_0000 + (guest.lo >>> 0));
    }
  }
  const rc = setGdt(hv, vcpu, frames, entries);
  if (rc === 0) vcpu.cpu?.flushAll();
  return rc;
};
