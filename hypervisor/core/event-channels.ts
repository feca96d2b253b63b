// Event channels of one domain: ports, their bindings, and the delivery of events in either ABI (2-level or FIFO).

import type { Domain } from './domain.ts';
import type { EvtchnPort, VcpuId } from './ids.ts';
import type { Vcpu } from './vcpu.ts';

export class EventChannels {
  readonly domain: Domain;
  constructor(domain: Domain) {
    this.domain = domain;
  }
  /** Raises a per-vCPU VIRQ if it is bound (send_guest_vcpu_virq). */
  raiseVcpuVirq(_vcpu: Vcpu, _virq: number): void {}
  /** Raises a global VIRQ if it is bound (send_guest_global_virq). */
  raiseGlobalVirq(_virq: number): void {}
  /** Sends on a port of this domain, as EVTCHNOP_send: 0 or -XEN_Exxx. */
  send(_port: EvtchnPort): number {
    return 0;
  }
  /** Marks vcpu_info.evtchn_upcall_pending and wakes the vCPU (vcpu_mark_events_pending). */
  markPending(_vcpu: VcpuId): void {}
}
