// event_channel_op: copies the argument in, acts (core/event-channels.ts), copies the outcome back (xen/common/event_channel.c).

import {
  type Codec,
  DOMID_SELF,
  EVTCHN_FIFO_LINK_BITS,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_pirq,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  EVTCHNOP_reset,
  EVTCHNOP_send,
  EVTCHNOP_set_priority,
  EVTCHNOP_status,
  EVTCHNOP_unmask,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_pirq,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
  evtchn_alloc_unbound,
  evtchn_bind_interdomain,
  evtchn_bind_ipi,
  evtchn_bind_pirq,
  evtchn_bind_vcpu,
  evtchn_bind_virq,
  evtchn_close,
  evtchn_expand_array,
  evtchn_init_control,
  evtchn_reset,
  evtchn_set_priority,
  evtchn_status,
  evtchn_unmask,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringworld/abi';
import type { Domain } from '../core/domain.ts';
import { ECS, type Evtchn } from '../core/evtchn-port.ts';
import type { EvtchnPort } from '../core/ids.ts';
import type { HypercallContext, HypercallHandler } from './context.ts';
import { domainByAnyId } from './foreign-domain.ts';

type Op = (c: HypercallContext, arg: number) => number;

/** Reads the argument and acts; a structure that comes out is copied back as the answer. */
function op<T, W extends object>(codec: Codec<T, W>, act: (c: HypercallContext, a: T) => number | W): Op {
  return (c, arg) => {
    const a = c.guest.readStruct(codec, arg);
    if (a === null) return -XEN_EFAULT;
    const answer = act(c, a);
    if (typeof answer === 'number') return answer;
    return c.guest.writeStruct(codec, arg, answer) ? 0 : -XEN_EFAULT;
  };
}

/** An error, or the answer that holds the port. */
const bound = <W>(port: number, answer: (port: EvtchnPort) => W): number | W => (port < 0 ? port : answer(port as EvtchnPort));

/** XSM_TARGET: oneself, or anybody for the privileged domain. */
function target(c: HypercallContext, domid: number): Domain | number {
  const d = domainByAnyId(c, domid);
  if (d === undefined) return -XEN_ESRCH;
  return d === c.domain || c.domain.isPrivileged ? d : -XEN_EPERM;
}

const allocUnbound = op(evtchn_alloc_unbound, (c, a) => {
  const d = target(c, a.dom);
  if (typeof d === 'number') return d;
  const remote = a.remote_dom === DOMID_SELF ? c.domain.id : a.remote_dom;
  return bound(d.evtchn.allocUnbound(remote), (port) => ({ ...a, port }));
});

const bindInterdomain = op(evtchn_bind_interdomain, (c, a) => {
  const remote = a.remote_dom === DOMID_SELF ? c.domain : c.hv.domain(a.remote_dom);
  if (remote === undefined) return -XEN_ESRCH;
  return bound(c.domain.evtchn.bindInterdomain(remote, a.remote_port), (local_port) => ({ ...a, local_port }));
});

const bindVirq = op(evtchn_bind_virq, (c, a) => bound(c.domain.evtchn.bindVirq(a.virq, a.vcpu), (port) => ({ ...a, port })));

const bindIpi = op(evtchn_bind_ipi, (c, a) => bound(c.domain.evtchn.bindIpi(a.vcpu), (port) => ({ ...a, port })));

const STATUS = {
  [ECS.free]: EVTCHNSTAT_closed,
  [ECS.reserved]: EVTCHNSTAT_closed,
  [ECS.unbound]: EVTCHNSTAT_unbound,
  [ECS.interdomain]: EVTCHNSTAT_interdomain,
  [ECS.pirq]: EVTCHNSTAT_pirq,
  [ECS.virq]: EVTCHNSTAT_virq,
  [ECS.ipi]: EVTCHNSTAT_ipi,
} as const;

/** The member of the union that goes with the state. */
const statusOf = (chn: Evtchn) => {
  if (chn.state === ECS.unbound) return { unbound: { dom: chn.remoteDomid } };
  if (chn.state === ECS.interdomain) return { interdomain: { dom: chn.remoteDom!.id, port: chn.remotePort } };
  return chn.state === ECS.virq ? { virq: chn.virq } : {};
};

const status: Op = (c, arg) => {
  const a = c.guest.readStruct(evtchn_status, arg);
  if (a === null) return -XEN_EFAULT;
  const d = domainByAnyId(c, a.dom);
  if (d === undefined) return -XEN_ESRCH;
  const chn = d.evtchn.channels[a.port];
  if (chn === undefined) return -XEN_EINVAL;
  if (d !== c.domain && !c.domain.isPrivileged) return -XEN_EPERM;
  const out = { ...a, status: STATUS[chn.state], vcpu: chn.notifyVcpuId, u: statusOf(chn) };
  return c.guest.writeStruct(evtchn_status, arg, out) ? 0 : -XEN_EFAULT;
};

const reset = op(evtchn_reset, (c, a) => {
  const d = target(c, a.dom);
  if (typeof d === 'number') return d;
  d.evtchn.reset(a.dom === DOMID_SELF);
  return 0;
});

const initControl = op(evtchn_init_control, (c, a) => {
  const rc = c.domain.evtchn.initControl(a.vcpu, a.control_gfn, a.offset);
  return rc === 0 ? { ...a, link_bits: EVTCHN_FIFO_LINK_BITS } : rc;
});

/** The hot one: a port number and no more. */
const send: Op = (c, arg) => {
  const port = c.guest.read32(arg);
  return port === -1 ? -XEN_EFAULT : c.domain.evtchn.send(port);
};

const OPS: (Op | undefined)[] = [];
OPS[EVTCHNOP_alloc_unbound] = allocUnbound;
OPS[EVTCHNOP_bind_interdomain] = bindInterdomain;
OPS[EVTCHNOP_bind_virq] = bindVirq;
OPS[EVTCHNOP_bind_ipi] = bindIpi;
OPS[EVTCHNOP_bind_pirq] = op(evtchn_bind_pirq, (c, a) => c.domain.evtchn.bindPirq(a.pirq));
OPS[EVTCHNOP_close] = op(evtchn_close, (c, a) => c.domain.evtchn.close(a.port));
OPS[EVTCHNOP_send] = send;
OPS[EVTCHNOP_status] = status;
OPS[EVTCHNOP_bind_vcpu] = op(evtchn_bind_vcpu, (c, a) => c.domain.evtchn.bindVcpu(a.port, a.vcpu));
OPS[EVTCHNOP_unmask] = op(evtchn_unmask, (c, a) => c.domain.evtchn.unmask(a.port));
OPS[EVTCHNOP_reset] = reset;
OPS[EVTCHNOP_init_control] = initControl;
OPS[EVTCHNOP_expand_array] = op(evtchn_expand_array, (c, a) => c.domain.evtchn.expandArray(a.array_gfn));
OPS[EVTCHNOP_set_priority] = op(evtchn_set_priority, (c, a) => c.domain.evtchn.setPriority(a.port, a.priority));

export const event_channel_op: HypercallHandler = (c) => eventChannelOp(c, c.argU32(0), c.arg(1));

export const eventChannelOp = (c: HypercallContext, cmd: number, arg: number): number => OPS[cmd]?.(c, arg) ?? -XEN_ENOSYS;
