import {
  __HYPERVISOR_event_channel_op,
  DOMID_SELF,
  type DomainPort,
  EVTCHN_FIFO_LINKED,
  EVTCHN_FIFO_PENDING,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  EVTCHNOP_send,
  EVTCHNOP_set_priority,
  EVTCHNOP_status,
  EVTCHNOP_unmask,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_unbound,
  evtchn_alloc_unbound,
  evtchn_bind_interdomain,
  evtchn_bind_ipi,
  evtchn_bind_virq,
  evtchn_close,
  evtchn_expand_array,
  evtchn_fifo_control_block,
  evtchn_init_control,
  evtchn_send,
  evtchn_set_priority,
  evtchn_status,
  evtchn_unmask,
  type Fields,
  type PartialWrite,
  type Struct,
  VIRQ_DOM_EXC,
  VIRQ_TIMER,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
} from '@ringworld/abi';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Domain } from './domain.ts';
import type { Gfn, Maddr } from './ids.ts';
import { isUpcallPending, SHARED_INFO, setUpcallPending, sharedInfoAt, testBit, vcpuPendingSelAt } from './shared-info.ts';
import { type Bench, createBench, createTestDomain, peek, poke } from './testing.ts';

const ARG = 0x1000;
let bench: Bench;
let a: { domain: Domain; port: DomainPort };
let b: { domain: Domain; port: DomainPort };

/** Makes the hypercall; gives its result and what the structure holds afterwards. */
function evtchn<F extends Fields, W>(port: DomainPort, op: number, codec: Struct<F, W>, value: PartialWrite<F>) {
  poke(port, ARG, codec.encode('x86_64', value));
  const rc = port.hypercall(__HYPERVISOR_event_channel_op, op, ARG);
  return { rc, out: codec.decode('x86_64', peek(port, ARG, codec.size('x86_64'))) };
}
const allocUnbound = (remote: number) =>
  evtchn(a.port, EVTCHNOP_alloc_unbound, evtchn_alloc_unbound, { dom: DOMID_SELF as never, remote_dom: remote as never });
const bindInterdomain = (remote_port: number, remote = a.domain.id) =>
  evtchn(b.port, EVTCHNOP_bind_interdomain, evtchn_bind_interdomain, { remote_dom: remote, remote_port: remote_port as never });
const send = (port: DomainPort, to: number) => evtchn(port, EVTCHNOP_send, evtchn_send, { port: to as never }).rc;
const isPending = (d: Domain, port: number): boolean => testBit(bench.hv.ram, sharedInfoAt(d, SHARED_INFO.x86_64.pending), port);

beforeEach(() => {
  bench = createBench();
  a = createTestDomain(bench.hv, { vcpus: 2 });
  b = createTestDomain(bench.hv);
});

/** A channel from b (local) to a: ports [a's, b's]. */
function connect(): [number, number] {
  const pa = allocUnbound(b.domain.id).out.port;
  const { rc, out } = bindInterdomain(pa);
  expect(rc).toBe(0);
  return [pa, out.local_port];
}

describe('event channels, 2-level', () => {
  it('connect two domains, and an event marks port, selector and upcall of the other side', () => {
    const [pa, pb] = connect();
    expect(isPending(b.domain, pb)).toBe(true);
    expect(isUpcallPending(a.domain.vcpus[0]!)).toBe(false);
    expect(send(b.port, pb)).toBe(0);
    expect(isPending(a.domain, pa)).toBe(true);
    expect(isUpcallPending(a.domain.vcpus[0]!)).toBe(true);
    expect(testBit(bench.hv.ram, vcpuPendingSelAt(a.domain.vcpus[0]!), 0)).toBe(true);
  });

  it('tell a pending masked event only once it is unmasked', () => {
    const [pa, pb] = connect();
    const maskAt = (sharedInfoAt(a.domain, SHARED_INFO.x86_64.mask) + (pa >> 3)) as Maddr;
    bench.hv.ram.write8(maskAt, 1 << (pa & 7));
    send(b.port, pb);
    expect(isUpcallPending(a.domain.vcpus[0]!)).toBe(false);
    expect(evtchn(a.port, EVTCHNOP_unmask, evtchn_unmask, { port: pa as never }).rc).toBe(0);
    expect(isUpcallPending(a.domain.vcpus[0]!)).toBe(true);
  });

  it('refuse a third domain, a wrong port, and a domain that does not exist', () => {
    const pa = allocUnbound(0).out.port;
    expect(bindInterdomain(pa).rc).toBe(-XEN_EINVAL);
    expect(bindInterdomain(9999).rc).toBe(-XEN_EINVAL);
    expect(bindInterdomain(pa, 77 as never).rc).toBe(-XEN_ESRCH);
    expect(send(a.port, 9999)).toBe(-XEN_EINVAL);
    expect(send(a.port, 0)).toBe(-XEN_EINVAL);
    expect(evtchn(b.port, EVTCHNOP_alloc_unbound, evtchn_alloc_unbound, { dom: a.domain.id, remote_dom: b.domain.id }).rc).toBe(-XEN_EPERM);
    expect(a.port.hypercall(__HYPERVISOR_event_channel_op, 99, ARG)).toBe(-XEN_ENOSYS);
  });

  it('return to unbound when the other end closes', () => {
    const [pa, pb] = connect();
    const status = () => evtchn(a.port, EVTCHNOP_status, evtchn_status, { dom: DOMID_SELF as never, port: pa as never }).out;
    expect(status().status).toBe(EVTCHNSTAT_interdomain);
    expect(status().u.interdomain).toEqual({ dom: b.domain.id, port: pb });
    expect(evtchn(b.port, EVTCHNOP_close, evtchn_close, { port: pb as never }).rc).toBe(0);
    expect(status().status).toBe(EVTCHNSTAT_unbound);
    expect(status().u.unbound.dom).toBe(b.domain.id);
    expect(send(a.port, pa)).toBe(0);
  });

  it('bind VIRQs once per vCPU, global ones on vCPU 0 only', () => {
    const bind = (virq: number, vcpu: number) => evtchn(a.port, EVTCHNOP_bind_virq, evtchn_bind_virq, { virq, vcpu });
    const first = bind(VIRQ_TIMER, 1);
    expect(first.rc).toBe(0);
    expect(bind(VIRQ_TIMER, 1).rc).toBe(-XEN_EEXIST);
    expect(bind(VIRQ_DOM_EXC, 1).rc).toBe(-XEN_EINVAL);
    expect(bind(VIRQ_TIMER, 5).rc).toBe(-XEN_ENOENT);
    expect(bind(24, 0).rc).toBe(-XEN_EINVAL);
    a.domain.evtchn.raiseVcpuVirq(a.domain.vcpus[1]!, VIRQ_TIMER);
    expect(isPending(a.domain, first.out.port)).toBe(true);
    expect(isUpcallPending(a.domain.vcpus[1]!)).toBe(true);
    expect(isUpcallPending(a.domain.vcpus[0]!)).toBe(false);
  });

  it('run out at 4096 ports, or at the limit that the toolstack set', () => {
    a.domain.evtchn.maxPort = 10;
    let last = 0;
    for (;;) {
      const { rc, out } = evtchn(a.port, EVTCHNOP_bind_ipi, evtchn_bind_ipi, { vcpu: 0 });
      if (rc !== 0) break;
      last = out.port;
    }
    expect(last).toBe(10);
    expect(a.domain.evtchn.ops.maxEvtchns).toBe(4096);
  });
});

describe('event channels, FIFO', () => {
  const CONTROL = 8;
  const ARRAY = 9;
  const READY = evtchn_fifo_control_block.offset('ready', 'x86_64');
  const HEAD = evtchn_fifo_control_block.offset('head', 'x86_64');
  const word = (port: number): number => a.port.page(ARRAY as Gfn).u32(port * 4);
  const head = (priority: number): number => a.port.page(CONTROL as Gfn).u32(HEAD + priority * 4);
  const ready = (): number => a.port.page(CONTROL as Gfn).u32(READY);
  const init = () => evtchn(a.port, EVTCHNOP_init_control, evtchn_init_control, { control_gfn: CONTROL, offset: 0, vcpu: 0 });
  const expand = () => evtchn(a.port, EVTCHNOP_expand_array, evtchn_expand_array, { array_gfn: ARRAY }).rc;

  it('link events in the order in which they came and tell the guest once', () => {
    const first = connect();
    const second = connect();
    expect(init()).toMatchObject({ rc: 0, out: { link_bits: 17 } });
    expect(expand()).toBe(0);
    send(b.port, first[1]);
    expect(isUpcallPending(a.domain.vcpus[0]!)).toBe(true);
    expect(ready()).toBe(1 << 7);
    expect(head(7)).toBe(first[0]);
    setUpcallPending(a.domain.vcpus[0]!, false);
    send(b.port, second[1]);
    expect(isUpcallPending(a.domain.vcpus[0]!)).toBe(false);
    expect(word(first[0]) & 0x1ffff).toBe(second[0]);
    expect(word(second[0]) >>> 0).toBe(((1 << EVTCHN_FIFO_PENDING) | (1 << EVTCHN_FIFO_LINKED)) >>> 0);
  });

  it('put an event on the queue of its priority', () => {
    const [pa, pb] = connect();
    init();
    expand();
    expect(evtchn(a.port, EVTCHNOP_set_priority, evtchn_set_priority, { port: pa as never, priority: 16 }).rc).toBe(-XEN_EINVAL);
    expect(evtchn(a.port, EVTCHNOP_set_priority, evtchn_set_priority, { port: pa as never, priority: 2 }).rc).toBe(0);
    send(b.port, pb);
    expect(head(2)).toBe(pa);
    expect(ready()).toBe(1 << 2);
  });

  it('keep what was pending in 2-level form, and deliver it when the array appears', () => {
    const [pa, pb] = connect();
    send(b.port, pb);
    init();
    expect(head(7)).toBe(0);
    expand();
    expect(head(7)).toBe(pa);
  });

  it('do not give a port out again while the guest has its event still linked', () => {
    const [pa, pb] = connect();
    init();
    expand();
    send(b.port, pb);
    evtchn(a.port, EVTCHNOP_close, evtchn_close, { port: pa as never });
    expect(allocUnbound(0).out.port).not.toBe(pa);
    a.port.page(ARRAY as Gfn).setU32(pa * 4, 0);
    expect(allocUnbound(0).out.port).toBe(pa);
  });

  it('check the control block', () => {
    const control = (v: PartialWrite<typeof evtchn_init_control.fields>) =>
      evtchn(a.port, EVTCHNOP_init_control, evtchn_init_control, v).rc;
    expect(control({ control_gfn: CONTROL, offset: 4, vcpu: 0 })).toBe(-XEN_EINVAL);
    expect(control({ control_gfn: CONTROL, offset: 4090, vcpu: 0 })).toBe(-XEN_EINVAL);
    expect(control({ control_gfn: 5000, offset: 0, vcpu: 0 })).toBe(-XEN_EINVAL);
    expect(control({ control_gfn: CONTROL, offset: 0, vcpu: 7 })).toBe(-XEN_ENOENT);
    expect(init().rc).toBe(0);
    expect(init().rc).toBe(-XEN_EINVAL);
    expect(a.domain.evtchn.ops.maxEvtchns).toBe(131072);
  });
});
