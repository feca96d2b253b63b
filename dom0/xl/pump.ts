// Runs the machine inside Node's event loop: in slices, between which the terminal and the clock get their turn.
//
// Slices end at multiples of a fixed number of virtual cycles, never at a moment of the host's: where they end may show in the guests'
// interleaving, and a run is to repeat to the cycle.
import type { Hypervisor } from '@ringworld/hypervisor';

/** About 10 ms of the host's time at 100 M instructions/s. */
const SLICE_CYCLES = 1_000_000;
/** How long Node's event loop may wait for its turn. */
const YIELD_MS = 10;
/** The same where frames may wait at its door. */
const LIVE_YIELD_MS = 2;
/** The longest nap while pacing, so that a timeout is noticed. */
const MAX_NAP_MS = 200;
/** What is not worth a timer of the host's. */
const SHORTEST_NAP_NS = 1e6;

/** What the outside world can do to a machine that waits. */
export interface OutsideWorld {
  /** Could input still come? */
  canWake(): boolean;
  /** Resolves on input, at the latest after `ms`. */
  wait(ms: number): Promise<void>;
  /**
   * Is there somebody outside who goes by the host's clock (a network)? Then virtual time that nobody uses takes as long as it does: a
   * guest's timeouts may not pass before the host could answer. False when it is not there.
   */
  isLive?(): boolean;
  /** Hands over what has come in. Called between slices, so that the outside never changes anything in the middle of one. */
  admit?(): void;
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
  const advance = new Advance(hv);
  // A domain that reboots for ever must not keep the event loop, nor the time limit, from their turn.
  await turn();
  let lastTurn = performance.now();
  if (lastTurn >= deadline) return 'timeout';
  for (;;) {
    world.admit?.();
    const isLive = world.isLive?.() ?? false;
    const wasIdle = hv.pcpus.every((p) => p.current === null);
    const isPaced = isLive || (wasIdle && pace());
    // While the host's I/O is late, time stands anyway.
    if (wasIdle && isPaced && !hv.hasHostWork && !hv.isHeld) await nap(hv, world, advance, isLive);
    world.admit?.();
    const before = hv.baseCycles;
    // Over idle time in one step.
    const from =
      wasIdle && !isPaced && hv.timers.next !== Number.POSITIVE_INFINITY ? Math.max(before, hv.clock.toCycles(hv.timers.next)) : before;
    const untilCycles = (Math.floor(from / SLICE_CYCLES) + 1) * SLICE_CYCLES;
    const end = hv.run({ untilCycles, stop, ...(isLive ? { maySkipTo: advance.maySkipTo } : {}) });
    if (end === 'stopped') return 'stopped';
    if (end === 'idle' && !isLive) {
      if (!world.canWake()) return 'stuck';
      await world.wait(MAX_NAP_MS);
    }
    const now = performance.now();
    if (now >= deadline) return 'timeout';
    if (end === 'waiting' || now - lastTurn >= (isLive ? LIVE_YIELD_MS : YIELD_MS)) {
      await turn();
      lastTurn = performance.now();
    }
  }
}

/** How far virtual time has gone ahead, over idle time too short to sleep through. */
class Advance {
  ns = 0;
  private readonly hv: Hypervisor;

  constructor(hv: Hypervisor) {
    this.hv = hv;
  }

  readonly maySkipTo = (ns: number): boolean => {
    const ahead = this.ns + ns - this.hv.clock.toNs(this.hv.baseCycles);
    if (ahead > SHORTEST_NAP_NS) return false;
    this.ns = ahead;
    return true;
  };
}

/** Lets real time pass until the next timer or input, and lets as much virtual time pass. */
async function nap(hv: Hypervisor, world: OutsideWorld, advance: Advance, isLive: boolean): Promise<void> {
  const idle = hv.timers.next - hv.clock.toNs(hv.baseCycles);
  const wanted = Math.max(0, idle) + advance.ns;
  if (wanted < SHORTEST_NAP_NS || (idle === Number.POSITIVE_INFINITY && !isLive)) return;
  const start = performance.now();
  await world.wait(Math.min(wanted / 1e6, MAX_NAP_MS));
  const passed = Math.min(wanted, Math.floor((performance.now() - start) * 1e6)) - advance.ns;
  advance.ns = Math.max(0, -passed);
  if (passed > 0) hv.run({ untilCycles: hv.baseCycles + hv.clock.toCycles(passed), timePasses: isLive });
}
