// multicall: a list of hypercalls in guest memory, executed one after the other; each entry gets its own result. Entries are read just
// before they are executed, so that one may still change the next (xen/common/multicall.c).

import { __HYPERVISOR_iret, multicall_entry, XEN_EFAULT, XEN_EINVAL } from '@ringworld/abi';
import { HypercallContext, type HypercallHandler } from './context.ts';

const NR_ARGS = 6;
const SIZE = { x86_64: multicall_entry.size('x86_64'), x86_32: multicall_entry.size('x86_32') };

export const multicall: HypercallHandler = (c) => {
  if (c.inMulticall) return -XEN_EINVAL;
  const list = c.arg(0);
  const count = c.argU32(1);
  const call = new HypercallContext(c.hv);
  call.vcpu = c.vcpu;
  call.inMulticall = true;
  const is32bit = c.abi === 'x86_32';
  const word = is32bit ? 4 : 8;
  const { guest } = c;
  // Reads one xen_ulong_t into guest.lo and guest.hi.
  const read = (at: number): boolean => {
    if (!is32bit) return guest.read64(at);
    const v = guest.read32(at);
    guest.lo = v | 0;
    guest.hi = 0;
    return v !== -1;
  };

  for (let i = 0; i < count; i++) {
    const entry = list + i * SIZE[c.abi];
    if (!read(entry)) return -XEN_EFAULT;
    const op = guest.hi === 0 ? guest.lo >>> 0 : 0xffff_ffff;
    for (let a = 0; a < NR_ARGS; a++) {
      if (!read(entry + (2 + a) * word)) return -XEN_EFAULT;
      call.setArg(a, guest.lo, guest.hi);
    }
    const result = c.hv.dispatch(call, op);
    // iret ends the list; where it goes there is nobody to read results.
    if (op === __HYPERVISOR_iret) return typeof result === 'number' ? 0 : result;
    const rc = typeof result === 'number' ? result : 0;
    const stored = is32bit ? guest.write32(entry + word, rc) : guest.write64(entry + word, rc | 0, Math.floor(rc / 0x1_0000_0000));
    if (!stored) return -XEN_EFAULT;
    if (c.domain.isShuttingDown) break;
  }
  return 0;
};
