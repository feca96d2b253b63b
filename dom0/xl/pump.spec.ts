// The run loop inside Node's event loop, against a hypervisor that only counts time.
import { createDom0, createHypervisor, createMachine, type Hypervisor, type RunEnd, type RunOptions } from '@ringworld/hypervisor';
import { expect, test } from 'vitest';
import { Dom0 } from '../kernel/dom0.ts';
import { type PumpOptions, pump } from './pump.ts';

/** One CPU at 1 GHz; `busyUntil` cycles of work, and a timer that starts `work` more. */
function machine(busyUntil: number, timer = Number.POSITIVE_INFINITY, work = 0) {
  const slices: number[] = [];
  const hv = {
    baseCycles: 0,
    hasHostWork: false,
    pcpus: [{ current: null as unknown }],
    timers: { next: timer },
    clock: { toCycles: (ns: number) => ns, toNs: (cycles: number) => cycles },
    run: ({ untilCycles, stop, maySkipTo, timePasses }: RunOptions): RunEnd => {
      const until = untilCycles!;
      slices.push(until);
      if (stop?.()) return 'stopped';
      if (busyUntil <= hv.baseCycles && maySkipTo?.(Math.min(until, hv.timers.next)) === false) return 'asleep';
      if (hv.timers.next <= until) {
        busyUntil = hv.timers.next + work;
        hv.timers.next = Number.POSITIVE_INFINITY;
      }
      if (busyUntil <= hv.baseCycles && hv.timers.next === Number.POSITIVE_INFINITY && timePasses !== true) return 'idle';
      hv.baseCycles = until;
      hv.pcpus[0]!.current = busyUntil > until ? {} : null;
      return 'limit';
    },
  };
  // SAFE: pump() touches nothing else of a hypervisor.
  return { hv: hv as unknown as Hypervisor, slices };
}

const options = (more: Partial<PumpOptions> = {}): PumpOptions => ({
  stop: () => false,
  deadline: Number.POSITIVE_INFINITY,
  pace: () => false,
  world: { canWake: () => false, wait: async () => {} },
  ...more,
});

test('slices end at the same virtual moments whatever the host does', async () => {
  const { hv, slices } = machine(5_500_000);
  expect(await pump(hv, options())).toBe('stuck');
  expect(slices.slice(0, 6)).toEqual([1, 2, 3, 4, 5, 6].map((n) => n * 1_000_000));
});

test('idle time up to a timer is skipped in one step', async () => {
  const { hv, slices } = machine(0, 3_600e9, 10);
  expect(await pump(hv, options())).toBe('stuck');
  expect(slices.length).toBeLessThan(4);
  expect(hv.baseCycles).toBeGreaterThanOrEqual(3_600e9);
});

test('for a watcher idle time takes as long as it does', async () => {
  const { hv } = machine(0, 50e6, 10);
  const start = performance.now();
  const wait = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
  expect(await pump(hv, options({ pace: () => true, world: { canWake: () => false, wait } }))).toBe('stuck');
  expect(performance.now() - start).toBeGreaterThan(45);
});

test('a guest that spins is ended by the time limit, one that waits for input is not lost', async () => {
  const spinning = machine(Number.POSITIVE_INFINITY);
  expect(await pump(spinning.hv, options({ deadline: performance.now() + 30 }))).toBe('timeout');
  let waits = 0;
  const waiting = machine(0);
  const world = { canWake: () => waits < 3, wait: async () => void waits++ };
  expect(await pump(waiting.hv, options({ world }))).toBe('stuck');
  expect(waits).toBe(3);
});

test('the caller gets its turn when it asks for it', async () => {
  const { hv } = machine(Number.POSITIVE_INFINITY);
  expect(await pump(hv, options({ stop: () => hv.baseCycles > 3e6 }))).toBe('stopped');
});

test('with a live world outside, virtual time does not run ahead of real time, nor is it ever at an end', async () => {
  const { hv } = machine(0);
  const start = performance.now();
  const world = {
    canWake: () => true,
    isLive: () => true,
    wait: (ms: number) => new Promise<void>((done) => setTimeout(done, Math.min(ms, 5))),
  };
  // Nobody has set a timer, and still it goes on.
  expect(await pump(hv, options({ deadline: start + 60, world }))).toBe('timeout');
  expect(hv.baseCycles).toBeGreaterThan(20e6);
  expect(hv.baseCycles).toBeLessThan((performance.now() - start) * 1e6 + 2e6);
});

test('many short sleeps in a live world add up to one that is waited for', async () => {
  const hv = createHypervisor({ machine: createMachine({ ramBytes: 32 << 20, cpus: 1 }) });
  const dom0 = new Dom0(createDom0(hv, { pages: 512 }).port, 512);
  let naps = 0;
  dom0.timers.every(200_000, () => naps++);
  const start = performance.now();
  const world = { canWake: () => true, isLive: () => true, wait: (ms: number) => new Promise<void>((done) => setTimeout(done, ms)) };
  await pump(hv, options({ stop: () => naps > 200, deadline: start + 10_000, world }));
  expect(naps).toBeGreaterThan(200);
  expect(hv.now()).toBeLessThan((performance.now() - start) * 1e6 + 2e6);
});

test('what came in is handed over between slices only, and a frame ends a nap', async () => {
  const { hv } = machine(0, 3600e9);
  const queue: number[] = [];
  let admitted = 0;
  const world = {
    canWake: () => true,
    isLive: () => true,
    admit: () => {
      admitted += queue.splice(0).length;
    },
    wait: async () => void queue.push(1),
  };
  expect(await pump(hv, options({ stop: () => admitted > 2, world }))).toBe('stopped');
  expect(hv.baseCycles).toBeLessThan(1e9);
});
