import * as abi from '@ringworld/abi';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Domain } from '../core/domain.ts';
import { type Bench, createBench, createScriptedDomain, peek, poke } from '../core/testing.ts';

const OP = 0x1000;
const BUFFER = 0x2000;
const DOMCTL_U = abi.xen_domctl.offset('u', 'x86_64');
const SYSCTL_U = abi.xen_sysctl.offset('u', 'x86_64');
let bench: Bench;

interface Answer<T> {
  rc: number;
  domid: number;
  out: T;
}
function domctl<F extends abi.Fields, W>(
  cmd: number,
  domid: number,
  codec: abi.Struct<F, W>,
  arg: abi.PartialWrite<F>,
): Answer<abi.StructOf<F>> {
  const head = abi.xen_domctl.encode('x86_64', { cmd, interface_version: abi.XEN_DOMCTL_INTERFACE_VERSION, domain: domid as abi.Domid });
  poke(bench.dom0, OP, head);
  poke(bench.dom0, OP + DOMCTL_U, codec.encode('x86_64', arg));
  const rc = bench.dom0.hypercall(abi.__HYPERVISOR_domctl, OP);
  const out = codec.decode('x86_64', peek(bench.dom0, OP + DOMCTL_U, codec.size('x86_64')));
  return { rc, out, domid: new DataView(peek(bench.dom0, OP + 8, 2).buffer).getUint16(0, true) };
}
function sysctl<F extends abi.Fields, W>(
  cmd: number,
  codec: abi.Struct<F, W>,
  arg: abi.PartialWrite<F>,
): { rc: number; out: abi.StructOf<F> } {
  poke(bench.dom0, OP, abi.xen_sysctl.encode('x86_64', { cmd, interface_version: abi.XEN_SYSCTL_INTERFACE_VERSION }));
  poke(bench.dom0, OP + SYSCTL_U, codec.encode('x86_64', arg));
  const rc = bench.dom0.hypercall(abi.__HYPERVISOR_sysctl, OP);
  return { rc, out: codec.decode('x86_64', peek(bench.dom0, OP + SYSCTL_U, codec.size('x86_64'))) };
}
const create = (max_vcpus = 2, domid = 0) =>
  domctl(abi.XEN_DOMCTL_createdomain, domid, abi.xen_domctl_createdomain, {
    handle: Uint8Array.from({ length: 16 }, (_, i) => i),
    max_vcpus,
    max_evtchn_port: 1023,
    max_grant_frames: 7,
    max_maptrack_frames: -1,
  });

beforeEach(() => {
  bench = createBench({ cpus: 2 });
});

describe('domctl', () => {
  it('creates a domain under a free id, paused, and says what it is', () => {
    const { rc, domid } = create();
    expect([rc, domid]).toEqual([0, 1]);
    expect(create(2, 1).rc).toBe(-abi.XEN_EEXIST);
    expect(create(0).rc).toBe(-abi.XEN_EINVAL);
    expect(create(2, 9).domid).toBe(9);
    expect(domctl(abi.XEN_DOMCTL_max_vcpus, domid, abi.xen_domctl_max_vcpus, { max: 3 }).rc).toBe(-abi.XEN_EINVAL);
    expect(domctl(abi.XEN_DOMCTL_max_vcpus, domid, abi.xen_domctl_max_vcpus, { max: 2 }).rc).toBe(0);
    expect(domctl(abi.XEN_DOMCTL_max_mem, domid, abi.xen_domctl_max_mem, { max_memkb: 400 }).rc).toBe(0);
    const info = domctl(abi.XEN_DOMCTL_getdomaininfo, domid, abi.xen_domctl_getdomaininfo, {});
    expect(info.out).toMatchObject({ max_pages: 100, tot_pages: 0, max_vcpu_id: 1, nr_online_vcpus: 0 });
    expect(info.out.flags & abi.XEN_DOMINF_paused).not.toBe(0);
    expect(info.out.handle[15]).toBe(15);
    const d = bench.hv.domain(domid)!;
    expect([d.evtchn.maxPort, d.grants.maxFrames]).toEqual([1023, 7]);
    expect(domctl(abi.XEN_DOMCTL_getdomaininfo, 2, abi.xen_domctl_getdomaininfo, {}).domid).toBe(9);
    expect(domctl(abi.XEN_DOMCTL_getdomaininfo, 10, abi.xen_domctl_getdomaininfo, {}).rc).toBe(-abi.XEN_ESRCH);
  });

  it('changes the address size only before there is memory', () => {
    const { domid } = create();
    const size = (value: number) => domctl(abi.XEN_DOMCTL_set_address_size, domid, abi.xen_domctl_address_size, { size: value }).rc;
    expect(size(16)).toBe(-abi.XEN_EINVAL);
    expect(size(32)).toBe(0);
    expect(bench.hv.domain(domid)!.is32bit).toBe(true);
    bench.hv.frames.allocForDomain(bench.hv.domain(domid)!);
    expect(size(64)).toBe(-abi.XEN_EACCES);
    expect(domctl(abi.XEN_DOMCTL_get_address_size, domid, abi.xen_domctl_address_size, {}).out.size).toBe(32);
  });

  it('lets nobody rule dom0, and pauses as often as it unpauses', () => {
    const op = (cmd: number, domid: number) => domctl(cmd, domid, abi.xen_domctl_max_mem, {}).rc;
    expect([op(abi.XEN_DOMCTL_pausedomain, 0), op(abi.XEN_DOMCTL_destroydomain, 0)]).toEqual([-abi.XEN_EINVAL, -abi.XEN_EINVAL]);
    const { domid } = create();
    expect([op(abi.XEN_DOMCTL_unpausedomain, domid), op(abi.XEN_DOMCTL_unpausedomain, domid)]).toEqual([0, -abi.XEN_EINVAL]);
    expect(op(12345, domid)).toBe(-abi.XEN_ENOSYS);
  });

  it('sets weight and hard affinity', () => {
    const d: Domain = createScriptedDomain(bench.hv);
    const sched = (cmd: number, weight: number) =>
      domctl(abi.XEN_DOMCTL_scheduler_op, d.id, abi.xen_domctl_scheduler_op, {
        sched_id: abi.XEN_SCHEDULER_CREDIT,
        cmd,
        u: { credit: { weight, cap: 0 } },
      });
    expect(sched(abi.XEN_DOMCTL_SCHEDOP_putinfo, 512).rc).toBe(0);
    expect(sched(abi.XEN_DOMCTL_SCHEDOP_getinfo, 0).out.u.credit.weight).toBe(512);
    poke(bench.dom0, BUFFER, Uint8Array.of(2));
    const map = { bitmap: BUFFER as never, nr_bits: 8 };
    const affinity = { vcpu: 0, flags: abi.XEN_VCPUAFFINITY_HARD, cpumap_hard: map };
    expect(domctl(abi.XEN_DOMCTL_setvcpuaffinity, d.id, abi.xen_domctl_vcpuaffinity, affinity as never).rc).toBe(0);
    bench.hv.run({ untilCycles: 100_000 });
    expect(d.vcpus[0]!.cpu?.id).toBe(1);
    const info = domctl(abi.XEN_DOMCTL_getvcpuinfo, d.id, abi.xen_domctl_getvcpuinfo, { vcpu: 0 });
    expect(info.out).toMatchObject({ online: 1, running: 1, blocked: 0, cpu: 1 });
    poke(bench.dom0, BUFFER, Uint8Array.of(0x80));
    expect(domctl(abi.XEN_DOMCTL_setvcpuaffinity, d.id, abi.xen_domctl_vcpuaffinity, affinity as never).rc).toBe(-abi.XEN_EINVAL);
  });
});

describe('sysctl', () => {
  it('describes the machine and its domains', () => {
    const phys = sysctl(abi.XEN_SYSCTL_physinfo, abi.xen_sysctl_physinfo, {});
    expect(phys.rc).toBe(0);
    expect(phys.out).toMatchObject({ nr_cpus: 2, cpu_khz: 2_100_000, total_pages: 2048, free_pages: bench.hv.frames.heap.freeFrames });
    create();
    create();
    const list = sysctl(abi.XEN_SYSCTL_getdomaininfolist, abi.xen_sysctl_getdomaininfolist, {
      first_domain: 1 as abi.Domid,
      max_domains: 5,
      buffer: BUFFER as never,
    });
    expect([list.rc, list.out.num_domains]).toEqual([0, 2]);
    const size = abi.xen_domctl_getdomaininfo.size('x86_64');
    expect(abi.xen_domctl_getdomaininfo.decode('x86_64', peek(bench.dom0, BUFFER + size, size)).domain).toBe(2);
    expect(sysctl(99, abi.xen_sysctl_physinfo, {}).rc).toBe(-abi.XEN_ENOSYS);
  });

  it('reads the console ring, in whole or from where the last reading ended', () => {
    const read = (index: number, incremental: number) => {
      const a = sysctl(abi.XEN_SYSCTL_readconsole, abi.xen_sysctl_readconsole, { index, incremental, buffer: BUFFER as never, count: 100 });
      return { text: new TextDecoder().decode(peek(bench.dom0, BUFFER, a.out.count)), index: a.out.index };
    };
    bench.hv.console.xen('one');
    const first = read(0, 1);
    expect(first.text).toBe('(XEN) one\n');
    bench.hv.console.xen('two');
    expect(read(first.index, 1)).toEqual({ text: '(XEN) two\n', index: 20 });
    expect(read(0, 0).text).toBe('(XEN) one\n(XEN) two\n');
  });

  it('counts the idle time of each CPU', () => {
    const d = createScriptedDomain(bench.hv);
    d.vcpus[0]!.affinity = 1;
    bench.hv.run({ untilCycles: bench.hv.clock.toCycles(3_000_000) });
    const a = sysctl(abi.XEN_SYSCTL_getcpuinfo, abi.xen_sysctl_getcpuinfo, { max_cpus: 9, info: BUFFER as never });
    expect(a.out.nr_cpus).toBe(2);
    const idle = new DataView(peek(bench.dom0, BUFFER, 16).buffer);
    expect([idle.getBigUint64(0, true), idle.getBigUint64(8, true)]).toEqual([0n, 3_000_000n]);
  });
});
