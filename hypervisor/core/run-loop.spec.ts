import { describe, expect, it } from 'vitest';
import { MILLISECS, SECONDS } from './clock.ts';
import { cpuTime } from './runstate.ts';
import { createBench, createScriptedDomain } from './testing.ts';
import { Timer } from './timers.ts';
import { RUNSTATE } from './vcpu.ts';

describe('the run loop', () => {
  it('skips idle time to the next timer, and says idle when there is none', () => {
    const { hv, cpus } = createBench();
    const fired: number[] = [];
    hv.timers.set(new Timer(() => fired.push(hv.now())), 5 * SECONDS);
    expect(hv.run()).toBe('idle');
    expect(fired).toEqual([5 * SECONDS]);
    expect(cpus[0]!.ran).toEqual([]);
    expect(cpus[0]!.cycles).toBe(hv.clock.toCycles(5 * SECONDS));
    const before = hv.cycles();
    expect(hv.run({ untilCycles: before + 1000 })).toBe('idle');
    expect(hv.cycles()).toBe(before);
  });

  it('stands still while host I/O is late', () => {
    const { hv } = createBench();
    const task = { run: () => false, isHeld: true };
    createScriptedDomain(hv);
    hv.hostTasks.push(task);
    hv.timers.set(new Timer(() => {}), SECONDS);
    expect(hv.run()).toBe('waiting');
    expect(hv.now()).toBe(0);
    task.isHeld = false;
    expect(hv.run({ untilCycles: 2000 })).toBe('limit');
    expect(hv.cycles()).toBe(2000);
  });

  it('leaves idle time to a host that wants it real', () => {
    const { hv } = createBench();
    hv.timers.set(new Timer(() => {}), SECONDS);
    const asked: number[] = [];
    const maySkipTo = (ns: number): boolean => asked.push(ns) === 2;
    expect(hv.run({ maySkipTo })).toBe('asleep');
    expect(hv.now()).toBe(0);
    expect(hv.run({ maySkipTo })).toBe('idle');
    expect(asked).toEqual([SECONDS, SECONDS]);
  });

  it('runs a lone vCPU up to the next timer in one piece', () => {
    const { hv, cpus } = createBench();
    createScriptedDomain(hv);
    hv.timers.set(new Timer(() => {}), 3 * MILLISECS);
    const until = hv.clock.toCycles(7 * MILLISECS);
    expect(hv.run({ untilCycles: until })).toBe('limit');
    expect(cpus[0]!.ran).toEqual([
      { from: 0, to: hv.clock.toCycles(3 * MILLISECS) },
      { from: hv.clock.toCycles(3 * MILLISECS), to: until },
    ]);
  });

  it('lets several CPUs take turns, never more than a window apart', () => {
    const { hv, cpus } = createBench({ cpus: 3 });
    createScriptedDomain(hv, 3);
    hv.run({ untilCycles: hv.clock.toCycles(MILLISECS) });
    const window = hv.clock.toCycles(10_000);
    for (const cpu of cpus) {
      expect(cpu.cycles).toBe(hv.clock.toCycles(MILLISECS));
      for (const r of cpu.ran) expect(r.to - r.from).toBeLessThanOrEqual(window);
    }
  });

  it('takes a blocked vCPU off its CPU and brings it back when its timer fires', () => {
    const bench = createBench();
    const { hv } = bench;
    const v = createScriptedDomain(hv).vcpus[0]!;
    bench.cpus[0]!.untilExit = 1000;
    bench.onExit = () => {
      v.timers.setPoll(hv.now() + 2 * MILLISECS);
      v.isPolling = true;
      hv.scheduler.block(v);
    };
    hv.run({ untilCycles: hv.clock.toCycles(9 * MILLISECS) });
    expect(bench.cpus[0]!.ran.length).toBe(5);
    expect(v.runstate).toBe(RUNSTATE.blocked);
    expect(v.runstateTime[RUNSTATE.blocked]).toBeGreaterThan(7 * MILLISECS);
    expect(v.runstateTime[RUNSTATE.running]).toBeLessThan(5000);
  });

  it('cuts the window of a lone CPU when it wakes somebody on another one', () => {
    const bench = createBench({ cpus: 2 });
    const { hv } = bench;
    const [first, second] = createScriptedDomain(hv, 2).vcpus;
    hv.scheduler.block(second!);
    bench.cpus[0]!.untilExit = 100;
    let exits = 0;
    bench.onExit = () => {
      if (++exits === 3) hv.kick(second!);
    };
    hv.run({ untilCycles: 5000 });
    expect(first!.cpu?.id).toBe(0);
    expect(bench.cpus[1]!.ran[0]?.from).toBe(300);
  });

  it('gives host tasks their turn as soon as a guest has work for them', () => {
    const bench = createBench();
    const { hv } = bench;
    createScriptedDomain(hv);
    const seen: number[] = [];
    hv.hostTasks.push({
      run: () => {
        seen.push(hv.baseCycles);
        return false;
      },
      isHeld: false,
    });
    bench.cpus[0]!.untilExit = 777;
    bench.onExit = () => {
      hv.hasHostWork = true;
    };
    hv.run({ untilCycles: 2000 });
    expect(seen).toEqual([0, 777, 1554, 2000]);
  });
});

describe('the credit scheduler', () => {
  it('shares one CPU evenly among equals', () => {
    const { hv } = createBench();
    const domains = [createScriptedDomain(hv), createScriptedDomain(hv), createScriptedDomain(hv)];
    hv.run({ untilCycles: hv.clock.toCycles(3 * SECONDS) });
    for (const d of domains) expect(cpuTime(d.vcpus[0]!, hv.now()) / SECONDS).toBeCloseTo(1, 1);
  });

  it('gives by weight', () => {
    const { hv } = createBench();
    const light = createScriptedDomain(hv);
    const heavy = createScriptedDomain(hv);
    heavy.weight = 768;
    hv.run({ untilCycles: hv.clock.toCycles(4 * SECONDS) });
    expect(cpuTime(heavy.vcpus[0]!, hv.now()) / cpuTime(light.vcpus[0]!, hv.now())).toBeCloseTo(3, 0);
  });

  it('counts the time that a runnable vCPU waits as stolen', () => {
    const { hv } = createBench();
    const [a, b] = [createScriptedDomain(hv), createScriptedDomain(hv)];
    hv.run({ untilCycles: hv.clock.toCycles(SECONDS) });
    for (const d of [a, b]) {
      const v = d.vcpus[0]!;
      expect(v.runstateTime[RUNSTATE.runnable] / SECONDS).toBeCloseTo(0.5, 1);
    }
  });

  it('keeps to hard affinity', () => {
    const { hv, cpus } = createBench({ cpus: 2 });
    const d = createScriptedDomain(hv, 2);
    for (const v of d.vcpus) v.affinity = 2;
    hv.run({ untilCycles: hv.clock.toCycles(100 * MILLISECS) });
    expect(cpus[0]!.ran).toEqual([]);
    for (const v of d.vcpus) expect(cpuTime(v, hv.now()) / MILLISECS).toBeCloseTo(50, -1.3);
  });

  it('is the same every time', () => {
    const once = (): string => {
      const bench = createBench({ cpus: 2 });
      for (let i = 0; i < 3; i++) createScriptedDomain(bench.hv, 2);
      bench.hv.run({ untilCycles: bench.hv.clock.toCycles(200 * MILLISECS) });
      return JSON.stringify(
        bench.cpus
          .map((c) => c.ran.length)
          .concat([...bench.hv.domains.values()].flatMap((d) => d.vcpus.map((v) => cpuTime(v, bench.hv.now())))),
      );
    };
    expect(once()).toBe(once());
  });
});
