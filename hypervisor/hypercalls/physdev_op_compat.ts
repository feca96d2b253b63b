// physdev_op_compat: the operation's number leads the structure instead of coming in a register.

import {
  PHYSDEVOP_alloc_irq_vector,
  PHYSDEVOP_IRQ_UNMASK_NOTIFY,
  physdev_op as physdev_op_t,
  XEN_EFAULT,
  XEN_ENOSYS,
} from '@ringworld/abi';
import type { HypercallHandler } from './context.ts';
import { physdevOp } from './physdev_op.ts';

export const physdev_op_compat: HypercallHandler = (c) => {
  const arg = c.arg(0);
  const cmd = c.guest.read32(arg);
  if (cmd === -1) return -XEN_EFAULT;
  if (cmd === PHYSDEVOP_IRQ_UNMASK_NOTIFY) return physdevOp(c, cmd, 0);
  if (cmd < PHYSDEVOP_IRQ_UNMASK_NOTIFY || cmd > PHYSDEVOP_alloc_irq_vector) return -XEN_ENOSYS;
  return physdevOp(c, cmd, arg + physdev_op_t.offset('u', c.abi));
};
