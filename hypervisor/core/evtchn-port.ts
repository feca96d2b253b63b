// One event-channel port, and what the two event ABIs have in common (xen/include/xen/sched.h, struct evtchn; xen/include/xen/event.h,
// struct evtchn_port_ops).

import type { Domain } from './domain.ts';
import type { Domid, EvtchnPort, VcpuId } from './ids.ts';
import type { Vcpu } from './vcpu.ts';

/** ECS_*. */
export const ECS = { free: 0, reserved: 1, unbound: 2, interdomain: 3, pirq: 4, virq: 5, ipi: 6 } as const;
export type EvtchnState = (typeof ECS)[keyof typeof ECS];

/** A notification that ends in the hypervisor itself (a "Xen consumer"): the guest may neither close nor send on such a port. */
export type XenConsumer = (vcpu: Vcpu, port: EvtchnPort) => void;

export interface Evtchn {
  readonly port: EvtchnPort;
  state: EvtchnState;
  notifyVcpuId: VcpuId;
  xenConsumer: XenConsumer | null;
  /** ECS.unbound: who may bind. */
  remoteDomid: Domid;
  /** ECS.interdomain. */
  remoteDom: Domain | null;
  remotePort: EvtchnPort;
  virq: number;
  pirq: number;
  /** FIFO: pending was raised before the event array had a page for this port. */
  pending: boolean;
  /** FIFO: queue of the next event, and the queue on which the last one went. */
  priority: number;
  lastVcpuId: VcpuId;
  lastPriority: number;
}

export const createEvtchn = (port: number): Evtchn => ({
  port: port as EvtchnPort,
  state: ECS.free,
  notifyVcpuId: 0 as VcpuId,
  xenConsumer: null,
  remoteDomid: 0 as Domid,
  remoteDom: null,
  remotePort: 0 as EvtchnPort,
  virq: 0,
  pirq: 0,
  pending: false,
  priority: 0,
  lastVcpuId: 0 as VcpuId,
  lastPriority: 0,
});

/** The event ABI in use by a domain. Ports are given as their Evtchn. */
export interface EvtchnPortOps {
  readonly maxEvtchns: number;
  init(chn: Evtchn): void;
  setPending(vcpu: Vcpu, chn: Evtchn): void;
  clearPending(chn: Evtchn): void;
  unmask(chn: Evtchn): void;
  isPending(chn: Evtchn): boolean;
  isMasked(chn: Evtchn): boolean;
  /** The guest has not finished with the port's last event: it may not be allocated again yet. */
  isBusy(chn: Evtchn): boolean;
  /** 0 or -XEN_Exxx. */
  setPriority(chn: Evtchn, priority: number): number;
}
