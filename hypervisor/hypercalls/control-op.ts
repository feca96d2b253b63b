// The common shape of domctl and sysctl: a head with command, interface version and a union; the argument is a private copy, acted on,
// and copied back when the operation has an answer.

import { type Codec, XEN_EFAULT } from '@ringworld/abi';
import type { HypercallContext } from './context.ts';

/** Runs one operation on the argument structure `codec` at `at`. */
export function control<T, W>(c: HypercallContext, codec: Codec<T, W>, at: number, act: (arg: T) => number | NoInfer<W>): number {
  const arg = c.guest.readStruct(codec, at);
  if (arg === null) return -XEN_EFAULT;
  const answer = act(arg);
  if (typeof answer === 'number') return answer;
  return c.guest.writeStruct(codec, at, answer) ? 0 : -XEN_EFAULT;
}
