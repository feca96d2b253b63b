// sched_op_compat: sched_op as it was before arguments moved into memory.

import { SCHEDOP_block, SCHEDOP_shutdown, SCHEDOP_yield, XEN_ENOSYS } from '@ringworld/abi';
import type { HypercallHandler } from './context.ts';
import { blockEnablingEvents, yieldCpu } from './sched_op.ts';

export const sched_op_compat: HypercallHandler = (c) => {
  switch (c.argU32(0)) {
    case SCHEDOP_yield:
      return yieldCpu(c);
    case SCHEDOP_block:
      return blockEnablingEvents(c);
    case SCHEDOP_shutdown:
      c.domain.shutdown(c.argU32(1) & 0xff);
      return 0;
    default:
      return -XEN_ENOSYS;
  }
};
