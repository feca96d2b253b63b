// multicall: a list of hypercalls in guest memory, executed one after the other; each entry gets its own result. Entries are read just
// before they are executed, so that one may still change the next (xen/common/multicall.c).

import { __HYPERVISOR_iret, multicall_entry, XEN_EFAULT, XEN_EINVAL } from '@ringworld/abi';
import { HypercallContext, type HypercallHandler, PREEMPT_AFTER, PREEMPTED } from './context.ts';

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
    call.work = c.work + 1;
    const result = c.hv.dispatch(call, op);
    c.work = call.work;
    // iret ends the list; where it goes there is nobody to read results.
    if (op === __HYPERVISOR_iret) return typeof result === 'number' ? 0 : result;
    if (result === PREEMPTED) {
      // The entry itself says where to go on.
      for (let a = 0; a < NR_ARGS; a++) {
        const at = entry + (2 + a) * word;
        if (!(is32bit ? guest.write32(at, call.argLo(a)) : guest.write64(at, call.argLo(a), call.argHi(a)))) return -XEN_EFAULT;
      }
      return c.continueWith(entry, count - i);
    }
    const rc = typeof result === 'number' ? result : 0;
    const stored = is32bit ? guest.write32(entry + word, rc) : guest.write64(entry + word, rc | 0, Math.floor(rc / 0x1_0000_0000));
    if (!stored) return -XEN_EFAULT;
    if (c.domain.isShuttingDown) break;
    if (c.work >= PREEMPT_AFTER && !c.vcpu.isHosted && i + 1 < count) return c.continueWith(entry + SIZE[c.abi], count - i - 1);
  }
  return 0;
};
