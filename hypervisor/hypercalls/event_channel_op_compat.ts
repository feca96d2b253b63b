// event_channel_op_compat: the operation's number leads the structure instead of coming in a register.

import { EVTCHNOP_unmask, evtchn_op, XEN_EFAULT, XEN_ENOSYS } from '@ringworld/abi';
import type { HypercallHandler } from './context.ts';
import { eventChannelOp } from './event_channel_op.ts';

export const event_channel_op_compat: HypercallHandler = (c) => {
  const arg = c.arg(0);
  const cmd = c.guest.read32(arg);
  if (cmd === -1) return -XEN_EFAULT;
  // What came later (reset, FIFO) is only reachable by the new number.
  if (cmd > EVTCHNOP_unmask) return -XEN_ENOSYS;
  return eventChannelOp(c, cmd, arg + evtchn_op.offset('u', c.abi));
};
