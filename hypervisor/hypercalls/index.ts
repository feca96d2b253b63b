// The hypercall table: number -> handler, and the dispatch that every entry path, multicall and domain port goes through.

import * as abi from '@ringworld/abi';
import type { HypercallContext, HypercallHandler, HypercallResult } from './context.ts';

const HANDLERS: Record<string, HypercallHandler> = {};

const TABLE: (HypercallHandler | undefined)[] = [];
const NAMES: string[] = [];

/** Name of a hypercall by number, as __HYPERVISOR_ names have it. */
export const hypercallName = (number: number): string => NAMES[number] ?? `hypercall ${number}`;

for (const [key, number] of Object.entries(abi)) {
  if (!key.startsWith('__HYPERVISOR_') || typeof number !== 'number' || number > 63) continue;
  const name = key.slice('__HYPERVISOR_'.length);
  NAMES[number] ??= name;
  const handler = HANDLERS[name];
  if (handler !== undefined) TABLE[number] = handler;
}

export function dispatch(c: HypercallContext, number: number): HypercallResult {
  const handler = TABLE[number];
  c.domain.count(hypercallName(number));
  const result = handler === undefined ? -abi.XEN_ENOSYS : handler(c);
  c.hv.trace?.(c.vcpu, number, c, result);
  return result;
}
