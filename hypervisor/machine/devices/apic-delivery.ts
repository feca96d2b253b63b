// Who gets a message on the APIC bus: those that it names, or with lowest-priority delivery one of them (SDM Vol 3A, 10.6.2).

import { type ApicMessage, DELIVERY } from './apic-message.ts';
import type { Lapic } from './lapic.ts';

/** False when nobody was addressed. */
export function deliverMessage(all: readonly Lapic[], m: ApicMessage): boolean {
  if (m.delivery === DELIVERY.lowest) {
    const a = arbitrate(all, m);
    a?.accept(m);
    return a !== undefined;
  }
  let isTaken = false;
  for (const a of all)
    if (a.matches(m)) {
      isTaken = true;
      a.accept(m);
    }
  return isTaken;
}

/** The least processor priority (10.6.2.4); among equals the first, always the same. */
function arbitrate(all: readonly Lapic[], m: ApicMessage): Lapic | undefined {
  let best: Lapic | undefined;
  for (const a of all) if (a.matches(m) && a.takesFixed && (best === undefined || a.ppr < best.ppr)) best = a;
  return best;
}
