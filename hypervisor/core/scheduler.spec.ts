import { __HYPERVISOR_sched_op, SCHEDOP_poll, SHUTDOWN_reboot, SHUTDOWN_suspend, sched_poll, XEN_EFAULT, XEN_EINVAL } from '@ringworld/abi';
import { beforeEach, describe, expect, it } from 'vitest';
import { HypercallContext } from '../hypercalls/context.ts';
import { sched_op } from '../hypercalls/sched_op.ts';
import { MILLISECS, SECONDS } from './clock.ts';
import type { Domain } from './domain.ts';
import { pauseDomain, resumeDomain, unpauseDomain } from './domain-shutdown.ts';
import { TranslatedGuestMemory } from './guest-memory-p2m.ts';
import type { Gfn, Maddr, Mfn } from './ids.ts';
import { P2M_TYPES } from './p2m.ts';
import { currentRunstate } from './runstate.ts';
import { SHARED_INFO, setUpcallMask, setUpcallPending, sharedInfoAt } from './shared-info.ts';
import { type Bench, createBench, createScriptedDomain } from './testing.ts';
import { Timer } from './timers.ts';
import { RUNSTATE, type Vcpu } from './vcpu.ts';

let bench: Bench;
let d: Domain;
let v: Vcpu;

beforeEach(() => {
  bench = createBench();
  d = createScriptedDomain(bench.hv, 2);
  v = d.vcpus[0]!;
  bench.hv.scheduler.pause(d.vcpus[1]!);
});
/** With a timer far ahead, so that time passes while all are stopped. */
const runFor = (ms: number) => {
  bench.hv.timers.set(new Timer(() => {}), SECONDS);
  return bench.hv.run({ untilCycles: bench.hv.baseCycles + bench.hv.clock.toCycles(ms * MILLISECS) });
};

describe('pausing', () => {
  it('nests, and counts as offline time', () => {
    runFor(2);
    pauseDomain(bench.hv, d);
    pauseDomain(bench.hv, d);
    runFor(3);
    unpauseDomain(bench.hv, d);
    runFor(3);
    expect(v.runstate).toBe(RUNSTATE.offline);
    unpauseDomain(bench.hv, d);
    runFor(2);
    const { time, state } = currentRunstate(v, bench.hv.now());
    expect(state).toBe(RUNSTATE.running);
    expect(time[RUNSTATE.running] / MILLISECS).toBeCloseTo(4, 2);
    expect(time[RUNSTATE.offline] / MILLISECS).toBeCloseTo(6, 2);
  });
});

describe('shutdown', () => {
  it('stops all vCPUs; the first reason stays; resume lets them run again', () => {
    d.shutdown(SHUTDOWN_suspend);
    d.shutdown(SHUTDOWN_reboot);
    expect(d.shutdownCode).toBe(SHUTDOWN_suspend);
    runFor(1);
    expect(bench.cpus[0]!.ran).toEqual([]);
    resumeDomain(bench.hv, d);
    expect(d.shutdownCode).toBeNull();
    runFor(1);
    expect(bench.cpus[0]!.ran.length).toBeGreaterThan(0);
  });

  it('keeps the first reason of a crash', () => {
    d.crash('first');
    d.crash('second');
    expect([d.crashReason, d.shutdownCode]).toEqual(['first', 3]);
    expect(bench.hv.console.text()).toContain('crashed: first');
  });
});

describe('SCHEDOP_poll', () => {
  /** The vCPU's handles are machine addresses here, by an identity map of two pages: a stand-in for page tables. */
  const PORTS = 0x20_0000;
  const ARG = 0x20_1100;
  const poll = (ports: number[], timeout = 0): number => {
    for (const f of [0x200, 0x201]) d.p2m.set(f as Gfn, f as Mfn, P2M_TYPES.ram_rw);
    v.guest = new TranslatedGuestMemory(bench.hv.ram, d.p2m);
    const { ram } = bench.hv;
    for (const [i, p] of ports.entries()) ram.write32((PORTS + 4 * i) as Maddr, p);
    ram.writeBytes(ARG as Maddr, sched_poll.encode('x86_64', { ports: PORTS as never, nr_ports: ports.length, timeout }));
    const c = new HypercallContext(bench.hv);
    c.vcpu = v;
    c.setArg(0, SCHEDOP_poll, 0);
    c.setArg(1, ARG, 0);
    return sched_op(c) as number;
  };

  it('waits for one of the ports or the time-out', () => {
    runFor(1);
    const port = d.evtchn.bindIpi(0);
    const other = d.evtchn.bindIpi(0);
    expect(poll([port], bench.hv.now() + 5 * MILLISECS)).toBe(0);
    expect([v.isBlocked, v.isPolling, v.pollPort]).toEqual([true, true, port]);
    setUpcallMask(v, true);
    d.evtchn.send(other);
    // The upcall that the other event marks ends a poll too: vcpu_mark_events_pending kicks.
    expect(v.isBlocked).toBe(false);
    expect(poll([port], bench.hv.now() + 5 * MILLISECS)).toBe(0);
    runFor(10);
    expect(v.isBlocked).toBe(false);
    expect(v.runstateTime[RUNSTATE.blocked] / MILLISECS).toBeCloseTo(5, 1);
  });

  it('comes back at once when an event is there, and checks ports', () => {
    const port = d.evtchn.bindIpi(0);
    bench.hv.ram.write8((sharedInfoAt(d, SHARED_INFO.x86_64.mask) + (port >> 3)) as Maddr, 1 << (port & 7));
    d.evtchn.send(port);
    expect(poll([port])).toBe(0);
    expect(v.isBlocked).toBe(false);
    expect(poll([4000])).toBe(-XEN_EINVAL);
    expect(poll(new Array<number>(129).fill(port))).toBe(-XEN_EINVAL);
    setUpcallPending(v, true);
    expect(poll([4000])).toBe(0);
  });

  it('faults on bad handles', () => {
    const c = new HypercallContext(bench.hv);
    c.vcpu = v;
    c.setArg(0, SCHEDOP_poll, 0);
    c.setArg(1, 0x123, 0);
    expect(sched_op(c)).toBe(-XEN_EFAULT);
    expect(bench.dom0.hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, 0x7fff_f000)).toBe(-XEN_EFAULT);
  });
});
