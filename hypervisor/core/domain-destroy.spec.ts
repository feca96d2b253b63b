import { VIRQ_DOM_EXC } from '@ringworld/abi';
import { describe, expect, it } from 'vitest';
import { destroyDomain } from './domain-destroy.ts';
import type { EvtchnPort, Gfn } from './ids.ts';
import { createBench, createScriptedDomain, createTestDomain } from './testing.ts';

describe('destroying a domain', () => {
  it('takes a running one off its CPU and gives all back', () => {
    const bench = createBench();
    const { hv } = bench;
    const free = hv.frames.heap.freeFrames;
    const d = createScriptedDomain(hv, 2);
    for (let i = 0; i < 10; i++) hv.frames.allocForDomain(d);
    hv.run({ untilCycles: 1000 });
    expect(hv.pcpus[0]!.current?.domain).toBe(d);
    destroyDomain(hv, d);
    expect(hv.pcpus[0]!.current).toBeNull();
    expect(hv.domain(d.id)).toBeUndefined();
    expect(hv.frames.heap.freeFrames).toBe(free);
    expect(hv.run()).toBe('idle');
  });

  it('leaves a zombie while others hold a frame, and tells dom0 when it is gone', () => {
    const bench = createBench();
    const { hv } = bench;
    const dom0 = hv.domain(0)!;
    const exc = dom0.evtchn.bindVirq(VIRQ_DOM_EXC, 0) as EvtchnPort;
    const { domain: d } = createTestDomain(hv);
    const mfn = d.p2m.mfn(3 as Gfn);
    hv.frames.getPage(mfn, d.id);
    destroyDomain(hv, d);
    expect(hv.domain(d.id)).toBe(d);
    expect([d.isDying, d.isDead, d.pageList.size]).toEqual([true, false, 1]);
    expect(dom0.evtchn.isPending(exc)).toBe(true);
    expect(d.evtchn.bindIpi(0)).toBeLessThan(0);
    hv.frames.putPage(mfn);
    hv.run();
    expect(hv.domain(d.id)).toBeUndefined();
    expect(d.isDead).toBe(true);
  });

  it('turns the channels that led to it into unbound ones', () => {
    const bench = createBench();
    const { hv } = bench;
    const a = createTestDomain(hv).domain;
    const b = createTestDomain(hv).domain;
    const pa = a.evtchn.allocUnbound(b.id);
    const pb = b.evtchn.bindInterdomain(a, pa);
    expect(pb).toBeGreaterThan(0);
    destroyDomain(hv, b);
    expect(a.evtchn.channels[pa]).toMatchObject({ state: 2, remoteDomid: b.id });
    expect(a.evtchn.send(pa)).toBe(0);
  });

  it('gives new domains new ids', () => {
    const { hv } = createBench();
    const first = createTestDomain(hv).domain;
    destroyDomain(hv, first);
    expect(createTestDomain(hv).domain.id).toBe(first.id + 1);
  });
});
