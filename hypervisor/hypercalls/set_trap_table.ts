// set_trap_table: the guest's virtual IDT, entry by entry until one with address 0 (do_set_trap_table, xen/arch/x86/pv/callback.c).

import { trap_info, XEN_EFAULT, XEN_EINVAL } from '@ringworld/abi';
import { isCanonical, type Lin } from '../machine/addresses.ts';
import { clearTrapEntry, setTrapEntry } from '../pv/trap-table.ts';
import type { HypercallHandler } from './context.ts';

export const set_trap_table: HypercallHandler = (c) => {
  const { vcpu, guest, domain } = c;
  const handle = c.arg(0);
  if (handle === 0) {
    for (const t of vcpu.pv.trapTable) clearTrapEntry(t);
    return 0;
  }
  const limit = c.workLeft;
  for (let i = 0; ; i++) {
    if (i === limit) {
      c.work += i;
      return c.continueWith(handle + i * trap_info.size(c.abi));
    }
    const info = guest.readStruct(trap_info, handle, i);
    if (info === null) return -XEN_EFAULT;
    if (info.address === 0) return 0;
    if (!domain.is32bit && !isCanonical(info.address as number as Lin)) return -XEN_EINVAL;
    setTrapEntry(vcpu, info.vector, info);
  }
};
