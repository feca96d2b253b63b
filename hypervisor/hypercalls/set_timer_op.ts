// set_timer_op: the vCPU's one-shot timer, by absolute system time. 32-bit callers pass it in two registers.

import type { HypercallHandler } from './context.ts';

export const set_timer_op: HypercallHandler = (c) => {
  const hi = c.abi === 'x86_32' ? c.argLo(1) : c.argHi(0);
  c.vcpu.timers.setTimerOp(hi * 0x1_0000_0000 + c.argU32(0));
  return 0;
};
