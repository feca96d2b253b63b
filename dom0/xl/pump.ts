// Runs the machine inside Node's event loop: in slices, between which the terminal and the clock get their turn.
//
// Slices end at multiples of a fixed number of virtual cycles, never at a moment of the host's: where they end may show in the guests'
// interleaving, and a run is to repeat to the cycle.
import type { Hypervisor } from '@ringworld/hypervisor';

/** About 10 ms of the host's time at 100 M instructions/s. */
const SLICE_CYCLES = 1_000_000;
/** How long Node's event loop may wait for its turn. */
const YIELD_MS = 10;
/** The longest nap while pacing, so that a timeout is noticed. */
const MAX_NAP_MS = 200;

/** What the outside world can do to a machine that waits. */
export interface OutsideWorld {
  /** Could input still come? */
  canWake(): boolean;
  /** Resolves on input, at the latest after `ms`. */
  wait(ms: number): Promise<void>;
}

export interface PumpOptions {
  /** Asked between windows: the caller has something to do. */
  readonly stop: () => boolean;
  /** performance.now() at which to give up; Infinity for never. */
  readonly deadline: number;
  /** Asked when everybody waits: should idle time take as long as it would, for somebody who watches? Otherwise it is skipped. */
  readonly pace: () => boolean;
  readonly world: OutsideWorld;
}

export type PumpEnd = 'stopped' | 'timeout' | 'stuck';

const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

export async function pump(hv: Hypervisor, options: PumpOptions): Promise<PumpEnd> {
  const { stop, deadline, pace, world } = options;
  // A domain that reboots for ever must not keep the event loop, nor the time limit, from their turn.
  await turn();
  let lastTurn = performance.now();
  if (lastTurn >= deadline) return 'timeout';
  for (;;) {
    const before = hv.baseCycles;
    const wasIdle = hv.pcpus.every((p) => p.current === null);
    const next = hv.timers.next === Number.POSITIVE_INFINITY ? before : Math.max(before, hv.clock.toCycles(hv.timers.next));
    const isPaced = wasIdle && pace();
    if (isPaced && next > before && !hv.hasHostWork) await nap(hv, next, world);
    // Over idle time in one step.
    const from = wasIdle && !isPaced ? next : hv.baseCycles;
    const end = hv.run({ untilCycles: (Math.floor(from / SLICE_CYCLES) + 1) * SLICE_CYCLES, stop });
    if (end === 'stopped') return 'stopped';
    if (end === 'idle') {
      if (!world.canWake()) return 'stuck';
      await world.wait(MAX_NAP_MS);
    }
    const now = performance.now();
    if (now >= deadline) return 'timeout';
    if (end === 'waiting' || now - lastTurn >= YIELD_MS) {
      await turn();
      lastTurn = performance.now();
    }
  }
}

/** Lets real time pass until the next timer or input, and lets as much virtual time pass. */
async function nap(hv: Hypervisor, next: number, world: OutsideWorld): Promise<void> {
  const start = performance.now();
  const wanted = (hv.clock.toNs(next) - hv.clock.toNs(hv.baseCycles)) / 1e6;
  if (wanted < 1) return;
  await world.wait(Math.min(wanted, MAX_NAP_MS));
  const passed = Math.min(wanted, performance.now() - start);
  hv.run({ untilCycles: hv.baseCycles + hv.clock.toCycles(Math.floor(passed * 1e6)) });
}
