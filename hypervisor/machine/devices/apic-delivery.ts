// Who gets a message on the APIC bus: those that it names, or with lowest-priority delivery one of them (SDM Vol 3A, 10.6.2).

import { type ApicMessage, DELIVERY } from './apic-message.ts';
import type { Lapic } from './lapic.ts';

/** False when nobody was addressed. */
export function deliverMessage(all: readonly Lapic[], m: ApicMessage): boolean {
  let targets = all.filter((a) => a.matches(m));
  if (m.delivery === DELIVERY.lowest) targets = arbitrate(targets.filter((a) => a.takesFixed));
  for (const a of targets) a.accept(m);
  return targets.length > 0;
}

/** The least processor priority (10.6.2.4); among equals the first, always the same. */
function arbitrate(targets: readonly Lapic[]): Lapic[] {
  let best: Lapic | undefined;
  for (const a of targets) if (best === undefined || a.ppr < best.ppr) best = a;
  return best ? [best] : [];
}
